"""Votes of clips: their laws, and what they are trained towards."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rdmf.model.segments import Segments
from rdmf.model.votes import VoteHead, Votes

lengths = st.lists(st.integers(1, 12), min_size=1, max_size=4)
seeds = st.integers(0, 99)


def video(counts: list[int], seed: int, channels: int = 3, size: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers (B, L, channels), mask and edges (B, L + 1) of clips of unlike lengths."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(counts), max(counts))
    mask = torch.arange(shape[1])[None] < torch.tensor(counts)[:, None]
    clips = (0.2 + torch.rand(shape, generator=generator)) * mask
    edges = torch.nn.functional.pad(clips.cumsum(1), (1, 0))
    return size * torch.randn((*shape, channels), generator=generator), mask, edges / edges[:, -1:]


@settings(deadline=None, max_examples=40)
@given(lengths, seeds, st.sampled_from([2.0, 1e4]))
def test_a_vote_holds_its_clip_and_stays_in_the_video(counts: list[int], seed: int, size: float) -> None:
    votes = Votes(*video(counts, seed, size=size))
    start, end = votes.spans.unbind(-1)
    inside = votes.mask
    assert bool(((start >= 0) & (end <= 1))[inside].all())
    assert bool(((start <= votes.centres) & (votes.centres <= end))[inside].all())
    assert bool((end > start)[inside].all())
    assert not votes.probability[~inside].any()
    torch.testing.assert_close(votes.probability.sum(1), torch.ones(len(counts)))


@settings(deadline=None, max_examples=25)
@given(lengths, seeds)
def test_nothing_comes_in_from_padding(counts: list[int], seed: int) -> None:
    fused, mask, edges = video(counts, seed, channels=4)
    torch.manual_seed(seed)
    head = VoteHead(4)
    together = head(fused, mask, edges)
    spoilt = head(torch.where(mask[..., None], fused, 1e3), mask, edges)
    for b, n in enumerate(counts):
        alone = head(fused[b : b + 1, :n], mask[b : b + 1, :n], edges[b : b + 1, : n + 1])
        for votes in (together, spoilt):
            torch.testing.assert_close(votes.spans[b, :n], alone.spans[0])
            torch.testing.assert_close(votes.probability[b, :n], alone.probability[0])


@settings(deadline=None, max_examples=25)
@given(lengths, seeds, st.floats(0.05, 0.95))
def test_a_mixture_of_two_distributions_is_one(counts: list[int], seed: int, share: float) -> None:
    told, mask, edges = video(counts, seed)
    votes, segments = Votes(told, mask, edges), Segments(told.flip(-1), mask, edges)
    likely = segments.likely()
    mixed = votes.mixed(likely, share)
    torch.testing.assert_close(mixed.probability.sum(1), torch.ones(len(counts)))
    assert bool((mixed.probability.diff(dim=1) <= 0).all())
    spans = torch.rand(len(counts), 3, 2, generator=torch.Generator().manual_seed(seed)).sort(-1).values
    voted = torch.stack([_expected(votes.spans[b], votes.probability[b], spans[b]) for b in range(len(counts))])
    # 12 clips have 78 segments: none is cut off, and the expectation of the mixture is the mixture of expectations.
    wanted = (1 - share) * likely.expected_iou(spans) + share * voted
    torch.testing.assert_close(mixed.expected_iou(spans), wanted, atol=1e-5, rtol=1e-4)


def _expected(found: Tensor, probability: Tensor, spans: Tensor) -> Tensor:
    left = torch.maximum(found[:, None, 0], spans[None, :, 0])
    right = torch.minimum(found[:, None, 1], spans[None, :, 1])
    inter = (right - left).clamp_min(0)
    union = (found[:, 1] - found[:, 0])[:, None] + (spans[:, 1] - spans[:, 0])[None] - inter
    return (probability[:, None] * inter / union).sum(0)


def test_the_loss_vanishes_where_every_weighty_clip_votes_for_its_moment() -> None:
    mask, edges = torch.ones(1, 10, dtype=torch.bool), torch.linspace(0, 1, 11)[None]
    windows, valid = torch.tensor([[[0.2, 0.5], [0.7, 0.9], [0.0, 0.0]]]), torch.tensor([[True, True, False]])
    told = torch.zeros(1, 10, 3)
    told[..., 2] = -100.0
    for first, last, (start, end) in ((2, 4, (0.2, 0.5)), (7, 8, (0.7, 0.9))):
        for i in range(first, last + 1):
            centre = (i + 0.5) / 10
            told[0, i] = torch.tensor([math.log((centre - start) * 10), math.log((end - centre) * 10), 0.0])
    loss = Votes(told, mask, edges).losses(windows, valid)
    torch.testing.assert_close(loss, torch.zeros(()), atol=1e-5, rtol=0)
    told[0, 0, 2] = 0.0  # a clip outside that wants to be heard: its vote overlaps no window
    assert float(Votes(told, mask, edges).losses(windows, valid)) > 0.1


def test_no_windows_no_loss_and_finite_gradients() -> None:
    told, mask, edges = video([5, 1, 3], 0)
    told.requires_grad_()
    windows = torch.tensor([[[0.1, 0.6]], [[0.0, 0.0]], [[0.2, 0.2001]]])  # the last holds no clip's centre
    valid = torch.tensor([[True], [False], [True]])
    Votes(told, mask, edges).losses(windows, valid).backward()
    assert told.grad is not None
    assert bool(torch.isfinite(told.grad).all())
    assert not told.grad[1].any()
    none = Votes(told, mask, edges).losses(windows, torch.zeros(3, 1, dtype=torch.bool))
    assert float(none.detach()) == 0


def test_training_the_head_finds_the_moments() -> None:
    torch.manual_seed(0)
    mask, edges = torch.ones(8, 20, dtype=torch.bool), torch.linspace(0, 1, 21).expand(8, -1)
    first = torch.randint(0, 12, (8,))
    size = torch.randint(2, 8, (8,))
    windows = torch.stack((first, first + size), -1)[:, None] / 20.0
    place = torch.arange(20)[None]
    inside = ((place >= first[:, None]) & (place < (first + size)[:, None])).float()
    # What a clip would know of its moment: whether it is in one, and how far it is from either end.
    fused = torch.stack((inside, inside * (place - first[:, None]), inside * ((first + size)[:, None] - place)), -1)
    head = VoteHead(3)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        loss = head(fused, mask, edges).losses(windows, torch.ones(8, 1, dtype=torch.bool))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]
