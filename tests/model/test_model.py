"""The whole model: a query's answer is its own, whatever else is in the batch, for videos of any length."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.config import Config
from rdmf.model import RDMF, Batch, Output
from rdmf.model.decoder import Integral, Moments, pattern_spans
from rdmf.model.rdmf import moment_scores
from rdmf.model.spans import overlap, to_centre, to_edges
from rdmf.predict import choose_moments
from rdmf.store import InputError

D_VIDEO, D_TEXT = 7, 5

SMALL: dict[str, Any] = {
    "hidden": 16,
    "centred": True,
    "fusion.blocks": 1,
    "fusion.scales": 2,
    "fusion.heads": 2,
    "decoder.queries": 8,
    "decoder.segments": 2,
    "decoder.layers": 2,
    "decoder.heads": 2,
    "decoder.runs": 2,
    "decoder.levels": [0.0, -1.0],
}


def small_model(seed: int = 0, **overrides: Any) -> RDMF:
    torch.manual_seed(seed)
    config = Config().updated({**SMALL, **{k.replace("__", "."): v for k, v in overrides.items()}})
    model = RDMF(config, D_VIDEO, D_TEXT).eval()
    with torch.no_grad():
        # Layers that start at zero would hide a leak through them.
        for p in model.parameters():
            if not p.any():
                p.normal_(std=0.05)
    return model


def make_batch(lengths: list[int], tokens: list[int], seed: int = 0, garbage: float = 0.0) -> Batch:
    """Random queries on unevenly long clips; `garbage` lies in padding."""
    generator = torch.Generator().manual_seed(seed)
    longest, most = max(lengths), max(tokens)
    video = torch.full((len(lengths), longest, D_VIDEO), garbage)
    text = torch.full((len(lengths), most, D_TEXT), garbage)
    edges = torch.ones(len(lengths), longest + 1)
    for b, (n, m) in enumerate(zip(lengths, tokens)):
        # Each query's own stream, so that it is the same in whatever batch it sits.
        video[b, :n] = torch.randn(n, D_VIDEO, generator=generator)
        text[b, :m] = torch.randn(m, D_TEXT, generator=generator)
        cuts = torch.rand(n, generator=generator) + 0.2
        edges[b, 0], edges[b, 1 : n + 1] = 0.0, cuts.cumsum(0) / cuts.sum()
        edges[b, n] = 1.0
    return Batch(
        video,
        torch.arange(longest)[None] < torch.tensor(lengths)[:, None],
        edges,
        text,
        torch.arange(most)[None] < torch.tensor(tokens)[:, None],
    )


def chosen_of(output: Output, config: Config, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What is made of an output's moments, scored as `config` says."""
    scores = moment_scores(output.moments, config.score.balance, config.score.combine)
    return choose_moments(output.moments.spans, scores, config, **options)


def alone(batch: Batch, b: int) -> Batch:
    n, m = int(batch.video_mask[b].sum()), int(batch.text_mask[b].sum())
    one = slice(b, b + 1)
    return Batch(
        batch.video[one, :n],
        batch.video_mask[one, :n],
        batch.edges[one, : n + 1],
        batch.text[one, :m],
        batch.text_mask[one, :m],
    )


def assert_same(together: Output, b: int, single: Output, n: int) -> None:
    torch.testing.assert_close(together.saliency[b, :n], single.saliency[0], rtol=0, atol=1e-5)
    # The decoder divides differences of cumulative sums by the time they cover, down to 1e-4 of the video, which
    # magnifies float32 rounding; a leak of the garbage in padding would be of the size of the values themselves.
    for big, small in zip(together.layers, single.layers):
        for name in ("spans", "labels", "ious"):
            torch.testing.assert_close(getattr(big, name)[b], getattr(small, name)[0], rtol=0, atol=1e-3)


FORMS = [
    *(
        {"fusion__kind": "blocks", "text_field": field, "integrator": i}
        for field, i in product(("pooled", "attention"), ("split", "euler"))
    ),
    {"fusion__kind": "literal", "fusion__integrator": "euler", "fusion__step_size": 1.0},
    {"fusion__kind": "literal", "fusion__integrator": "split", "fusion__video": "substrate", "residual": False},
    {"fusion__kind": "cross-attention"},
    {"fusion__kind": "blocks", "fusion__scales": 4, "per_channel": True, "order": "turing"},
    {"fusion__kind": "blocks", "decoder__runs": 0, "normalize": True, "diffusion__steps": 0},
    {"fusion__kind": "blocks", "cuts": 1.0, "fusion__scales": 4, "per_channel": True},
    {"fusion__kind": "literal", "fusion__integrator": "euler", "cuts": 1.0, "normalize": True},
]


