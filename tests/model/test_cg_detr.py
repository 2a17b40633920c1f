"""CG-DETR: what is its own, against definitions and slow loops; what it shares is in test_baselines_detr.py."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rdmf.baselines.cg_detr import CGDETR
from rdmf.baselines.cg_detr_losses import (
    Foreign,
    Summaries,
    alignment_loss,
    apartness_loss,
    distillation_loss,
    focus_loss,
    saliency_losses,
)
from rdmf.baselines.detr import Pairs, levels, rank_loss, relevant_clips
from rdmf.baselines.layers import prepare
from rdmf.config import Config
from rdmf.model import Batch
from rdmf.store import InputError
from rdmf.train.losses import Targets

D_VIDEO, D_TEXT, DUMMIES = 6, 5, 4
SIZES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=4)


def small(**own: Any) -> CGDETR:
    """A tiny one, free of what the authors' code does to a batch; `own` sets it back."""
    values = {
        "heads": 2,
        "feedforward": 12,
        "queries": 3,
        "dummies": DUMMIES,
        "prompts": 3,
        "mask_layout": "batch-major",
        "padding_in_losses": False,
        "lone_unranked": False,
    }
    sizes = {"model.name": "cg-detr", "hidden": 8, "dropout": 0.0, "input_dropout": 0.0}
    torch.manual_seed(0)
    config = Config().updated(sizes | {f"cg_detr.{name}": value for name, value in (values | own).items()})
    return CGDETR(config, D_VIDEO, D_TEXT).eval()


def make(
    sizes: list[tuple[int, int]], *, more: int = 0, source: list[int] | None = None, seed: int = 0
) -> tuple[Batch, Targets]:
    """Samples of so many clips and tokens, rated, one window each; `more` positions of padding than needed."""
    generator = torch.Generator().manual_seed(seed)
    size, (longest, most) = len(sizes), (max(column) + more for column in zip(*sizes))
    clips, words = (torch.tensor(column)[:, None] for column in zip(*sizes))
    video, text = torch.full((size, longest, D_VIDEO), 3.0), torch.full((size, most, D_TEXT), 3.0)
    saliency = torch.zeros(size, longest)
    for b, (n, m) in enumerate(sizes):
        video[b, :n], text[b, :m] = (torch.randn(k, d, generator=generator) for k, d in ((n, D_VIDEO), (m, D_TEXT)))
        saliency[b, :n] = torch.randint(0, 13, (n,), generator=generator) / 12
    mask = torch.arange(longest)[None] < clips
    edges = (torch.arange(longest + 1)[None] / clips).clamp_max(1)
    where = None if source is None else torch.tensor(source)
    batch = Batch(video, mask, edges, text, torch.arange(most)[None] < words, where)
    windows, there = torch.tensor([[[0.2, 0.7]]]).repeat(size, 1, 1), torch.ones(size, 1, dtype=torch.bool)
    return batch, Targets(windows, there, saliency, mask, rated=torch.ones(size, dtype=torch.bool))


def all_losses(model: CGDETR, batch: Batch, targets: Targets) -> dict[str, float]:
    """Every part in training mode (there is no dropout), with pairs that padding cannot change."""
    with torch.no_grad():
        answers = model.train()(batch)
        level, relevant = levels(targets, 1.0), relevant_clips(targets)
        pairs = Pairs(level.argmax(1, keepdim=True), level.argmin(1, keepdim=True), relevant.any(1, keepdim=True))
        pairs = replace(pairs, low=torch.zeros_like(pairs.low))
        parts = {"saliency": saliency_losses(answers, pairs, level, relevant, batch.video_mask, model.own)}
        parts |= model.token_losses(answers, relevant)
    return {name: float(value) for name, value in parts.items()}


@settings(max_examples=15, deadline=None)
@given(SIZES, st.integers(1, 5), st.integers(0, 99))
def test_losses_do_not_depend_on_padding(sizes: list[tuple[int, int]], more: int, seed: int) -> None:
    model = small()
    bare, padded = (all_losses(model, *make(sizes, more=m, seed=seed)) for m in (0, more))
    assert bare == pytest.approx(padded, abs=1e-4)


