"""UniVTG: what must hold for any input, without the authors' numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.baselines.univtg import UniVTG, clip_targets, losses
from rdmf.config import Config
from rdmf.model import Batch, build_model
from rdmf.predict import choose_moments
from rdmf.train.losses import Targets

VIDEO, TEXT = 5, 4
TINY: dict[str, Any] = {
    "model.name": "univtg",
    "model.hidden": 16,
    "model.dropout": 0.0,
    "model.input_dropout": 0.0,
    "univtg.encoder_layers": 2,
    "univtg.heads": 2,
    "univtg.feedforward": 24,
}
lengths = st.lists(st.integers(1, 14), min_size=1, max_size=4)


def make_model(**own: Any) -> UniVTG:
    torch.manual_seed(0)
    config = Config().updated({**TINY, **{f"univtg.{name}": value for name, value in own.items()}})
    model = build_model(config, VIDEO, TEXT)
    assert isinstance(model, UniVTG)
    return model.eval()


def make_batch(clips: list[int], seed: int = 0) -> Batch:
    """Videos of so many clips, each with a sentence of a few tokens; numbers stand in the padding."""
    generator = torch.Generator().manual_seed(seed)
    longest, words = max(clips), [2 + (n % 3) for n in clips]
    edges = torch.stack([(torch.arange(longest + 1) / n).clamp_max(1) for n in clips])
    return Batch(
        video=torch.randn(len(clips), longest, VIDEO, generator=generator),
        video_mask=torch.arange(longest) < torch.tensor(clips)[:, None],
        edges=edges,
        text=torch.randn(len(clips), max(words), TEXT, generator=generator),
        text_mask=torch.arange(max(words)) < torch.tensor(words)[:, None],
    )


def alone(batch: Batch, i: int) -> Batch:
    clips, words = int(batch.video_mask[i].sum()), int(batch.text_mask[i].sum())
    return Batch(
        batch.video[i : i + 1, :clips],
        batch.video_mask[i : i + 1, :clips],
        batch.edges[i : i + 1, : clips + 1],
        batch.text[i : i + 1, :words],
        batch.text_mask[i : i + 1, :words],
    )


def make_targets(batch: Batch, seed: int = 0, *, rated: bool = False, windows: int = 2) -> Targets:
    generator = torch.Generator().manual_seed(seed)
    size, longest = batch.video_mask.shape
    spans = torch.rand(size, windows, 2, generator=generator).sort(-1).values
    spans[..., 1] = (spans[..., 1] + 0.02).clamp_max(1)
    valid = torch.arange(windows) < torch.randint(1, windows + 1, (size, 1), generator=generator)
    saliency = torch.rand(size, longest, generator=generator) * batch.video_mask
    return Targets(
        spans * valid[..., None], valid, saliency, batch.video_mask, rated=torch.full((size,), rated, dtype=torch.bool)
    )


@settings(deadline=None, max_examples=20)
@given(lengths, st.integers(0, 9))
def test_a_query_does_not_depend_on_its_batch(clips: list[int], seed: int) -> None:
    model, batch = make_model(heads_see_padding=False), make_batch(clips, seed)
    with torch.no_grad():
        together = model(batch)
        for i, n in enumerate(clips):
            single = model(alone(batch, i))
            torch.testing.assert_close(together.saliency[i, :n], single.saliency[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(together.answers.reach[i, :n], single.answers.reach[0], atol=1e-5, rtol=0)


def test_as_published_padding_reaches_the_last_three_clips_and_no_further() -> None:
    model, batch = make_model(), make_batch([8, 14])
    with torch.no_grad():
        together, single = model(batch).answers.foreground[0, :8], model(alone(batch, 0)).answers.foreground[0]
    changed = (together - single).abs() > 1e-6
    assert changed.tolist() == [False] * 5 + [True] * 3


def test_similarity_in_padding() -> None:
    batch = make_batch([3, 5])
    for published, low, high in ((True, -104.3, -102.2), (False, -3.5e38, -1e38)):
        with torch.no_grad():
            padding = make_model(log_of_nearly_zero=published)(batch).answers.similarity[0, 3:]
        assert ((padding > low) & (padding < high)).all()


def test_clip_times() -> None:
    batch = make_batch([4])
    assert make_model()(batch).times.tolist() == [[0.25, 0.5, 0.75, 1.0]]
    assert make_model(clip_times="centres")(batch).times.tolist() == [[0.125, 0.375, 0.625, 0.875]]


@settings(deadline=None, max_examples=40)
@given(lengths, st.integers(0, 99), st.booleans())
def test_every_query_with_windows_has_a_clip_that_answers_for_one(clips: list[int], seed: int, rated: bool) -> None:
    batch = make_batch(clips, seed)
    targets = make_targets(batch, seed, rated=rated)
    times = batch.centres
    wanted = clip_targets(times, batch, targets)
    assert wanted.foreground.any(1).all()
    assert not (wanted.foreground & ~batch.video_mask).any()
    inside = (times >= wanted.windows[..., 0]) & (times <= wanted.windows[..., 1])
    for i in range(len(clips)):
        given_windows = targets.windows[i][targets.window_mask[i]].tolist()
        for clip in wanted.foreground[i].nonzero()[:, 0].tolist():
            assert wanted.windows[i, clip].tolist() in given_windows
        if int(wanted.foreground[i].sum()) > 1:  # one alone may stand for a window shorter than a clip
            assert inside[i][wanted.foreground[i]].all()
        assert wanted.windows[i][~wanted.foreground[i]].abs().sum() == 0
    assert wanted.saliency.gather(1, wanted.positive[:, None])[:, 0][wanted.usable].gt(0).all()


def test_a_window_between_two_clip_times_is_answered_by_the_clip_that_holds_its_start() -> None:
    batch = make_batch([10])
    window, there = torch.tensor([[[0.41, 0.44]]]), torch.ones(1, 1, dtype=torch.bool)
    targets = Targets(window, there, torch.zeros(1, 10), batch.video_mask)
    wanted = clip_targets(batch.centres, batch, targets)
    assert wanted.foreground[0].nonzero()[:, 0].tolist() == [4]
    assert wanted.windows[0, 4].tolist() == pytest.approx([0.41, 0.44])


def test_the_salient_clip_follows_the_seed_and_covers_all() -> None:
    batch = make_batch([9])
    saliency = torch.tensor([[0.0, 0.5, 0, 1, 0, 0, 0.25, 0, 0]])
    none = torch.zeros(1, 0, 2)
    targets = Targets(none, none[..., 0].bool(), saliency, batch.video_mask, rated=torch.ones(1, dtype=torch.bool))

    def draw(seed: int) -> int:
        torch.manual_seed(seed)
        return int(clip_targets(batch.centres, batch, targets).positive)

    drawn = [draw(seed) for seed in range(60)]
    assert drawn == [draw(seed) for seed in range(60)]
    assert set(drawn) == {1, 3, 6}


@pytest.mark.parametrize("rated", [False, True])
def test_gradients_reach_every_parameter(rated: bool) -> None:
    model, batch = make_model(), make_batch([6, 9, 4])
    total, parts = model.loss(model(batch), batch, make_targets(batch, rated=rated))
    total.backward()
    assert set(parts) == {"boundary", "giou", "foreground", "within", "across"}
    assert all(torch.isfinite(value) and value > 0 for value in parts.values())
    untouched = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A bias on all keys alike moves no softmax.
    assert [name for name in untouched if not name.endswith("attention.key.bias")] == []


def test_the_total_is_the_weighted_sum() -> None:
    model, batch = make_model(within=0.3, across=0.2, giou=2.0), make_batch([6, 9])
    torch.manual_seed(0)
    total, parts = model.loss(model(batch), batch, make_targets(batch))
    own = model.config.univtg
    assert float(total.detach()) == pytest.approx(
        sum(getattr(own, name) * float(value) for name, value in parts.items())
    )


def test_nothing_annotated_is_nothing_learnt() -> None:
    model, batch = make_model(), make_batch([6, 9])
    none = torch.zeros(2, 0, 2)
    off = torch.zeros(2, dtype=torch.bool)
    targets = Targets(none, none[..., 0].bool(), torch.zeros(2, 9), torch.zeros(2, 9, dtype=torch.bool), rated=off)
    total, parts = model.loss(model(batch), batch, targets)
    total.backward()
    assert float(total.detach()) == 0
    assert all(float(value) == 0 for value in parts.values())
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_queries_without_annotation_change_nothing_for_the_others() -> None:
    model, batch = make_model(similarity_across_batch=False), make_batch([6, 6])
    targets = make_targets(batch)
    off = torch.tensor([True, False])
    half = Targets(
        targets.windows * off[:, None, None], targets.window_mask & off[:, None], targets.saliency, batch.video_mask
    )
    first = alone(batch, 0)
    lone = Targets(targets.windows[:1], targets.window_mask[:1], targets.saliency[:1], first.video_mask)

    def parts(b: Batch, t: Targets) -> dict[str, float]:
        output = model(b)
        wanted = clip_targets(output.times, b, t)
        fixed = dataclasses.replace(wanted, positive=wanted.foreground.int().argmax(1))
        found = losses(output.answers, output.times, output.mask, fixed, model.config.univtg)
        return {name: float(value.detach()) for name, value in found.items()}

    assert parts(batch, half) == pytest.approx(parts(first, lone), abs=1e-5)


@settings(deadline=None, max_examples=20)
@given(lengths)
def test_candidates_lie_in_the_video_and_padding_has_none(clips: list[int]) -> None:
    model, batch = make_model(), make_batch(clips)
    with torch.no_grad():
        output = model(batch)
        spans, scores = model.candidates(output)
    assert spans.shape[1] >= model.config.score.top_k
    start, end = spans[..., 0] - spans[..., 1] / 2, spans[..., 0] + spans[..., 1] / 2
    assert (start > -1e-6).all()
    assert (end < 1 + 1e-6).all()
    assert ((scores >= 0).sum(1) == torch.tensor(clips)).all()
    assert (scores <= 1).all()
    kept = choose_moments(spans, scores, model.config)[1]
    assert kept.shape == (len(clips), model.config.score.top_k)
    assert ((kept >= 0).sum(1) <= torch.tensor(clips)).all()


@pytest.mark.parametrize("highlight", ["sum", "similarity"])
def test_the_curve_is_the_saliency_in_the_unit_interval(highlight: str) -> None:
    model, batch = make_model(highlight=highlight), make_batch([12])
    with torch.no_grad():
        output = model(batch)
        curve = model.curve(output)
    assert ((curve >= 0) & (curve <= 1)).all()
    assert curve.argsort().equal(output.saliency.argsort())


def test_bfloat16_autocast_changes_little_and_stays_finite() -> None:
    model, batch = make_model(), make_batch([6, 9, 4])
    plain = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(batch)
    assert mixed.saliency.dtype == mixed.answers.reach.dtype == torch.float32
    torch.testing.assert_close(mixed.saliency[batch.video_mask], plain.saliency[batch.video_mask], atol=0.05, rtol=0)
    total, _ = model.loss(mixed, batch, make_targets(batch, rated=True))
    total.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