@pytest.mark.parametrize("form", FORMS, ids=lambda f: "-".join(str(v) for v in f.values()))
@pytest.mark.parametrize(("position", "context"), [(True, 0), (False, 1), (True, 1)])
@torch.no_grad()
def test_nothing_leaks_from_padding(form: dict[str, Any], position: bool, context: int) -> None:
    model = small_model(position=position, context=context, **form)
    lengths, tokens = [9, 1, 23, 2], [4, 6, 1, 2]
    # Garbage that a batch never holds (Split.batch writes zeros), so a leak cannot hide behind zeros.
    batch = make_batch(lengths, tokens, garbage=3.0)
    together = model(batch)
    for b, n in enumerate(lengths):
        assert_same(together, b, model(alone(batch, b)), n)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 6)), min_size=2, max_size=4), st.integers(0, 999))
@torch.no_grad()
def test_nothing_leaks_for_any_sizes(sizes: list[tuple[int, int]], seed: int) -> None:
    model = small_model(seed=seed % 5, context=1, fusion__blocks=2)
    batch = make_batch([n for n, _ in sizes], [m for _, m in sizes], seed=seed, garbage=-2.0)
    together = model(batch)
    for b, (n, _) in enumerate(sizes):
        assert_same(together, b, model(alone(batch, b)), n)


@pytest.mark.parametrize("votes", [0.0, 0.5])
@pytest.mark.parametrize("level", [-0.5, 2.0, 5.0])
@torch.no_grad()
def test_a_pattern_that_covers_its_video_reads_the_same_in_any_batch(level: float, votes: float) -> None:
    """Nothing is left then to look for a second moment in, and what is equal must not be told apart by padding."""
    model = small_model(decoder__segments=6, decoder__votes=votes, decoder__runs=0)
    assert model.units is not None
    model.units.bias[0] = level
    lengths = [1, 2, 3, 7, 12, 30]
    batch = make_batch(lengths, [3] * len(lengths))
    together = model(batch)
    for b, n in enumerate(lengths):
        assert_same(together, b, model(alone(batch, b)), n)


@torch.no_grad()
def test_the_answer_depends_on_the_query_and_on_the_video() -> None:
    """What would make every test above pass for nothing."""
    model = small_model()
    batch = make_batch([9], [4])
    base = model(batch)
    for changed in (
        Batch(batch.video, batch.video_mask, batch.edges, -batch.text, batch.text_mask),
        Batch(-batch.video, batch.video_mask, batch.edges, batch.text, batch.text_mask),
    ):
        other = model(changed)
        assert (other.saliency - base.saliency).abs().max() > 1e-3
        assert (other.moments.labels - base.moments.labels).abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["blocks", "literal", "cross-attention"])
