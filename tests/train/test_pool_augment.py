"""Coarser clips and augmented batches."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.model.batch import Batch
from rdmf.store import open_cache
from rdmf.train import train
from rdmf.train.augment import augment, blanked, change_speed
from rdmf.train.data import Split
from rdmf.train.losses import Targets
from rdmf.train.pool import pool_edges, pool_rows, pool_times, pooled


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 99))
def test_pooled_rows_are_means_within_a_video(counts: list[int], size: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(sum(counts), 3)).astype(np.float32)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    found, pooled_offsets = pool_rows(values, offsets, size)
    for v, (a, b) in enumerate(itertools.pairwise(offsets)):
        parts = [values[i : min(i + size, b)].mean(0) for i in range(a, b, size)]
        rows = found[pooled_offsets[v] : pooled_offsets[v + 1]]
        assert len(rows) == len(parts)
        if parts:
            np.testing.assert_allclose(rows, np.stack(parts), rtol=1e-5, atol=1e-6)


def test_pooled_times_run_from_the_first_row_to_the_last() -> None:
    times = np.array([[0, 1], [1, 2], [2, 3], [0, 2], [2, 4]], dtype=float)
    assert pool_times(times, np.array([0, 2, 3])).tolist() == [[0, 2], [2, 3], [0, 4]]


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 99))
def test_groups_begin_where_their_first_row_does(counts: list[int], size: int, seed: int) -> None:
    """Also where the last group has fewer rows, between whose centre and the one before the border does not lie."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    fine = [np.concatenate(([0.0], np.sort(rng.random(n - 1)), [1.0])) if n else np.ones(1) for n in counts]
    found = pool_edges(np.concatenate(fine), offsets, size)
    expected = [np.append(edges[:-1][::size], edges[-1]) for edges in fine]
    np.testing.assert_array_equal(found, np.concatenate(expected))


def test_a_split_at_a_coarser_grain(cache_path: Path) -> None:
    device = torch.device("cpu")
    with open_cache(cache_path) as cache:
        assert pooled(cache, 1) is cache
        index = cache.select("train")[:6]
        fine = Split.load(cache, index, device=device)
        coarse = Split.load(cache, index, device=device, pool=3)
    which = torch.arange(6)
    (a, ta), (b, tb) = fine.batch(which), coarse.batch(which)
    assert b.lengths.tolist() == [-(-n // 3) for n in a.lengths.tolist()]
    assert torch.equal(ta.windows, tb.windows)
    torch.testing.assert_close(b.video[0, 0], a.video[0, :3].mean(0))
    assert (b.edges[:, 0] == 0).all()
    assert (b.edges.gather(1, b.lengths[:, None]) == 1).all()
    for n, few, many in zip(a.lengths.tolist(), b.edges, a.edges):
        torch.testing.assert_close(few[: -(-n // 3)], many[:n:3])


def a_batch(counts: list[int], seed: int = 0) -> tuple[Batch, Targets]:
    """Clips that know their own place and their saliency; one window a query, on clip borders."""
    generator = torch.Generator().manual_seed(seed)
    length = max(counts)
    n = torch.tensor(counts)[:, None]
    mask = torch.arange(length)[None] < n
    edges = (torch.arange(length + 1)[None] / n).clamp_max(1)
    ends = torch.stack([torch.randperm(c + 1, generator=generator)[:2].sort().values for c in counts]).float() / n
    inside = (edges[:, :-1] >= ends[:, :1] - 1e-6) & (edges[:, 1:] <= ends[:, 1:] + 1e-6) & mask
    place = (torch.arange(length)[None].expand_as(mask) * mask).float()
    video = torch.stack((place, inside.float()), -1) * mask[..., None]
    text = torch.zeros(len(counts), 1, 2)
    batch = Batch(video, mask, edges, text, torch.ones(len(counts), 1, dtype=torch.bool))
    return batch, Targets(ends[:, None], torch.ones(len(counts), 1, dtype=torch.bool), inside.float(), mask)


def test_a_constant_speed_changes_nothing() -> None:
    batch, targets = a_batch([7, 4, 1])
    same, kept = change_speed(batch, targets, torch.full((3, 8), 2.5))
    assert torch.equal(same.video, batch.video)
    torch.testing.assert_close(kept.windows, targets.windows)
    assert torch.equal(kept.saliency, targets.saliency)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.floats(0.05, 1.0), st.integers(0, 999))
def test_annotations_stay_true_at_any_speed(counts: list[int], warp: float, seed: int) -> None:
    batch, targets = a_batch(counts, seed)
    slowness = torch.exp(warp * torch.randn(len(counts), 8, generator=torch.Generator().manual_seed(seed)))
    new, moved = change_speed(batch, targets, slowness)
    for b, n in enumerate(counts):
        place, marked = new.video[b, :n].unbind(-1)
        assert (place.diff() >= 0).all()  # time still runs forward
        assert torch.equal(marked, moved.saliency[b, :n])  # every clip takes its annotation along
        start, end = moved.windows[b, 0].tolist()
        assert 0 <= start <= end <= 1 + 1e-6
        centre = (torch.arange(n) + 0.5) / n
        sure = ((centre - start).abs() > 1e-4) & ((centre - end).abs() > 1e-4)
        assert torch.equal(marked[sure] > 0.5, ((centre > start) & (centre < end))[sure])
    assert not new.video[~new.video_mask].any()


def test_noise_leaves_padding_alone_and_obeys_the_seed() -> None:
    batch, targets = a_batch([7, 4])
    torch.manual_seed(5)
    first, same = augment(batch, targets, warp=0.0, noise=0.5)
    torch.manual_seed(5)
    second, _ = augment(batch, targets, warp=0.0, noise=0.5)
    assert torch.equal(first.video, second.video)
    assert same is targets
    assert not first.video[~batch.video_mask].any()
    assert float((first.video - batch.video)[batch.video_mask].std()) == pytest.approx(0.5, rel=0.5)
    assert augment(batch, targets, warp=0.0, noise=0.0)[0] is batch


@pytest.mark.parametrize(
    "change",
    [
        {"data.warp": 0.5},
        *(pytest.param(more, marks=pytest.mark.long) for more in ({"data.noise": 0.5}, {"data.pool": 2})),
    ],
)
def test_the_trainer_obeys(change: dict[str, float], cache_path: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    plain = train(cache_path, tmp_path / "plain", overrides=tiny, quiet=True, stop_after=1)
    other = train(cache_path, tmp_path / "other", overrides={**tiny, **change}, quiet=True, stop_after=1)
    assert (plain / "last.safetensors").read_bytes() != (other / "last.safetensors").read_bytes()


def test_a_blank_clip_shows_the_mean_of_its_video() -> None:
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    video = torch.arange(16.0).view(2, 4, 2) * mask[..., None]
    which = torch.tensor([[False, True, False, False], [True, False, True, True]])
    text_mask = torch.ones(2, 1, dtype=torch.bool)
    batch = Batch(video, mask, torch.zeros(2, 5), torch.zeros(2, 1, 1), text_mask)
    out = blanked(batch, which)
    assert out[0, 1].tolist() == [3.0, 4.0]
    assert out[1, 0].tolist() == [9.0, 10.0]
    assert torch.equal(out[~which], video[~which])
    assert not out[~mask].any()
