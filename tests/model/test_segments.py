"""The distribution over segments against sums over all of them, written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rdmf.model import kernels
from rdmf.model.segments import Likely, Segments
from rdmf.model.spans import overlap

lengths = st.lists(st.integers(1, 12), min_size=1, max_size=4)
seeds = st.integers(0, 99)


def pattern(counts: list[int], seed: int, *, size: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, L, 3), mask and edges (B, L + 1) of clips of unlike lengths."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(counts), max(counts))
    mask = torch.arange(shape[1])[None] < torch.tensor(counts)[:, None]
    clips = (0.2 + torch.rand(shape, generator=generator)) * mask
    edges = torch.nn.functional.pad(clips.cumsum(1), (1, 0))
    units = size * torch.randn((*shape, 3), generator=generator, dtype=torch.float64)
    return units, mask, edges / edges[:, -1:]


def all_segments(units: Tensor, count: int) -> tuple[list[tuple[int, int]], Tensor]:
    """Every (first, last) of one video with its score."""
    pairs = [(i, j) for i in range(count) for j in range(i, count)]
    return pairs, torch.stack([units[i, 1] + units[i : j + 1, 0].sum() + units[j, 2] for i, j in pairs])


@settings(deadline=None, max_examples=40)
@given(lengths, seeds)
def test_the_normaliser_and_its_gradient_are_those_of_the_full_sum(counts: list[int], seed: int) -> None:
    units, mask, edges = pattern(counts, seed)
    units.requires_grad_()
    total = Segments(units, mask, edges).log_partition()
    exact = torch.stack([all_segments(units[b], n)[1].logsumexp(0) for b, n in enumerate(counts)])
    torch.testing.assert_close(total, exact)
    weight = torch.arange(1.0, len(counts) + 1, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((weight * z).sum(), units)[0] for z in (total, exact))
    torch.testing.assert_close(ours, theirs)
    assert not ours[~mask].any()


@settings(deadline=None, max_examples=40)
@given(lengths, seeds)
def test_probabilities_sum_to_one_and_the_likely_ones_are_the_largest(counts: list[int], seed: int) -> None:
    units, mask, edges = pattern(counts, seed)
    segments = Segments(units, mask, edges)
    likely = segments.likely(5)
    for b, n in enumerate(counts):
        pairs, score = all_segments(units[b], n)
        first, last = torch.tensor(pairs).T
        log_p = segments.log_probability(*(x[None].expand(len(counts), -1) for x in (first, last)))[b]
        torch.testing.assert_close(log_p.exp().sum(), torch.ones((), dtype=torch.float64))
        best = score.sort(descending=True).indices[:5].tolist()
        shown = list(zip(likely.first[b].tolist(), likely.last[b].tolist()))
        assert shown[: len(best)] == [pairs[k] for k in best]
        assert likely.probability[b, : len(best)].sum().isclose(torch.ones(()))
        assert not likely.probability[b, len(best) :].any()


@settings(deadline=None, max_examples=30)
@given(lengths, seeds)
def test_expected_iou_is_the_mean_over_the_distribution(counts: list[int], seed: int) -> None:
    units, mask, edges = pattern(counts, seed)
    likely = Segments(units, mask, edges).likely(100)
    spans = torch.rand((len(counts), 3, 2), generator=torch.Generator().manual_seed(seed)).sort(-1).values
    for b, n in enumerate(counts):
        pairs, score = all_segments(units[b], n)
        every = torch.stack([torch.stack((edges[b, i], edges[b, j + 1])) for i, j in pairs])
        iou = overlap(spans[b][:, None], every[None])[0]
        exact = (iou * torch.softmax(score, 0).float()).sum(1)
        torch.testing.assert_close(likely.expected_iou(spans)[b], exact, rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(lengths, seeds)
def test_the_trained_expectation_is_the_mean_iou_with_the_nearest_window(counts: list[int], seed: int) -> None:
    units, mask, edges = pattern(counts, seed)
    units.requires_grad_()
    segments = Segments(units, mask, edges)
    windows = torch.rand((len(counts), 2, 2), generator=torch.Generator().manual_seed(seed)).sort(-1).values
    valid = torch.tensor([[True, b % 2 == 0] for b in range(len(counts))])
    found = segments.expected_iou(segments.likely(100), windows, valid)
    exact = []
    for b, n in enumerate(counts):
        pairs, score = all_segments(units[b], n)
        every = torch.stack([torch.stack((edges[b, i], edges[b, j + 1])) for i, j in pairs])
        iou = overlap(every[:, None], windows[b, : int(valid[b].sum())][None])[0].amax(1)
        exact.append((iou * torch.softmax(score, 0)).sum())
    torch.testing.assert_close(found.double(), torch.stack(exact), rtol=1e-4, atol=1e-5)
    ours, theirs = (torch.autograd.grad(x.sum(), units)[0] for x in (found.double(), torch.stack(exact)))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(lengths, seeds)
def test_padding_changes_nothing(counts: list[int], seed: int) -> None:
    units, mask, edges = pattern(counts, seed)
    units[~mask] = 50.0
    together = Segments(units, mask, edges)
    for b, n in enumerate(counts):
        alone = Segments(units[b : b + 1, :n], mask[b : b + 1, :n], edges[b : b + 1, : n + 1])
        torch.testing.assert_close(together.log_partition()[b], alone.log_partition()[0])
        torch.testing.assert_close(together.likely(4).distinct(3)[b], alone.likely(4).distinct(3)[0])


def test_windows_are_found_among_the_clips() -> None:
    edges = torch.tensor([[0.0, 0.1, 0.4, 0.8, 1.0], [0.0, 0.5, 1.0, 1.0, 1.0]])
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    segments = Segments(torch.zeros(2, 4, 3), mask, edges)
    windows = torch.tensor([[[0.05, 0.7], [0.3, 0.35], [0.9, 1.0]], [[0.0, 0.2], [0.6, 1.0], [0.0, 1.0]]])
    first, last = segments.locate(windows)
    assert list(zip(first[0].tolist(), last[0].tolist())) == [(0, 2), (2, 2), (3, 3)]
    assert list(zip(first[1].tolist(), last[1].tolist())) == [(0, 0), (1, 1), (0, 1)]


def test_seeds_visit_every_peak_of_the_pattern() -> None:
    """Two far peaks: although all likely segments lie around the first, the second is looked at too."""
    units = torch.full((1, 40, 3), -1.0)
    units[0, 5:12, 0], units[0, 25:31, 0] = 2.0, 1.5
    units[..., 1:] = 0.0
    segments = Segments(units, torch.ones(1, 40, dtype=torch.bool), torch.linspace(0, 1, 41)[None])
    spans = segments.seeds(segments.likely(), 8) * 40
    torch.testing.assert_close(spans[0, 0], torch.tensor([5.0, 12.0]), rtol=0, atol=1e-4)
    assert min((s - torch.tensor([25.0, 31.0])).abs().max().item() for s in spans[0]) < 1e-4


@settings(deadline=None, max_examples=30)
@given(lengths, st.integers(8, 12), seeds)
def test_seeds_of_a_pattern_that_covers_its_video_do_not_depend_on_padding(
    counts: list[int], count: int, seed: int
) -> None:
    """Once every clip is taken there is no second peak: what is looked at then must not be decided by the padding."""
    units, mask, edges = pattern(counts, seed, size=0.1)
    units[..., 0] += 5.0
    together = Segments(units, mask, edges)
    found = together.seeds(together.likely(), count)
    for b, n in enumerate(counts):
        alone = Segments(units[b : b + 1, :n], mask[b : b + 1, :n], edges[b : b + 1, : n + 1])
        torch.testing.assert_close(found[b], alone.seeds(alone.likely(), count)[0])


@settings(deadline=None, max_examples=30)
@given(lengths, st.integers(1, 9), seeds)
def test_seeds_are_spans_of_the_video_whatever_its_length(counts: list[int], count: int, seed: int) -> None:
    units, mask, edges = pattern(counts, seed)
    segments = Segments(units, mask, edges)
    spans = segments.seeds(segments.likely(), count)
    assert spans.shape == (len(counts), count, 2)
    assert ((spans >= 0) & (spans <= 1)).all()
    assert (spans[..., 0] < spans[..., 1]).all()


def test_a_long_video_keeps_its_boundaries() -> None:
    """Sums over 20,000 clips must not swallow the logits of single ones."""
    units = torch.full((1, 20_000, 3), -3.0)
    units[0, 15_000:15_010, 0] = 3.0
    likely = Segments(units, torch.ones(1, 20_000, dtype=torch.bool), torch.linspace(0, 1, 20_001)[None]).likely(3)
    assert (int(likely.first[0, 0]), int(likely.last[0, 0])) == (15_000, 15_009)


@settings(deadline=None, max_examples=40)
@given(lengths, seeds, st.sampled_from([1.0, 1e3]))
def test_borders_stay_in_reach_and_never_turn_a_segment_round(counts: list[int], seed: int, size: float) -> None:
    units, mask, edges = pattern(counts, seed)
    borders = size * torch.randn(*mask.shape, 2, generator=torch.Generator().manual_seed(seed))
    segments = Segments(units, mask, edges, borders)
    plain = Segments(units, mask, edges)
    width = (edges[:, 1:] - edges[:, :-1])[mask]
    for ours, theirs in ((segments.starts, plain.starts), (segments.ends, plain.ends)):
        assert bool((ours >= 0).all())
        assert bool((ours <= 1).all())
        assert bool(((ours - theirs)[mask].abs() <= 0.5 * width).all())
    assert bool((segments.ends > segments.starts)[mask].all())  # a clip alone is the shortest segment
    likely = segments.likely(5)
    torch.testing.assert_close(likely.probability, plain.likely(5).probability)  # which clips is another question
    # The borders go along to the later peaks.
    spans = segments.seeds(segments.likely(), 8)
    for b in range(len(counts)):
        starts, ends = segments.starts[b][mask[b]], segments.ends[b][mask[b]]
        assert bool(((spans[b, :, 0, None] - starts).abs().amin(1) < 1e-6).all())
        assert bool(((spans[b, :, 1, None] - ends).abs().amin(1) < 1e-6).all())


def test_the_expected_iou_teaches_the_borders() -> None:
    mask, edges = torch.ones(1, 10, dtype=torch.bool), torch.linspace(0, 1, 11)[None]
    units = torch.full((1, 10, 3), -4.0, dtype=torch.float64)
    units[0, 3:6, 0] = 4.0
    borders = torch.zeros(1, 10, 2, requires_grad=True)
    segments = Segments(units, mask, edges, borders)
    segments.expected_iou(segments.likely(), torch.tensor([[[0.27, 0.58]]]), torch.tensor([[True]])).sum().backward()
    assert borders.grad is not None
    assert float(borders.grad[0, 3, 0]) < 0  # the IoU grows with an earlier start
    assert float(borders.grad[0, 5, 1]) < 0  # and with an earlier end
    assert abs(float(borders.grad[0, 8, 0])) < 1e-3


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(0, 9), st.integers(1, 40), seeds)
def test_expected_iou_is_the_same_with_and_without_a_kernel(size: int, asked: int, count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    spans, others = (torch.rand(size, n, 2, generator=generator).sort(-1).values for n in (asked, count))
    share = torch.rand(size, count, generator=generator).softmax(1)
    likely = Likely(share.long(), share.long(), others, share)
    with pytest.MonkeyPatch.context() as patch:
        ours = likely.expected_iou(spans)
        patch.setenv(kernels.SWITCH, "plain")
        torch.testing.assert_close(ours, likely.expected_iou(spans))
    asked_of = spans.requires_grad_()
    assert likely.expected_iou(asked_of).requires_grad
