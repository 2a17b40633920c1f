"""The losses: by hand, and what must not change them."""

from __future__ import annotations

import math

import pytest
import torch

from rdmf.config import Config
from rdmf.model.decoder import Moments
from rdmf.model.rdmf import Output
from rdmf.model.segments import Segments
from rdmf.model.spans import inverse_sigmoid, to_centre
from rdmf.sections import LossConfig
from rdmf.train.losses import Targets, border_loss, contrast_loss, moment_losses, saliency_loss, total_loss


def targets(
    windows: list[list[tuple[float, float]]], saliency: torch.Tensor, known: torch.Tensor, width: int | None = None
) -> Targets:
    width = max(map(len, windows)) if width is None else width
    table = torch.zeros(len(windows), width, 2)
    mask = torch.zeros(len(windows), width, dtype=torch.bool)
    for b, row in enumerate(windows):
        for w, window in enumerate(row):
            table[b, w], mask[b, w] = torch.tensor(window), True
    return Targets(table, mask, saliency, known)


def moments(batch: int, queries: int, seed: int = 0) -> Moments:
    generator = torch.Generator().manual_seed(seed)
    spans = torch.sigmoid(torch.randn(batch, queries, 2, generator=generator))
    labels, ious = (torch.randn(batch, queries, generator=generator) for _ in range(2))
    return Moments(*(x.requires_grad_() for x in (spans, labels, ious)))


def gradients(value: torch.Tensor, *inputs: torch.Tensor) -> list[torch.Tensor]:
    return [g for g in torch.autograd.grad(value, inputs, allow_unused=True, retain_graph=True) if g is not None]