@pytest.mark.parametrize("length", [1, 2, 550])
def test_videos_of_any_length_train(kind: str, length: int) -> None:
    model = small_model(fusion__kind=kind).train()
    output = model(make_batch([length, max(1, length // 3)], [3, 1]))
    assert output.saliency.shape == (2, length)
    moments = output.moments
    assert moments.spans.shape == (2, 8, 2)
    assert len(output.layers) == 2
    sum(m.spans.sum() + m.labels.sum() + m.ious.sum() for m in output.layers).add(output.saliency.sum()).backward()
    used = {name for name, p in model.named_parameters() if p.grad is not None}
    for name, p in model.named_parameters():
        assert p.grad is None or torch.isfinite(p.grad).all(), name
    assert any(name.startswith("video.") for name in used)
    assert any(name.startswith("text.") for name in used)
    assert any(name.startswith("decoder.layers") for name in used)


@pytest.mark.parametrize("kind", ["blocks", "literal", "cross-attention"])
@torch.no_grad()
def test_a_video_of_5000_clips(kind: str) -> None:
    output = small_model(fusion__kind=kind)(make_batch([5000], [6]))
    assert output.saliency.shape == (1, 5000)
    assert torch.isfinite(output.saliency).all()
    spans, scores = chosen_of(output, Config().updated(SMALL))
    assert torch.isfinite(spans).all()
    assert float(scores[0, 0]) > 0


def test_features_of_another_width_are_refused() -> None:
    batch = make_batch([4], [2])
    wide = Batch(batch.video.repeat(1, 1, 2), batch.video_mask, batch.edges, batch.text, batch.text_mask)
    with pytest.raises(InputError, match=r"takes 7-d video and 5-d text.*has 14 and 5"):
        small_model()(wide)
    wide = Batch(batch.video, batch.video_mask, batch.edges, batch.text.repeat(1, 1, 2), batch.text_mask)
    with pytest.raises(InputError, match="has 7 and 10"):
        small_model()(wide)


@torch.no_grad()
def test_the_first_moments_are_read_off_the_pattern() -> None:
    """An untrained decoder must not move what the pattern shows."""
    torch.manual_seed(0)
    model = RDMF(Config().updated(SMALL), D_VIDEO, D_TEXT).eval()  # without the perturbation of small_model
    batch = make_batch([12, 7], [3, 2])
    output = model(batch)
    assert output.segments is not None
    assert output.votes is not None
    mixed = output.votes.mixed(output.segments.likely(), model.config.decoder.votes)
    likely = to_centre(output.segments.seeds(mixed, 2))
    read = torch.cat((likely, pattern_spans(output.saliency, batch, (0.0, -1.0), 2)), 1)
    found = output.layers[0].spans[:, :6]
    inside = (read > 1e-3) & (read < 1 - 1e-3)  # the logit of a reference is clamped at the very ends
    torch.testing.assert_close(found[inside], read[inside], rtol=0, atol=2e-4)


def test_pattern_spans_by_hand() -> None:
    batch = make_batch([4, 2], [1, 1])
    batch.edges[0], batch.edges[1] = torch.tensor([0, 0.1, 0.4, 0.8, 1.0]), torch.tensor([0, 0.5, 1.0, 1.0, 1.0])
    logits = torch.tensor([[-1.0, 2.0, 2.0, -1.0], [1.0, -3.0, 50.0, 50.0]])
    spans = to_edges(pattern_spans(logits, batch, (0.0, -5.0), 1))
    torch.testing.assert_close(spans[0], torch.tensor([[0.1, 0.8], [0.0, 1.0]]))
    torch.testing.assert_close(spans[1], torch.tensor([[0.0, 0.5], [0.0, 1.0]]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_integral_is_the_weighted_mean(lengths: list[int], x: float, y: float, seed: int) -> None:
    batch = make_batch(lengths, [1] * len(lengths), seed=seed, garbage=9.0)
    low, high = min(x, y), max(x, y) + 0.01
    bounds = [torch.full((len(lengths), 1), t) for t in (low, high)]
    found = Integral(batch, batch.video).means(*bounds)[0][:, 0]
    for b, n in enumerate(lengths):
        e = batch.edges[b, : n + 1].double()
        weight = (torch.minimum(e[1:], torch.tensor(high)) - torch.maximum(e[:-1], torch.tensor(low))).clamp_min(0)
        if float(weight.sum()) < 1e-3:
            continue
        expected = (weight[:, None] * batch.video[b, :n]).sum(0) / weight.sum()
        torch.testing.assert_close(found[b].double(), expected, rtol=0, atol=2e-3)


def test_final_score_is_eq_13() -> None:
    moments = Moments(torch.rand(1, 3, 2), torch.tensor([[0.0, 2.0, -1.0]]), torch.tensor([[1.0, 0.0, -3.0]]))
    label, iou = torch.sigmoid(moments.labels), torch.sigmoid(moments.ious)
    torch.testing.assert_close(moment_scores(moments, 0.3, "sum"), 0.3 * label + 0.7 * iou)
    torch.testing.assert_close(moment_scores(moments, 0.3, "geometric"), label**0.3 * iou**0.7)
    for combine in ("sum", "geometric"):
        torch.testing.assert_close(moment_scores(moments, 1.0, combine), label)
        torch.testing.assert_close(moment_scores(moments, 0.0, combine), iou)


def as_output(spans: torch.Tensor, labels: torch.Tensor) -> Output:
    return Output(torch.zeros(len(spans), 1), [Moments(spans, labels, torch.zeros_like(labels))])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 60), st.sampled_from([0.0, 0.5, 0.7, 1.0]), st.integers(1, 12))
def test_chosen_moments_are_sorted_inside_and_apart(seed: int, queries: int, nms: float, top_k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    spans = 1e-3 + 0.998 * torch.rand(2, queries, 2, generator=generator)
    labels = torch.randn(2, queries, generator=generator)
    config = Config().updated({"nms": nms, "top_k": top_k})
    chosen, scores = chosen_of(as_output(spans, labels), config)
    assert chosen.shape == (2, min(top_k, queries), 2)
    assert scores.shape == chosen.shape[:2]
    assert (scores[:, 1:] <= scores[:, :-1]).all()
    assert (chosen >= 0).all()
    assert (chosen <= 1).all()
    assert (chosen[..., 0] < chosen[..., 1]).all()
    torch.testing.assert_close(
        scores[:, 0], moment_scores(Moments(spans, labels, torch.zeros_like(labels)), 0.5, "geometric").amax(1)
    )
    for row, value in zip(chosen, scores):
        kept = row[value >= 0]
        iou = overlap(kept[:, None], kept[None])[0].fill_diagonal_(0)
        assert nms == 1 or (iou <= nms + 1e-6).all()


def test_top_k_may_be_asked_for() -> None:
    spans = torch.stack((torch.linspace(0.1, 0.9, 9), torch.full((9,), 0.05)), -1)[None]
    output = as_output(spans, torch.arange(9.0)[None])
    chosen, _ = chosen_of(output, Config(), top_k=3)
    torch.testing.assert_close(chosen[0].mean(-1), torch.tensor([0.9, 0.8, 0.7]))
    assert chosen_of(output, Config(), top_k=50)[0].shape == (1, 9, 2)


def test_places_emptied_by_suppression_are_marked() -> None:
    spans = torch.tensor([[[0.5, 0.4], [0.5, 0.4], [0.5, 0.39], [0.1, 0.1]]])
    chosen, scores = chosen_of(as_output(spans, torch.tensor([[3.0, 2.0, 1.0, 0.0]])), Config())
    assert (scores[0] >= 0).tolist() == [True, True, False, False]
    torch.testing.assert_close(chosen[0, 1], torch.tensor([0.05, 0.15]))
