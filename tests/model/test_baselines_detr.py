"""Moment-DETR, QD-DETR and CG-DETR without reference material: what must hold for any weights, batch and annotation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.baselines.detr import (
    DETRGrounder,
    Moments,
    Pairs,
    assign,
    draw_pairs,
    levels,
    margin_loss,
    moment_losses,
    rank_loss,
    relevant_clips,
)
from rdmf.baselines.layers import DropPath, prepare, sine_position, text_to_video_mask
from rdmf.baselines.settings import MomentDETRConfig
from rdmf.config import Config
from rdmf.model import Batch, build_model
from rdmf.store import InputError
from rdmf.train.losses import Targets

D_VIDEO, D_TEXT = 7, 5
MODELS = ("moment-detr", "qd-detr", "cg-detr")
#: Losses that a model has beyond saliency and moments.
MORE = {"cg-detr": {"alignment", "distillation", "apartness"}}


def small(name: str, seed: int = 0, **options: Any) -> DETRGrounder:
    """As small as it gets; where a model has a mask layout, the one that leaks nothing."""
    section = name.replace("-", "_")
    values: dict[str, Any] = {"model.name": name, "hidden": 16, "dropout": 0.0, "input_dropout": 0.0}
    values |= {f"{section}.{k}": v for k, v in {"heads": 2, "feedforward": 24, "queries": 4}.items()}
    if name != "moment-detr":
        values[f"{section}.mask_layout"] = "batch-major"
    torch.manual_seed(seed)
    model = build_model(Config().updated(values | options), D_VIDEO, D_TEXT)
    assert isinstance(model, DETRGrounder)
    return model.eval()


def make_batch(sizes: list[tuple[int, int]], seed: int = 0, garbage: float = 0.0) -> Batch:
    """Random samples of so many clips and tokens; `garbage` lies in padding."""
    generator = torch.Generator().manual_seed(seed)
    longest, most = (max(column) for column in zip(*sizes))
    video = torch.full((len(sizes), longest, D_VIDEO), garbage)
    text = torch.full((len(sizes), most, D_TEXT), garbage)
    edges = torch.ones(len(sizes), longest + 1)
    for b, (n, m) in enumerate(sizes):
        video[b, :n] = torch.randn(n, D_VIDEO, generator=generator)
        text[b, :m] = torch.randn(m, D_TEXT, generator=generator)
        edges[b, : n + 1] = torch.linspace(0, 1, n + 1)
    clips, tokens = (torch.tensor(column)[:, None] for column in zip(*sizes))
    return Batch(video, torch.arange(longest)[None] < clips, edges, text, torch.arange(most)[None] < tokens)


def alone(batch: Batch, b: int) -> Batch:
    one, n, m = slice(b, b + 1), int(batch.video_mask[b].sum()), int(batch.text_mask[b].sum())
    return Batch(
        batch.video[one, :n],
        batch.video_mask[one, :n],
        batch.edges[one, : n + 1],
        batch.text[one, :m],
        batch.text_mask[one, :m],
    )


def window_targets(batch: Batch, windows: list[list[tuple[float, float]]]) -> Targets:
    """Targets as `Split.batch` makes them: saliency is what windows cover of each clip."""
    most = max(1, *(len(w) for w in windows))
    found, valid = torch.zeros(len(windows), most, 2), torch.zeros(len(windows), most, dtype=torch.bool)
    for b, own in enumerate(windows):
        for w, (start, end) in enumerate(own):
            found[b, w], valid[b, w] = torch.tensor([start, end]), True
    low, high = batch.edges[:, :-1, None], batch.edges[:, 1:, None]
    shared = (torch.minimum(high, found[:, None, :, 1]) - torch.maximum(low, found[:, None, :, 0])).clamp_min(0)
    saliency = ((shared * valid[:, None]).sum(-1) / (high - low)[..., 0].clamp_min(1e-9)).clamp(0, 1)
    known = batch.video_mask & valid.any(1)[:, None]
    return Targets(found, valid, saliency * batch.video_mask, known, rated=torch.zeros(len(windows), dtype=torch.bool))


SIZES = st.lists(st.tuples(st.integers(1, 15), st.integers(1, 5)), min_size=2, max_size=4)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=20, deadline=None)
@given(SIZES, st.integers(0, 999))
@torch.no_grad()
def test_a_samples_answer_is_its_own(name: str, sizes: list[tuple[int, int]], seed: int) -> None:
    model = small(name, seed % 5)
    batch = make_batch(sizes, seed, garbage=3.0)
    together = model(batch)
    for b, (n, _) in enumerate(sizes):
        single = model(alone(batch, b))
        torch.testing.assert_close(together.saliency[b, :n], single.saliency[0], rtol=0, atol=1e-4)
        for big, little in zip(model.candidates(together), model.candidates(single)):
            torch.testing.assert_close(big[b], little[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", MODELS[1:])
@torch.no_grad()
def test_the_published_mask_layout_mixes_samples(name: str) -> None:
    sizes = [(9, 5), (4, 2), (7, 3)]
    batch = make_batch(sizes)
    setting = f"{name.replace('-', '_')}.mask_layout"
    published, meant = (small(name, **{setting: m}) for m in ("head-major", "batch-major"))
    assert (published(batch).saliency - meant(batch).saliency).abs()[batch.video_mask].max() > 1e-4
    for b in range(3):
        one = alone(batch, b)
        torch.testing.assert_close(published(one).saliency, meant(one).saliency)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.sampled_from([1, 2, 4]))
def test_text_to_video_mask_by_its_definition(sizes: list[tuple[int, int]], heads: int) -> None:
    batch = make_batch(sizes)
    video, text, count = batch.video_mask, batch.text_mask, len(sizes)
    allowed = text_to_video_mask(video, text, heads, "head-major").expand(-1, heads, video.shape[1], -1)
    for b in range(count):
        for h in range(heads):
            other = (b * heads + h) % count
            expected = text[b][None] & ~(~video[other][:, None] & ~text[other][None])
            assert allowed[b, h].equal(expected)
            assert allowed[b, h].any(1).all()  # a softmax over nothing would be NaN
    meant = text_to_video_mask(video, text, heads, "batch-major")
    assert meant.equal(text[:, None, None])


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_the_answer_depends_on_the_query_and_on_the_video(name: str) -> None:
    """What would make the tests above pass for nothing."""
    model, batch = small(name), make_batch([(9, 4)])
    base = model(batch)
    for changed in (
        Batch(batch.video, batch.video_mask, batch.edges, -batch.text, batch.text_mask),
        Batch(-batch.video, batch.video_mask, batch.edges, batch.text, batch.text_mask),
    ):
        other = model(changed)
        assert (other.saliency - base.saliency).abs().max() > 1e-3
        assert (other.layers[-1].logits - base.layers[-1].logits).abs().max() > 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter(name: str) -> None:
    model = small(name).train()
    # Away from zero, where nothing moves: the first decoder layer starts with queries of zeros.
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    batch = make_batch([(9, 4), (6, 2), (12, 3)])
    targets = window_targets(batch, [[(0.1, 0.5)], [(0.2, 0.4), (0.6, 1.0)], [(0.0, 0.3)]])
    total, parts = model.loss(model(batch), batch, targets)
    total.backward()
    assert set(parts) == {"saliency", "span", "giou", "label"} | MORE.get(name, set())
    assert all(torch.isfinite(value) and not value.requires_grad for value in parts.values())
    first = "network.decoder.0.among." if name == "moment-detr" else "network.decoder.layers.0.self_"
    for parameter, p in model.named_parameters():
        assert p.grad is not None, parameter
        assert torch.isfinite(p.grad).all(), parameter
        # Softmax ignores what all keys share, a margin what all clips share; and zeros multiply to zeros.
        idle = parameter.endswith(("key.bias", "key_place.bias", "saliency.bias")) or parameter.startswith(first)
        assert idle or p.grad.any(), parameter


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_annotation_has_a_loss(name: str) -> None:
    model = small(name).train()
    batch = make_batch([(8, 3), (5, 2)])
    windows = window_targets(batch, [[(0.1, 0.5)], []])
    total, parts = model.loss(model(batch), batch, windows)
    assert torch.isfinite(total)
    scores = torch.rand(batch.video_mask.shape) * batch.video_mask
    rated = torch.ones(2, dtype=torch.bool)
    nothing = torch.zeros(2, 0, 2)
    only_saliency = Targets(nothing, nothing[..., 0].bool(), scores, batch.video_mask, rated)
    total, parts = model.loss(model(batch), batch, only_saliency)
    assert torch.isfinite(total)
    assert set(parts) == {"saliency"} | MORE.get(name, set())
    assert float(parts["saliency"]) > 0


def test_foreign_sentences_are_for_training_in_company() -> None:
    model = small("qd-detr").train()
    assert model(make_batch([(5, 3)])).foreign is None
    assert model(make_batch([(5, 3), (4, 2)])).foreign.shape == (2, 5)
    assert model.eval()(make_batch([(5, 3), (4, 2)])).foreign is None
    assert small("qd-detr", **{"qd_detr.foreign": 0.0}).train()(make_batch([(5, 3), (4, 2)])).foreign is None


@pytest.mark.parametrize("name", MODELS)
def test_features_of_another_width_are_refused(name: str) -> None:
    batch = make_batch([(4, 2)])
    wide = Batch(batch.video.repeat(1, 1, 2), batch.video_mask, batch.edges, batch.text, batch.text_mask)
    with pytest.raises(InputError, match=r"takes 7-d video and 5-d text.*has 14 and 5"):
        small(name)(wide)


@pytest.mark.parametrize("name", MODELS)
def test_under_autocast_the_loss_is_single_precision(name: str) -> None:
    model = small(name).train()
    batch = make_batch([(9, 4), (6, 2)])
    with torch.autocast("cpu", torch.bfloat16):
        output = model(batch)
    total, _ = model.loss(output, batch, window_targets(batch, [[(0.1, 0.5)], [(0.2, 0.4)]]))
    assert total.dtype == torch.float32
    total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_prepared_features() -> None:
    batch = make_batch([(3, 2), (2, 1)], garbage=5.0)
    video, mask, text, text_mask = prepare(batch)
    assert mask is batch.video_mask
    assert text_mask is batch.text_mask
    row = batch.video[0, 1] / (batch.video[0, 1].norm() + 1e-5)
    torch.testing.assert_close(video[0, 1], torch.cat((row, torch.tensor([1 / 3, 2 / 3]))))
    assert not video[1, 2].any()
    assert not text[1, 1].any()
    raw = prepare(batch, normalize=False)
    torch.testing.assert_close(raw[0][0, 1, :D_VIDEO], batch.video[0, 1])
    torch.testing.assert_close(raw[2][0, 0], batch.text[0, 0])


def test_positions_span_the_valid_part() -> None:
    mask = torch.tensor([[True] * 4, [True] * 2 + [False] * 2])
    place = sine_position(mask, 6)
    assert place.shape == (2, 4, 6)
    # The last valid position is a full turn, whatever the length: sine 0, cosine 1 in the fastest wave.
    torch.testing.assert_close(place[0, 3, :2], torch.tensor([0.0, 1.0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(place[1, 1], place[0, 3], rtol=0, atol=1e-4)
    torch.testing.assert_close(place[1, 0], place[0, 1], rtol=0, atol=1e-4)


def test_drop_path_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop, ones = DropPath(0.25), torch.ones(4000, 2, 3)
    dropped = drop.train()(ones)
    assert set(dropped.flatten().tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert (dropped == dropped[:, :1, :1]).all()  # a whole sample at a time
    assert float(dropped.mean()) == pytest.approx(1, abs=0.05)
    assert drop.eval()(ones) is ones


@st.composite
def annotations(draw: st.DrawFn) -> Targets:
    """Saliency of a few queries, rated or from windows, known or not."""
    size, length = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    lengths = torch.tensor(draw(st.lists(st.integers(1, length), min_size=size, max_size=size)))
    mask = torch.arange(length)[None] < lengths[:, None]
    value = st.sampled_from([0.0, 0.0, 0.25, 1 / 3, 0.5, 1.0])
    saliency = torch.tensor(
        draw(st.lists(st.lists(value, min_size=length, max_size=length), min_size=size, max_size=size))
    )
    flags = [torch.tensor(draw(st.lists(st.booleans(), min_size=size, max_size=size))) for _ in range(2)]
    nothing = torch.zeros(size, 0, 2)
    return Targets(nothing, nothing[..., 0].bool(), saliency * mask, mask & flags[0][:, None], flags[1])


@settings(max_examples=200, deadline=None)
@given(annotations(), st.integers(0, 99))
def test_pairs_are_what_they_say(targets: Targets, seed: int) -> None:
    torch.manual_seed(seed)
    pairs = draw_pairs(targets)
    torch.manual_seed(seed)
    again = draw_pairs(targets)
    assert pairs.high.equal(again.high)
    assert pairs.low.equal(again.low)
    assert targets.rated is not None
    relevant = relevant_clips(targets)
    other = targets.saliency_mask & ~relevant
    for b, rated in enumerate(targets.rated.tolist()):
        has = bool(relevant[b].any()) and (rated or bool(other[b].any()))
        assert pairs.valid[b].tolist() == [has, has]
        if not has:
            continue
        high, low = pairs.high[b], pairs.low[b]
        assert relevant[b][high].all()
        assert targets.saliency_mask[b][low].all()
        if rated:
            values = targets.saliency[b][relevant[b]]
            assert targets.saliency[b][high[0]] == values.max()
            assert targets.saliency[b][low[0]] == values.min()
            assert bool(other[b][low[1]]) == bool(other[b].any())
        else:
            assert other[b][low].all()
            for chosen, pool in ((high, relevant), (low, other)):
                assert (chosen[0] != chosen[1]) == (int(pool[b].sum()) > 1)


def test_every_clip_of_a_pool_is_drawn() -> None:
    batch = make_batch([(6, 1)])
    targets = window_targets(batch, [[(0.0, 0.5)]])
    drawn = [draw_pairs(targets) for _ in range(100)]
    assert {int(i) for p in drawn for i in p.high.flatten()} == {0, 1, 2}
    assert {int(i) for p in drawn for i in p.low.flatten()} == {3, 4, 5}


def test_a_window_shorter_than_half_a_clip_is_where_it_is() -> None:
    batch = make_batch([(4, 1)])
    assert relevant_clips(window_targets(batch, [[(0.30, 0.36)]])).tolist() == [[False, True, False, False]]
    assert relevant_clips(window_targets(batch, [[(0.20, 0.5)]])).tolist() == [[False, True, False, False]]


def test_levels() -> None:
    batch = make_batch([(4, 1), (4, 1)])
    targets = window_targets(batch, [[(0.0, 0.5)], [(0.0, 0.5)]])
    saliency = torch.tensor([[1.0, 1.0, 0, 0], [7 / 12, 1 / 12, 0, 1.0]])
    targets = Targets(
        targets.windows, targets.window_mask, saliency, targets.saliency_mask, torch.tensor([False, True])
    )
    assert levels(targets, 1.0).tolist() == [[1, 1, 0, 0], [7, 1, 0, 12]]
    assert levels(targets, 6.0)[0].tolist() == [6, 6, 0, 0]


def test_margin_by_hand() -> None:
    saliency = torch.tensor([[1.0, 0.9, 0.0], [5.0, 5.0, 5.0]])
    high, low = torch.tensor([[0, 0], [0, 0]]), torch.tensor([[1, 2], [1, 2]])
    both = torch.ones(2, 2, dtype=torch.bool)
    assert float(margin_loss(saliency, Pairs(high, low, both), 0.2)) == pytest.approx(2 * (0.1 + 0.2 + 0.2) / 4)
    first = torch.tensor([[True, True], [False, False]])
    assert float(margin_loss(saliency, Pairs(high, low, first), 0.2)) == pytest.approx(2 * 0.1 / 2)
    assert float(margin_loss(saliency, Pairs(high, low, ~both), 0.2)) == 0


def test_rank_loss_by_hand() -> None:
    saliency, mask = torch.tensor([[0.0, 1.0, 9.0]]), torch.tensor([[True, True, False]])
    level = torch.tensor([[0.0, 2.0, 0.0]])
    # Levels 1 and 2 both ask for the second clip: -log softmax of 1 / 0.5 against 0.
    expected = 2 * float(torch.log1p(torch.exp(torch.tensor(-2.0)))) / 12
    assert float(rank_loss(saliency, level, mask, temperature=0.5, divisor=12)) == pytest.approx(expected, rel=1e-4)
    assert float(rank_loss(saliency, level, mask, temperature=0.5, divisor=11)) == pytest.approx(
        expected * 12 / 11, rel=1e-4
    )
    assert float(rank_loss(saliency, 0 * level, mask, temperature=0.5, divisor=12)) == 0
    better = rank_loss(torch.tensor([[0.0, 3.0, 9.0]]), level, mask, temperature=0.5, divisor=12)
    assert float(better) < expected


def moments_at(spans: list[list[tuple[float, float]]], logits: list[list[tuple[float, float]]]) -> Moments:
    return Moments(torch.tensor(spans), torch.tensor(logits))


def test_moment_losses_by_hand() -> None:
    own = MomentDETRConfig()
    said = moments_at([[(0.5, 0.4), (0.1, 0.1)], [(0.5, 0.4), (0.1, 0.1)]], [[(1.0, 0.0), (0.0, 2.0)]] * 2)
    batch = make_batch([(4, 1), (4, 1)])
    targets = window_targets(batch, [[(0.3, 0.8)], []])
    assert assign(said, targets, own).tolist() == [[0], [-1]]
    losses = moment_losses(said, targets, own)
    assert float(losses["span"]) == pytest.approx((0.05 + 0.1) / 2)
    assert float(losses["giou"]) == pytest.approx(1 - 0.4 / 0.5)
    # The second sample has no window: that is no statement about its moments.
    positive = float(torch.log1p(torch.exp(torch.tensor(-1.0))))
    negative = 0.1 * float(torch.log1p(torch.exp(torch.tensor(-2.0))))
    assert float(losses["label"]) == pytest.approx((positive + negative) / 2)


def test_more_windows_than_queries() -> None:
    said = moments_at([[(0.2, 0.2)]], [[(0.0, 0.0)]])
    batch = make_batch([(9, 1)])
    targets = window_targets(batch, [[(0.6, 0.9), (0.1, 0.3)]])
    assert assign(said, targets, MomentDETRConfig()).tolist() == [[-1, 0]]
    assert float(moment_losses(said, targets, MomentDETRConfig())["span"]) == pytest.approx(0, abs=1e-6)