def blank(batch: int, length: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(batch, length), torch.zeros(batch, length, dtype=torch.bool)


def test_saliency_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, 2.0, -1.0], [1.0, 50.0, 50.0], [3.0, 3.0, 3.0]])
    target = torch.tensor([[1.0, 0.25, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    known = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])

    def bce(x: float, y: float) -> float:
        p = 1 / (1 + math.exp(-x))
        return -y * math.log(p) - (1 - y) * math.log(1 - p)

    first = (bce(0, 1) + bce(2, 0.25) + bce(-1, 0)) / 3
    found = saliency_loss(logits, targets([[], [], []], target, known))
    # Each query has the same say, whatever its length; the third has none.
    assert float(found) == pytest.approx((first + bce(1, 0)) / 2, rel=1e-5)


def test_contrast_loss_by_hand() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5, 9.0], [1.0, 2.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    target = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    known = torch.ones(3, 4, dtype=torch.bool)
    known[0, 3] = False
    # Only the first query has clips on both sides.
    share = math.exp(1) / (math.exp(1) + math.exp(2) + math.exp(0.5))
    assert float(contrast_loss(logits, targets([[]] * 3, target, known))) == pytest.approx(-math.log(share), rel=1e-5)


def test_contrast_loss_falls_as_the_inside_rises() -> None:
    target, known = torch.tensor([[1.0, 0.0, 0.0]]), torch.ones(1, 3, dtype=torch.bool)
    values = [
        float(contrast_loss(torch.tensor([[level, 0.0, 0.0]]), targets([[]], target, known)))
        for level in (-2.0, 0.0, 2.0, 20.0)
    ]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 1e-6


def test_contrast_loss_without_anything_to_contrast_is_zero_with_finite_gradients() -> None:
    logits = torch.randn(2, 4, requires_grad=True)
    value = contrast_loss(logits, targets([[], []], *blank(2)))
    assert float(value.detach()) == 0
    (gradient,) = gradients(value, logits)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_a_perfect_prediction_costs_nothing() -> None:
    truth = [[(0.1, 0.3), (0.6, 0.9)], [(0.25, 0.75)]]
    spans = torch.full((2, 4, 2), 0.02)
    spans[0, 2], spans[0, 0] = to_centre(torch.tensor(truth[0][0])), to_centre(torch.tensor(truth[0][1]))
    spans[1, 3] = to_centre(torch.tensor(truth[1][0]))
    hit = torch.tensor([[True, False, True, False], [False, False, False, True]])
    logit = torch.where(hit, 20.0, -20.0)
    found = moment_losses(Moments(spans, logit, logit), targets(truth, *blank(2)), LossConfig())
    for name in ("span", "giou", "label"):
        assert float(found[name]) < 1e-5, name
    assert float(found["iou"]) < 1e-5  # 0.02-wide spans at 0.02 overlap nothing


def test_span_loss_by_hand() -> None:
    config = LossConfig(smooth=0.05)
    spans = torch.tensor([[[0.5, 0.2]]])
    found = moment_losses(
        Moments(spans, torch.zeros(1, 1), torch.zeros(1, 1)), targets([[(0.3, 0.7)]], *blank(1)), config
    )
    # centre exact, width off by 0.2: beyond beta the loss is |x| - beta / 2
    assert float(found["span"]) == pytest.approx(0.2 - 0.025, rel=1e-5)
    assert float(found["giou"]) == pytest.approx(0.5, rel=1e-5)
    assert float(found["label"]) == pytest.approx(math.log(2), rel=1e-5)
    assert float(found["iou"]) == pytest.approx(0.0, abs=1e-6)  # predicted 0.5, reached 0.5


@pytest.mark.parametrize("iou_queries", ["all", "matched"])
def test_unannotated_queries_add_nothing(iou_queries: str) -> None:
    """No annotation is not the same as no moment: such a query must not even be taught background."""
    config = LossConfig(iou_queries=iou_queries)
    both = moments(2, 5)
    one = Moments(both.spans[:1], both.labels[:1], both.ious[:1])
    truth = [(0.2, 0.5), (0.6, 0.8)]
    with_blank = moment_losses(both, targets([truth, []], *blank(2)), config)
    alone = moment_losses(one, targets([truth], *blank(1)), config)
    torch.testing.assert_close(with_blank, alone)
    for value in with_blank.values():
        for gradient in gradients(value, both.spans, both.labels, both.ious):
            assert torch.isfinite(gradient).all()
            assert not gradient[1].any()


def test_a_batch_without_any_window_gives_zero_and_finite_gradients() -> None:
    said = moments(2, 5)
    found = moment_losses(said, targets([[], []], *blank(2), width=3), LossConfig())
    total = sum(found.values())
    assert isinstance(total, torch.Tensor)
    assert float(total.detach()) == 0
    for gradient in gradients(total, said.spans, said.labels, said.ious):
        assert torch.isfinite(gradient).all()
        assert not gradient.any()


def test_padding_windows_do_not_matter() -> None:
    said = moments(2, 6)
    truth = [[(0.2, 0.5)], [(0.1, 0.3), (0.6, 0.8)]]
    narrow = moment_losses(said, targets(truth, *blank(2)), LossConfig())
    wide = moment_losses(said, targets(truth, *blank(2), width=7), LossConfig())
    torch.testing.assert_close(narrow, wide)


def test_more_windows_than_queries_is_finite() -> None:
    truth = [[(i / 10, i / 10 + 0.08) for i in range(8)]]
    said = moments(1, 3)
    found = moment_losses(said, targets(truth, *blank(1)), LossConfig())
    total = sum(found.values())
    assert isinstance(total, torch.Tensor)
    assert torch.isfinite(total)


def output(logits: torch.Tensor, said: Moments, layers: int = 2) -> Output:
    return Output(logits, [said] * layers)


def test_padding_clips_change_no_loss() -> None:
    config = Config().updated({"contrast": 1.0})
    torch.manual_seed(3)
    logits, saliency = torch.randn(2, 5), torch.rand(2, 5)
    known = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    truth = [[(0.2, 0.5)], [(0.1, 0.3)]]
    said = moments(2, 6)
    plain, parts = total_loss(output(logits, said), targets(truth, saliency, known), config)
    more = [torch.cat((x, y), 1) for x, y in ((logits, torch.full((2, 4), 77.0)), (saliency, torch.ones(2, 4)))]
    hidden = torch.cat((known, torch.zeros(2, 4, dtype=torch.bool)), 1)
    padded, padded_parts = total_loss(output(more[0], said), targets(truth, more[1], hidden), config)
    torch.testing.assert_close(padded, plain)
    torch.testing.assert_close(padded_parts, parts)


def test_total_is_the_weighted_sum_over_layers() -> None:
    torch.manual_seed(4)
    said, logits = moments(2, 6), torch.randn(2, 5)
    saliency, known = torch.rand(2, 5), torch.ones(2, 5, dtype=torch.bool)
    truth = targets([[(0.2, 0.5)], [(0.1, 0.3), (0.5, 0.9)]], saliency, known)
    overrides = {
        "loss.saliency": 2.0,
        "loss.contrast": 0.5,
        "loss.span": 3.0,
        "loss.giou": 5.0,
        "loss.label": 7.0,
        "loss.iou": 11.0,
    }
    for aux, layers in ((True, 2), (False, 1)):
        config = Config().updated({**overrides, "aux_loss": aux})
        total, parts = total_loss(output(logits, said), truth, config)
        one = moment_losses(said, truth, config.loss)
        expected = 2 * saliency_loss(logits, truth) + 0.5 * contrast_loss(logits, truth)
        expected = expected + layers * (3 * one["span"] + 5 * one["giou"] + 7 * one["label"] + 11 * one["iou"])
        torch.testing.assert_close(total, expected)
        assert set(parts) == {"saliency", "contrast", "span", "giou", "label", "iou"}
        assert not any(value.requires_grad for value in parts.values())


def test_saliency_alone_works() -> None:
    """TVSum has no windows at all: W = 0."""
    said, logits = moments(2, 6), torch.randn(2, 5, requires_grad=True)
    truth = targets([[], []], torch.rand(2, 5), torch.ones(2, 5, dtype=torch.bool))
    assert truth.windows.shape == (2, 0, 2)
    total, parts = total_loss(output(logits, said), truth, Config())
    assert set(parts) == {"saliency"}
    (gradient,) = gradients(total, logits)
    assert torch.isfinite(gradient).all()
    assert gradient.any()


def test_iou_head_learns_the_iou() -> None:
    spans = torch.tensor([[[0.5, 0.2], [0.5, 0.4], [0.9, 0.1]]])
    truth = targets([[(0.3, 0.7)]], *blank(1))
    right = inverse_sigmoid(torch.tensor([[0.5, 1.0, 0.0]]))
    wrong = inverse_sigmoid(torch.tensor([[0.9, 0.1, 0.8]]))
    losses = [
        float(moment_losses(Moments(spans, torch.zeros(1, 3), x), truth, LossConfig())["iou"]) for x in (right, wrong)
    ]
    assert losses[0] < 1e-3
    # The matched query weighs as much as all three together: (3 * 0.9 + 0.4 + 0.8) / 5
    assert losses[1] == pytest.approx((3 * 0.9 + 0.4 + 0.8) / 5, rel=1e-3)


def test_the_border_loss_is_the_distance_within_the_clip() -> None:
    mask, edges = torch.ones(2, 10, dtype=torch.bool), torch.linspace(0, 1, 11).expand(2, -1)
    windows = torch.tensor([[[0.23, 0.58], [0.0, 0.0]], [[0.61, 0.64], [0.0, 0.0]]])
    targets = Targets(windows, torch.tensor([[True, False], [True, False]]), torch.zeros(2, 10), mask)
    plain = Segments(torch.zeros(2, 10, 3), mask, edges, torch.zeros(2, 10, 2))
    # First: 0.3 of a clip from the start of clip 2, 0.2 from the end of clip 5. Second: no clip's centre lies inside;
    # its start is 0.1 into clip 6, its end would be 0.6 before that clip's and counts as REACH.
    torch.testing.assert_close(border_loss(plain, targets), torch.tensor((0.5 + 0.1 + 0.49) / 2), atol=1e-5, rtol=0)
    borders = torch.zeros(2, 10, 2)
    borders[0, 2, 0], borders[0, 5, 1] = math.atanh(0.3 / 0.49), math.atanh(-0.2 / 0.49)
    borders[1, 6, 0], borders[1, 6, 1] = math.atanh(0.1 / 0.49), -20.0
    exact = Segments(torch.zeros(2, 10, 3), mask, edges, borders)
    torch.testing.assert_close(border_loss(exact, targets), torch.zeros(()), atol=1e-5, rtol=0)
