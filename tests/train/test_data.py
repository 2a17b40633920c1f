"""Splits in memory and the batches cut from them, against slicing the cache by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from spoiling import NAN_ROW, spoil_bytes

from rdmf.store import Cache, InputError, open_cache
from rdmf.train.data import Split, load_rows

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(cache_path: Path) -> Iterator[Cache]:
    with open_cache(cache_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def split(cache: Cache) -> Split:
    return Split.load(cache, cache.select("train"), device=CPU)


def test_a_batch_is_the_cache_sliced(cache: Cache, split: Split) -> None:
    table = cache.queries
    which = torch.tensor([5, 0, 5, 17, 2])
    batch, targets = split.batch(which)
    lengths = []
    for b, i in enumerate(which.tolist()):
        q = int(split.index[i])
        assert table.splits[q] == "train"
        features, times = cache.video(int(table.video_index[q]))
        tokens = cache.text(int(table.text_index[q]))
        n, m = len(features), len(tokens)
        lengths.append(n)
        assert batch.video_mask[b].tolist() == [True] * n + [False] * (batch.video.shape[1] - n)
        np.testing.assert_array_equal(batch.video[b, :n].numpy(), features)
        assert not batch.video[b, n:].any()
        np.testing.assert_array_equal(batch.text[b, :m].numpy(), tokens)
        assert int(batch.text_mask[b].sum()) == m
        duration = cache.durations[int(table.video_index[q])]
        edges = np.append(times[:, 0], duration) / duration
        np.testing.assert_allclose(batch.edges[b, : n + 1].numpy(), edges, atol=1e-6)
        assert (batch.edges[b, n:] == 1).all()
        (start, end) = table.windows[table.window_offsets[q]]
        np.testing.assert_allclose(
            targets.windows[b, targets.window_mask[b]].numpy(), [[start / duration, end / duration]], atol=1e-6
        )
        inside = (times[:, 0] >= start) & (times[:, 1] <= end)
        np.testing.assert_allclose(targets.saliency[b, :n].numpy(), inside.astype(float), atol=1e-6)
        assert targets.saliency_mask[b].tolist() == batch.video_mask[b].tolist()
    assert batch.video.shape[1] == max(lengths)
    assert batch.lengths.tolist() == lengths


def test_max_tokens_keeps_the_first(cache: Cache) -> None:
    short = Split.load(cache, cache.select("train"), device=CPU, max_tokens=2)
    batch, _ = short.batch(torch.arange(4))
    assert batch.text.shape[1] == 2
    np.testing.assert_array_equal(batch.text[0].numpy(), cache.text(int(cache.queries.text_index[short.index[0]]))[:2])


@pytest.mark.parametrize("size", [1, 7, 16, 1000])
@pytest.mark.parametrize("seed", [None, 3])
def test_every_query_comes_once_a_pass(split: Split, size: int, seed: int | None) -> None:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    parts = list(split.batches(size, generator))
    assert sorted(torch.cat(parts).tolist()) == list(range(len(split)))
    assert all(0 < len(part) <= size for part in parts)
    assert len(parts) == -(-len(split) // size)


def test_the_order_is_the_generators(split: Split) -> None:
    def order(seed: int) -> list[list[int]]:
        return [part.tolist() for part in split.batches(4, torch.Generator().manual_seed(seed))]

    assert order(1) == order(1)
    assert order(1) != order(2)
    generator = torch.Generator().manual_seed(1)
    first, second = ([p.tolist() for p in split.batches(4, generator)] for _ in range(2))
    assert first != second  # the next epoch is another


def test_shuffled_batches_hold_videos_of_like_length(split: Split) -> None:
    counts = split.row_count
    spread = [int(counts[p].max() - counts[p].min()) for p in split.batches(4, torch.Generator().manual_seed(0))]
    assert np.mean(spread) < (int(counts.max()) - int(counts.min())) / 2


def test_two_splits_share_the_rows(cache: Cache, split: Split) -> None:
    rows = load_rows(cache, CPU)
    one = Split.load(cache, cache.select("train"), device=CPU, rows=rows)
    two = Split.load(cache, cache.select("test"), device=CPU, rows=rows)
    assert one.rows.data_ptr() == two.rows.data_ptr()
    assert len(two) == len(cache.select("test"))
    assert torch.equal(one.batch(torch.arange(3))[0].video, split.batch(torch.arange(3))[0].video)


def test_a_query_without_video_is_refused(build_cache: Callable[..., Path], tmp_path: Path) -> None:
    path = build_cache(tmp_path / "gap.h5", train=2, test=0, missing=1)
    with open_cache(path) as gap, pytest.raises(InputError, match="gone-0"):
        Split.load(gap, gap.select("train"), device=CPU)


def test_nan_rows_are_refused_with_the_video(build_cache: Callable[..., Path], tmp_path: Path) -> None:
    path = build_cache(tmp_path / "nan.h5", train=3, test=0, spoil=lambda videos: NAN_ROW.put(videos[1]))
    spoil_bytes(path)
    with open_cache(path) as broken, pytest.raises(InputError, match="train-1") as caught:
        load_rows(broken, CPU)
    assert "NaN" in str(caught.value)
