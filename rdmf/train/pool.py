"""Clips at a coarser grain: a cache seen through an average of consecutive rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf.store import Cache

Ints = NDArray[np.int64]


def pool_rows(values: NDArray[Any], offsets: Ints, size: int) -> tuple[NDArray[np.float32], Ints]:
    """Means of `size` consecutive rows of each video; the last group of a video may hold fewer.

    Args:
        values: (N, d). offsets: (V + 1,) rows of each video.

    Returns:
        (N', d) float32 and the new offsets (V + 1,).
    """
    starts, pooled = group_starts(offsets, size)
    counts = np.diff(np.append(starts, offsets[-1]))
    sums = np.add.reduceat(np.asarray(values, dtype=np.float32), starts, axis=0) if len(starts) else values[:0]
    return (sums / counts[:, None]).astype(np.float32), pooled


def group_starts(offsets: Ints, size: int) -> tuple[Ints, Ints]:
    """First row of each group of `size` rows, no group across two videos, and the offsets of the groups."""
    groups = -(-np.diff(offsets) // size)
    pooled = np.concatenate(([0], np.cumsum(groups)))
    owner = np.repeat(np.arange(len(groups)), groups)
    return offsets[:-1][owner] + size * (np.arange(len(owner)) - pooled[:-1][owner]), pooled


def pool_edges(edges: NDArray[np.float64], offsets: Ints, size: int) -> NDArray[np.float64]:
    """Borders of groups of `size` rows: each begins where its first row does, however few the last group has.

    Args:
        edges: (N + V,) borders of the rows, one more than rows for each video. offsets: (V + 1,) rows of each video.

    Returns:
        (N' + V,).
    """
    starts, pooled = group_starts(offsets, size)
    videos = np.arange(len(offsets) - 1)
    owner = np.repeat(videos, np.diff(pooled))
    out = np.empty(len(starts) + len(videos))
    out[np.arange(len(starts)) + owner] = edges[starts + owner]
    out[pooled[1:] + videos] = edges[offsets[1:] + videos]
    return out


def pool_times(times: NDArray[Any], starts: Ints) -> NDArray[np.float64]:
    """Times (N, 2) of rows as those of groups that begin at rows `starts`: first row's start to last row's end."""
    last = np.append(starts[1:], len(times)) - 1
    return np.stack((times[starts, 0], times[last, 1]), 1).astype(np.float64)


class PooledCache:
    """A cache whose videos have one row for every `size` rows stored; all else is the cache's own.

    What reads rows (`video_rows`, `times_rows`, `row_offsets`, `n_rows`) is replaced.
    """

    def __init__(self, cache: Cache, size: int) -> None:
        self._cache, self._size = cache, size
        self._starts, self.row_offsets = group_starts(cache.row_offsets, size)
        self.n_rows = len(self._starts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def video_rows(self) -> NDArray[np.float32]:
        """(N', d) float32."""
        return pool_rows(self._cache.video_rows(), self._cache.row_offsets, self._size)[0]

    def times_rows(self) -> NDArray[np.float64]:
        """(N', 2) seconds: from the start of a group's first row to the end of its last."""
        return pool_times(self._cache.times_rows(), self._starts)


def pooled(cache: Cache, size: int) -> Cache:
    """The cache itself for size 1, else seen through averages (`data.pool`)."""
    return cache if size == 1 else PooledCache(cache, size)  # type: ignore[return-value]
