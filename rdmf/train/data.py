"""A whole split in memory, and batches formed from it by index: no per-item Python, no worker processes."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdmf.model.batch import Batch, later
from rdmf.store import Cache, InputError
from rdmf.train.losses import Targets
from rdmf.train.pool import pool_edges, pooled
from rdmf.train.targets import clip_edges, saliency_targets, window_table

Ints = NDArray[np.int64]
#: Clips, tokens and windows that a batch is padded to.
Shape = tuple[int, int, int]


@dataclass
class Split:
    """The queries of one split with everything they need, as flat tensors on one device.

    Ragged things are flat with (start, length) per query. Build with `Split.load`.

    Attributes:
        rows, edges: video features (N, d_v) as stored and clip edges (N + V,), one more edge than clips a video.
        tokens: (T, d_t) token features as stored.
        row_start, row_count, edge_start, token_start, token_count: (Q,) int64, where each query finds its own.
        windows (Q, W, 2), window_mask (Q, W): shares of the duration.
        saliency, saliency_known: flat over the clips of every query, from `saliency_start` (Q,).
        source: (Q,) int64, the query's video, on the host. rated: (Q,) bool, whether annotators scored its clips.
        durations: (Q,) seconds. index: (Q,) rows of the cache's query table. video_index: (Q,).
        sizes: (Q, 3) clips, tokens and windows of each query, on the host: shapes of batches are known without asking
            the device.
    """

    rows: Tensor
    edges: Tensor
    tokens: Tensor
    row_start: Tensor
    row_count: Tensor
    edge_start: Tensor
    token_start: Tensor
    token_count: Tensor
    windows: Tensor
    window_mask: Tensor
    saliency: Tensor
    saliency_known: Tensor
    saliency_start: Tensor
    source: Tensor
    rated: Tensor
    durations: NDArray[np.float64]
    index: Ints
    video_index: Ints
    sizes: Ints

    @staticmethod
    def load(
        cache: Cache,
        index: Ints,
        *,
        device: torch.device,
        max_tokens: int = 0,
        pool: int = 1,
        rows: tuple[Tensor, Tensor] | None = None,
    ) -> Split:
        """Queries `index` of the cache (all must have their video).

        Args:
            max_tokens, pool: `data.max_tokens` and `data.pool`.
            rows: (video rows, token rows) already in memory, to share them between splits; of the same `pool`.
        """
        edges = clip_edges(cache.times_rows(), cache.row_offsets, cache.durations)
        if pool > 1:
            edges = pool_edges(edges, cache.row_offsets, pool)
        cache = pooled(cache, pool)
        table = cache.queries
        videos = table.video_index[index]
        if (videos < 0).any():
            raise InputError(f"{cache.path}: query {table.qids[int(index[np.argmax(videos < 0)])]} has no features")
        video_rows, token_rows = rows or load_rows(cache, device)
        offsets = cache.row_offsets
        edge_offsets = offsets + np.arange(len(offsets))
        durations = cache.durations[videos]
        windows, window_mask = window_table(table, index, durations)
        counts = np.diff(offsets)[videos]
        start = np.concatenate(([0], np.cumsum(counts)))[:-1]
        target, known = saliency_targets(table, index, edges, edge_offsets[videos], counts, durations)
        texts = table.text_index[index]
        token_counts = np.diff(cache.token_offsets)[texts]
        if max_tokens:
            token_counts = np.minimum(token_counts, max_tokens)

        def put(values: NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        return Split(
            rows=video_rows,
            edges=put(edges.astype(np.float32)),
            tokens=token_rows,
            row_start=put(offsets[:-1][videos]),
            row_count=put(counts),
            edge_start=put(edge_offsets[:-1][videos]),
            token_start=put(cache.token_offsets[:-1][texts]),
            token_count=put(token_counts),
            windows=put(windows.astype(np.float32)),
            window_mask=put(window_mask),
            saliency=put(target.astype(np.float32)),
            saliency_known=put(known),
            saliency_start=put(start),
            source=torch.from_numpy(videos.astype(np.int64)),
            rated=put(np.diff(table.saliency_offsets)[index] > 0),
            durations=durations,
            index=np.asarray(index, dtype=np.int64),
            video_index=videos,
            sizes=np.stack((counts, token_counts, window_mask.sum(1)), 1).astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.index)

    @functools.cached_property
    def longest(self) -> tuple[int, int]:
        """The most clips and the most tokens of any query."""
        clips, tokens, _ = self.sizes.max(0).tolist()
        return clips, tokens

    def shape(self, which: Tensor, multiple: int = 0, *, halved: bool = False) -> Shape:
        """Clips, tokens and windows of the longest of the queries `which` (B,), on the host.

        Args:
            multiple: `train.bucket`; clips are rounded up to a multiple of it and tokens to one of 8, and windows are
                as many as the split's most, so that few shapes occur.
            halved: clips and tokens are rounded up to the split's most, half of it, a quarter, ...: fewer still.
        """
        length, tokens, windows = self.sizes[which.numpy()].max(0).tolist()
        # Where any query has windows, so has every batch: which losses there are does not change from batch to batch.
        most = self.windows.shape[1]
        if halved:
            clips, words = self.longest
            return _halved(length, clips), _halved(tokens, words), most
        if not multiple:
            return length, tokens, max(windows, min(most, 1))
        return -(-length // multiple) * multiple, -(-tokens // 8) * 8, most

    def batch(self, which: Tensor, shape: Shape | None = None) -> tuple[Batch, Targets]:
        """Queries `which` (B,) int64 by index on the split's device; features are gathered when used.

        `which` lies on the host, or, where a shape is given and nobody asks for `source`, on the split's device.

        Args:
            shape: clips, tokens and windows to pad to; default: those of the longest query.
        """
        length, longest, windows = shape or self.shape(which)
        source = self.source[which] if which.device == self.source.device else None
        which = which.to(self.row_count.device, non_blocking=True)
        count = self.row_count[which]
        place = torch.arange(length, device=which.device)[None]  # (1, L)
        mask = place < count[:, None]
        inside = torch.minimum(place, count[:, None] - 1)
        edge = torch.minimum(torch.arange(length + 1, device=which.device)[None], count[:, None])
        tokens = self.token_count[which]
        spot = torch.arange(longest, device=which.device)[None]
        said = spot < tokens[:, None]
        flat = self.saliency_start[which][:, None] + inside
        batch = Batch(
            video=later(self.rows, torch.where(mask, self.row_start[which][:, None] + inside, -1)),
            video_mask=mask,
            edges=self.edges[self.edge_start[which][:, None] + edge],
            text=later(self.tokens, torch.where(said, self.token_start[which][:, None] + spot, -1)),
            text_mask=said,
            source=source,
        )
        targets = Targets(
            windows=self.windows[which, :windows],
            window_mask=self.window_mask[which, :windows],
            saliency=self.saliency[flat] * mask,
            saliency_mask=self.saliency_known[flat] & mask,
            rated=self.rated[which],
        )
        return batch, targets

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """Indices of one pass, (B,) each, on the host: in order of length, or with a generator shuffled in buckets of
        like length.

        A bucket is 8 batches of a random permutation sorted by length, so that a batch carries little padding and still
        changes from epoch to epoch. With the generator's state, the order is reproducible.
        """
        count = torch.from_numpy(self.sizes[:, 0].copy())
        if generator is None:
            yield from torch.argsort(count, dim=0, stable=True).split(size)
            return
        order = torch.randperm(len(self), generator=generator)
        bucket = 8 * size
        sorted_parts = [part[torch.argsort(count[part], dim=0, stable=True)] for part in order.split(bucket)]
        batches = [b for part in sorted_parts for b in part.split(size)]
        for i in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[i]


def _halved(count: int, most: int) -> int:
    """The least of most, most / 2, most / 4, ..., each rounded up, that is at least `count`."""
    while most > 1 and count <= (most + 1) // 2:
        most = (most + 1) // 2
    return most


def load_rows(cache: Cache, device: torch.device) -> tuple[Tensor, Tensor]:
    """All video and token features of a cache on a device, in the dtype they are stored in: one contiguous read each.

    Raises:
        InputError: NaN or infinity, with the name of the video.
    """
    rows = torch.from_numpy(np.ascontiguousarray(cache.video_rows()))
    row = _first_bad_row(rows)
    if row is not None:
        vid = cache.vids[int(np.searchsorted(cache.row_offsets, row, side="right")) - 1]
        raise InputError(
            f"{cache.path}: video '{vid}' has NaN or infinite features (row {row}); "
            "`rdmf features verify` lists all such videos"
        )
    tokens = torch.from_numpy(np.ascontiguousarray(cache.text_rows()))
    if _first_bad_row(tokens) is not None:
        raise InputError(f"{cache.path}: NaN or infinite text features; extract the text again")
    return rows.to(device), tokens.to(device)


def _first_bad_row(rows: Tensor, *, step: int = 1 << 16) -> int | None:
    """The first row that holds NaN or infinity; a piece at a time, for a copy of a whole cache may not fit."""
    for start in range(0, len(rows), step):
        bad = torch.nonzero(~torch.isfinite(rows[start : start + step]).all(1))
        if len(bad):
            return start + int(bad[0, 0])
    return None