def test_as_published_losses_depend_on_padding() -> None:
    model = small(padding_in_losses=True)
    bare, padded = (all_losses(model, *make([(6, 3), (4, 2)], more=m)) for m in (0, 4))
    for name in ("saliency", "alignment", "distillation"):
        assert abs(bare[name] - padded[name]) > 1e-3, name
    assert bare["apartness"] == pytest.approx(padded["apartness"], abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(SIZES, st.sampled_from(["head-major", "batch-major"]))
@torch.no_grad()
def test_attention_is_shared_out_among_dummies_and_words(sizes: list[tuple[int, int]], layout: str) -> None:
    batch, _ = make(sizes, more=1)
    reading = small(mask_layout=layout)(batch).reading
    attention = reading.attention[batch.video_mask]
    assert attention.shape[1] == DUMMIES + batch.text.shape[1]
    torch.testing.assert_close(attention.sum(1), torch.ones(len(attention)))
    assert not reading.attention[..., DUMMIES:][~batch.text_mask[:, None].expand(-1, batch.video.shape[1], -1)].any()
    torch.testing.assert_close(reading.share, reading.attention[..., DUMMIES:].sum(-1))


@torch.no_grad()
def test_what_goes_to_dummies_is_lost() -> None:
    """A clip all of whose attention is on dummies is as one that attends to nothing."""
    network = small().network
    layer, pair = network.adaptive[0], network.pair(*prepare(make([(5, 3)])[0]))
    blind = pair.token_mask.clone()
    blind[:, DUMMIES:] = False
    seen, weights = layer(pair.clips, pair.clip_place, pair, blind[:, None, None])
    nothing, none = layer(pair.clips, pair.clip_place, pair, None)
    torch.testing.assert_close(weights[..., :DUMMIES].sum(-1), torch.ones(1, 5))
    torch.testing.assert_close(seen, nothing)
    assert none is None


@torch.no_grad()
def test_the_saliency_token_reads_words_only_if_told() -> None:
    batch, _ = make([(6, 3), (4, 2)])
    alone, reading = small(), small(saliency_token="words")
    assert (alone(batch).saliency - reading(batch).saliency).abs().max() > 1e-3
    pair = alone.network.pair(*prepare(batch))
    share = torch.rand(pair.clip_mask.shape)
    louder = replace(pair, tokens=pair.tokens * 2)
    for model, same in ((alone, True), (reading, False)):
        first, second = (model.network.saliency_token(p, share) for p in (pair, louder))
        assert first.shape == (2, 1, 8)
        assert first.equal(second) == same


@torch.no_grad()
def test_the_saliency_token_by_its_definition() -> None:
    """The mean clip, and the prompt that the relevant clips are most like, as much as they are like it."""
    model = small()
    network, pair = model.network, model.network.pair(*prepare(make([(6, 3), (4, 2)])[0]))
    share = torch.rand(pair.clip_mask.shape)
    token = []
    for b, n in enumerate((6, 4)):
        mean = pair.clips[b, :n].mean(0)
        like = torch.stack(
            [torch.cosine_similarity(clip - mean, network.prompts, dim=1).softmax(0) for clip in pair.clips[b, :n]]
        )
        mass = (like * share[b, :n, None]).sum(0) / share[b, :n].sum()
        token.append(mean + mass.max() * network.prompts[mass.argmax()])
    expected = torch.stack(token)[:, None]
    for layer in network.adaptive:
        expected, _ = layer(expected, network.prompt_place, pair, None)
    torch.testing.assert_close(network.saliency_token(pair, share), expected)


def test_more_prompts_are_chosen_than_there_are() -> None:
    with pytest.raises(InputError, match=r"cg_detr\.chosen_prompts=4: there are cg_detr\.prompts=3"):
        small(chosen_prompts=4)
    batch, _ = make([(5, 2)])
    with torch.no_grad():
        assert not small(chosen_prompts=2)(batch).saliency.equal(small()(batch).saliency)


@pytest.mark.parametrize("source", [[0, 1, 2], [0, 0, 1], [5, 5, 5], [3, 4, 4]])
@torch.no_grad()
def test_foreign_sentences_are_the_next_ones_of_other_videos(source: list[int]) -> None:
    sizes = [(6, 3), (4, 2), (5, 4)]
    batch, _ = make(sizes, source=source)
    model = small().train()
    foreign = model(batch).foreign
    following = torch.tensor([1, 2, 0])
    assert foreign.which.tolist() == [a != source[b] for a, b in zip(source, following)]
    swapped = replace(batch, text=batch.text[following], text_mask=batch.text_mask[following])
    # Dummies learn the words they stand beside, so each sentence brings its own.
    theirs = model(swapped).reading
    for ours, other in ((foreign.saliency, theirs.saliency), (foreign.share, theirs.share)):
        torch.testing.assert_close(ours[foreign.which], other[foreign.which])
        assert not ours[~foreign.which].any()
    assert model.eval()(batch).foreign is None


def test_without_sources_every_sample_is_of_its_own() -> None:
    model = small().train()
    assert model(make([(4, 2), (5, 3)])[0]).foreign.which.tolist() == [True, True]
    assert model(make([(4, 2)])[0]).foreign.which.tolist() == [False]


def saliency_by_loops(model: CGDETR, batch: Batch, targets: Targets, foreign: Foreign, *, lone: bool) -> Tensor:
    """Ranks, foreign sentences and focus (no margins), sample by sample."""
    own, level, relevant = model.own, levels(targets, 1.0), relevant_clips(targets)
    answers = model(batch)
    apart = [int(i) for i in (~foreign.which).nonzero()]
    together = [int(i) for i in foreign.which.nonzero()]

    def ranks(values: Tensor, lev: Tensor, mask: Tensor) -> Tensor:
        return rank_loss(values, lev, mask, temperature=own.rank_temperature, divisor=own.rank_divisor)

    total = torch.zeros(())
    for values, other in ((answers.saliency, foreign.saliency), (answers.reading.share, foreign.share)):
        for b in together:
            n = int(batch.lengths[b])
            both = torch.cat((values[b, :n], other[b, :n]))[None]
            lev = torch.cat((level[b, :n], torch.zeros(n)))[None]
            total = total + ranks(both, lev, torch.ones(1, 2 * n, dtype=torch.bool)) / len(together)
            lost = other[b, :n].sigmoid() if other is foreign.saliency else other[b, :n]
            total = total - (1 - lost).log().sum() / len(together)
        for b in apart if lone or len(apart) > 1 or not together else []:
            n = int(batch.lengths[b])
            one = values[b : b + 1, :n], level[b : b + 1, :n], batch.video_mask[b : b + 1, :n]
            total = total + ranks(*one) / len(apart)
    mask = batch.video_mask
    share = answers.reading.share[mask]
    return total + nn.functional.binary_cross_entropy(share, relevant[mask].float())


@pytest.mark.parametrize("lone", [True, False])
@pytest.mark.parametrize("source", [[0, 1, 2], [0, 0, 1], [0, 0, 0], [0, 0, 0, 1]])
@torch.no_grad()
def test_saliency_losses_by_loops(source: list[int], lone: bool) -> None:
    batch, targets = make([(6, 3), (4, 2), (5, 4), (3, 1)][: len(source)], source=source)
    model = small(lone_unranked=not lone).train()
    answers = model(batch)
    none = torch.zeros(len(source), 1, dtype=torch.int64)
    pairs = Pairs(none, none, none.bool())
    found = saliency_losses(answers, pairs, levels(targets, 1.0), relevant_clips(targets), batch.video_mask, model.own)
    expected = saliency_by_loops(model, batch, targets, answers.foreign, lone=lone)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def summaries(size: int, length: int, *, scale: float = 1.0) -> tuple[Summaries, Tensor, Tensor]:
    """Random ones of width 4, which clips are relevant, and which are valid."""
    generator = torch.Generator().manual_seed(size)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * scale

    told = Summaries(
        draw(size, 4), draw(size, 4), draw(size, length, 4), draw(size, 4), draw(size, 4), draw(size, 1, 1)
    )
    mask = torch.arange(length)[None] < torch.tensor([length, 2, 1, length])[:size, None]
    return told, (draw(size, length) > 0) & mask, mask


@pytest.mark.parametrize("negatives", ["first", "all"])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_alignment_by_loops(size: int, negatives: str) -> None:
    told, relevant, mask = summaries(size, 5)

    def cosine(a: Tensor, b: Tensor) -> float:
        return float(torch.cosine_similarity(a, b, dim=0))

    expected = 0.0
    for i in range(size):
        words = [cosine(told.inside[i], s) for s in told.sentence] + [cosine(told.outside[i], s) for s in told.sentence]
        expected -= math.log(math.exp(words[i]) / sum(map(math.exp, words))) / size
        none = [cosine(told.inside[i], d) for d in told.dummy] + [cosine(told.outside[i], d) for d in told.dummy]
        right = [j for j in range(2 * size) if j != i]
        right = right[:1] if negatives == "first" else right
        expected -= math.log(sum(math.exp(none[j]) for j in right) / sum(map(math.exp, none))) / size
    clips = 0.0
    for i, j in mask.nonzero().tolist():
        p = 1 / (1 + math.exp(-float(told.clips[i, j] @ told.inside[i])))
        clips -= math.log(p if relevant[i, j] else 1 - p)
    for padded, count in ((True, mask.numel()), (False, int(mask.sum()))):
        for saturating in (True, False):
            found = alignment_loss(told, relevant, mask, negatives=negatives, saturating=saturating, padded=padded)
            assert float(found) == pytest.approx(expected + clips / count, rel=1e-4)


def test_a_clip_that_is_very_wrong_teaches_nothing_as_published() -> None:
    told, _, mask = summaries(1, 1)
    wrong = torch.tensor([[[30.0, 0, 0, 0]]])
    gradients = []
    for saturating, cost in ((True, 100.0), (False, 30.0)):
        inside = torch.tensor([[1.0, 0, 0, 0]], requires_grad=True)
        clips = wrong.clone().requires_grad_()
        bare = replace(told, inside=inside, clips=torch.zeros_like(wrong))
        arguments: dict[str, Any] = {"negatives": "first", "saturating": saturating, "padded": False}
        loss = alignment_loss(replace(bare, clips=clips), ~mask, mask, **arguments)
        rest = alignment_loss(bare, ~mask, mask, **arguments)
        assert float((loss - rest).detach()) == pytest.approx(cost - math.log(2), abs=1e-3)
        gradients.append(torch.autograd.grad(loss, clips)[0].abs().max())
    assert gradients == [0.0, pytest.approx(1.0)]


def test_distillation_by_loops() -> None:
    generator = torch.Generator().manual_seed(1)
    attention = torch.rand(2, 3, 4, generator=generator)
    similarity = torch.randn(2, 3, 4, generator=generator, requires_grad=True)
    text_mask = torch.tensor([[True] * 4, [True] * 3 + [False]])
    attention = (attention * text_mask[:, None]).requires_grad_()
    relevant = torch.tensor([[True, True, False], [False, True, False]])
    for padded in (True, False):
        expected = 0.0
        for i, j in relevant.nonzero().tolist():
            n = 4 if padded else int(text_mask[i].sum())
            target = similarity[i, j, :n].softmax(0).tolist()
            logs = [math.log(float(a) + 1e-6) for a in attention[i, j, :n].detach()]
            expected += sum(t * (math.log(t) - a) for t, a in zip(target, logs)) / n / int(relevant.sum())
        found = distillation_loss(attention, similarity, relevant, text_mask, padded=padded)
        assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
        assert torch.autograd.grad(found, similarity, allow_unused=True) == (None,)
    nothing = distillation_loss(attention, similarity, relevant & False, text_mask, padded=True)
    assert float(nothing.detach()) == 0


def test_focus_by_hand() -> None:
    share, relevant = torch.tensor([[0.25, 0.5, 0.0]]), torch.tensor([[True, False, False]])
    mask = torch.tensor([[True, True, False]])
    total = -math.log(0.25) - math.log(0.5)
    assert float(focus_loss(share, relevant, mask, padded=True)) == pytest.approx(total / 3)
    assert float(focus_loss(share, relevant, mask, padded=False)) == pytest.approx(total / 2)


def test_apartness() -> None:
    assert float(apartness_loss(torch.eye(3) * 5)) == 0
    assert float(apartness_loss(torch.ones(2, 3))) == pytest.approx(2 / 4)
    assert float(apartness_loss(torch.tensor([[1.0, 0], [-2.0, 0], [0, 3.0]]))) == pytest.approx(2 / 9)
    assert float(apartness_loss(torch.randn(4, 1, 3))) == 0
    tokens = torch.tensor([[1.0, 0], [1.0, 1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(apartness_loss(tokens), tokens)
    assert gradient.abs().sum() > 0
