"""Annotations in seconds turned into training targets on each video's own clips."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdmf.store import QueryTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def clip_edges(times: Floats, offsets: Ints, durations: Floats) -> Floats:
    """Borders of each video's clips as shares of its duration, flat: L + 1 for a video of L clips.

    Rows may overlap (window longer than stride) or leave gaps. Each row stands for the time nearer to its centre than
    to any other row's, so clips tile the video: a border lies midway between two centres, the first and last
    at 0 and 1.

    Args:
        times: (N, 2) [t_start, t_end) seconds per row.
        offsets: (V + 1,) rows of each video.
        durations: (V,) seconds.

    Returns:
        (N + V,) non-decreasing within a video.
    """
    centres = times.mean(1)
    videos = np.arange(len(offsets) - 1)
    owner = np.repeat(videos, np.diff(offsets))
    # Row i of video v has its left edge at i + v, for every video before it has one edge more than rows.
    out = np.zeros(len(centres) + len(videos))
    out[offsets[1:] + videos] = 1.0
    inner = np.flatnonzero(owner[1:] == owner[:-1])
    middle = (centres[inner] + centres[inner + 1]) / 2
    out[inner + 1 + owner[inner]] = np.clip(middle / durations[owner[inner]], 0, 1)
    if (np.diff(middle)[np.diff(inner) == 1] < 0).any():
        # Rows of very unlike lengths can have centres out of order; such clips become empty rather than negative.
        shift = 2.0 * np.repeat(videos, np.diff(offsets) + 1)
        out = np.maximum.accumulate(out + shift) - shift
    return out


def ragged(values_offsets: Ints, index: Ints) -> tuple[Ints, Ints]:
    """Flat positions of the ragged rows `index`, and for each the place in `index` it belongs to."""
    start, count = values_offsets[:-1][index], np.diff(values_offsets)[index]
    owner = np.repeat(np.arange(len(index)), count)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    return start[owner] + within, owner


def window_table(table: QueryTable, index: Ints, durations: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Windows of the queries `index` as (Q, W, 2) shares of the duration, and their (Q, W) mask, valid ones first.

    Windows are cut to [0, duration]; one that lies wholly outside the video is dropped.
    """
    flat, owner = ragged(table.window_offsets, index)
    share = np.clip(table.windows[flat] / durations[owner][:, None], 0, 1)
    keep = share[:, 1] - share[:, 0] > 1e-6
    share, owner = share[keep], owner[keep]
    count = np.bincount(owner, minlength=len(index))
    width = int(count.max(initial=0))
    windows = np.zeros((len(index), width, 2))
    within = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    windows[owner, within] = share
    return windows, np.arange(width)[None] < count[:, None]


def saliency_targets(
    table: QueryTable, index: Ints, edges: Floats, edge_start: Ints, counts: Ints, durations: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """Target and whether it is known, for every clip of every query, flat in the order of `index`.

    Where annotators scored clips, the target of a scored clip is their mean score over the scale's top (4 in
    QVHighlights), and 0 elsewhere. Where they did not, it is the share of the clip that the windows cover. A query with
    neither is unknown.

    Args:
        edges: flat clip borders of all videos; `edge_start` (Q,) where each query's video begins in it.
        counts: (Q,) clips of each query's video.
        durations: (Q,) seconds.
    """
    owner = np.repeat(np.arange(len(index)), counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    low, high = edges[edge_start[owner] + within], edges[edge_start[owner] + within + 1]
    target = np.zeros(len(owner))
    window_count = np.diff(table.window_offsets)[index]
    for w in range(int(window_count.max(initial=0))):  # a handful: windows of one query rarely pass five
        has = (window_count > w)[owner]
        window = table.windows[table.window_offsets[:-1][index[owner[has]]] + w] / durations[owner[has]][:, None]
        covered = np.minimum(high[has], window[:, 1]) - np.maximum(low[has], window[:, 0])
        target[has] += np.clip(covered, 0, None) / np.maximum(high[has] - low[has], 1e-9)
    target = np.clip(target, 0, 1)
    known = (window_count > 0)[owner]
    scored = np.diff(table.saliency_offsets)[index] > 0
    if scored.any():
        flat, source = ragged(table.saliency_offsets, index)
        # QVHighlights scores 0 to 4, TVSum 1 to 5.
        top = max(4.0, float(np.nanmax(table.saliency_scores[flat])))
        annotators = np.maximum(table.n_annotators[index[source]], 1)
        mean = np.nansum(table.saliency_scores[flat], axis=1) / annotators / top
        # One key for (query, annotated clip), so that all look-ups are a single search in a sorted table.
        big = np.int64(1) << 32
        key = source * big + table.saliency_clips[flat]
        order = np.argsort(key)
        centre = (low + high) / 2 * durations[owner] / table.clip_lengths[index[owner]]
        wanted = owner * big + centre.astype(np.int64)
        at = np.minimum(np.searchsorted(key[order], wanted), len(key) - 1)
        found = key[order][at] == wanted
        value = np.where(found, mean[order][at], 0.0)
        target = np.where(scored[owner], np.clip(value, 0, 1), target)
        known |= scored[owner]
    return target, known
