"""Moments read off a run's saliency instead of its decoder: one rule for every model.

The moments are the maximum-sum runs of (raw saliency - level): the logit of the curve that is shown, or what the
network said where that is no logit (`Grounder.raw_saliency`). The level is the one number that is chosen, on the run's
training split; so a table can say which part of a gain is a model's saliency and which its decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from rdmf.model.runs import best_runs
from rdmf.store import InputError

if TYPE_CHECKING:
    from rdmf.model.base import Grounder
    from rdmf.run import Run
    from rdmf.store import Cache
    from rdmf.train.data import Split

Floats = NDArray[np.float64]

#: Moments read from each query.
MOMENTS = 10
#: Candidate levels: these quantiles of the training split's own values, whatever their scale, and plain logits.
QUANTILES = (0.02, *(i / 20 for i in range(1, 20)), 0.98)
LOGITS = (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)
_QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class Reading:
    """How moments are read off one run's saliency.

    Attributes:
        level: the raw saliency from which on a clip is worth including.
        train_miou: the mIoU in percent that it reaches on the training split, where it was chosen.
        queries: how many training queries chose it.
    """

    level: float
    train_miou: float
    queries: int

    def about(self) -> dict[str, float]:
        """What a report says of it."""
        return {"level": round(self.level, 4), "train mIoU": round(self.train_miou, 2), "train queries": self.queries}


def read_moments(
    scores: Sequence[Floats], edges: Sequence[Floats], durations: Floats, level: float, k: int = MOMENTS
) -> tuple[Floats, Floats]:
    """The k best disjoint maximum-sum runs of each query.

    Args:
        scores: per query (L,). edges: per query (L + 1,) shares of the duration. durations: (Q,) seconds.

    Returns:
        spans (Q, k, 2) seconds, best first; totals (Q, k), the sums they were chosen by, -inf where nothing was left.
    """
    spans, totals = np.zeros((len(scores), k, 2)), np.full((len(scores), k), -np.inf)
    order = np.argsort([len(s) for s in scores], kind="stable")
    for start in range(0, len(order), _QUERIES_AT_ONCE):
        which = order[start : start + _QUERIES_AT_ONCE]
        length = max(len(scores[i]) for i in which)
        line, mask = torch.zeros(len(which), length, dtype=torch.float64), torch.zeros(len(which), length).bool()
        for row, i in enumerate(which):
            line[row, : len(scores[i])] = torch.from_numpy(scores[i] - level)
            mask[row, : len(scores[i])] = True
        first, last, total = (part.numpy() for part in best_runs(line, mask, k))
        for row, i in enumerate(which):
            spans[i, :, 0], spans[i, :, 1] = edges[i][first[row]], edges[i][last[row] + 1]
            totals[i] = total[row]
    return spans * durations[:, None, None], totals


def choose_level(scores: Sequence[Floats], edges: Sequence[Floats], windows: Sequence[Floats]) -> tuple[float, float]:
    """The level whose best run has the highest mean IoU with the annotated windows; of equal ones the middle one.

    Args:
        scores: per query (L,). edges: (L + 1,) shares of the duration. windows: (W, 2) shares, W >= 1.

    Returns:
        the level and its mIoU in percent.
    """
    levels = np.unique([*np.quantile(np.concatenate(scores), QUANTILES), *LOGITS])
    line, mask = _padded(scores)
    places, (truth, known) = _padded(edges)[0], _padded(windows)
    rows = np.arange(len(scores))
    found = np.zeros(len(levels))
    for number, level in enumerate(levels):
        first, last, _ = (part[:, 0].numpy() for part in best_runs(torch.from_numpy(line - level), mask, 1))
        start, end = places[rows, first], places[rows, last + 1]
        found[number] = _miou(start[:, None], end[:, None], truth, known.numpy())
    best = np.flatnonzero(found >= found.max() - 1e-9)
    chosen = best[len(best) // 2]
    return float(levels[chosen]), float(found[chosen])


def _padded(parts: Sequence[Floats]) -> tuple[Floats, torch.Tensor]:
    """Arrays (n_i, ...) as one (N, longest, ...), zero beyond their ends; where (N, longest) they have something."""
    counts = np.array([len(part) for part in parts])
    mask = np.arange(counts.max()) < counts[:, None]
    whole = np.zeros((*mask.shape, *parts[0].shape[1:]))
    whole[mask] = np.concatenate(parts)
    return whole, torch.from_numpy(mask)


def _miou(start: Floats, end: Floats, truth: Floats, known: NDArray[np.bool_]) -> float:
    """Percent: each span's IoU with the nearest window of its query, in the mean.

    Args:
        start, end: (Q, 1). truth: (Q, W, 2), known: (Q, W).
    """
    shared = np.clip(np.minimum(end, truth[..., 1]) - np.maximum(start, truth[..., 0]), 0, None)
    union = (end - start) + (truth[..., 1] - truth[..., 0]) - shared
    return 100 * float(np.where(known, shared / np.maximum(union, 1e-12), 0).max(1).mean())


def fit_reading(run: Run, cache: Cache, *, device: torch.device) -> Reading:
    """Choose a run's level on the training split of its cache.

    Raises:
        InputError: the training split has no annotated window to choose by.
    """
    from rdmf.predict import predict_split_arrays
    from rdmf.train.data import Split

    name = run.config.data.train_split
    index = cache.select(name)
    table = cache.queries
    windowed = np.diff(table.window_offsets)[index] > 0
    index = index[windowed & (table.video_index[index] >= 0)]
    data = Split.load(cache, index, device=device, max_tokens=run.config.data.max_tokens, pool=run.config.data.pool)
    truth, valid = data.windows.cpu().double().numpy(), data.window_mask.cpu().numpy()
    # A window that lies wholly outside its video leaves its query with none.
    known = np.flatnonzero(valid.any(axis=1)) if valid.size else np.zeros(0, dtype=np.int64)
    if not len(known):
        raise InputError(f"{cache.path}: split '{name}' has no annotated windows to choose a reading's level by")
    saliency, edges = predict_split_arrays(run.model.to(device), data)[2], split_edges(data)
    raw = [run.model.raw_saliency(saliency[i]) for i in known]
    level, miou = choose_level(raw, [edges[i] for i in known], [truth[i][valid[i]] for i in known])
    return Reading(level, miou, len(known))


def split_edges(data: Split) -> list[Floats]:
    """(L + 1,) clip edges of every query of a split, shares of the duration."""
    edges = data.edges.cpu().double().numpy()
    start, count = data.edge_start.cpu().tolist(), data.row_count.cpu().tolist()
    return [edges[s : s + n + 1] for s, n in zip(start, count)]


def read_split(
    model: Grounder, data: Split, saliency: Sequence[NDArray[Any]], reading: Reading, k: int = MOMENTS
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Moments of a split in the form of `rdmf.predict.predict_split_arrays`.

    Args:
        saliency: (L_q,) in [0, 1] per query of the split, the model's curves.

    Returns:
        spans (Q, k, 2) seconds, best first; scores (Q, k) in (0, 1), growing with the runs' sums, -1 where empty.
    """
    scores = [model.raw_saliency(curve) for curve in saliency]
    spans, totals = read_moments(scores, split_edges(data), data.durations, reading.level, k)
    finite = np.where(np.isfinite(totals), totals, 0)
    share = np.where(np.isfinite(totals), 0.5 + 0.5 * finite / (1 + np.abs(finite)), -1)
    return spans.astype(np.float32), share.astype(np.float32)


def predict_split_by_reading(
    run: Run, cache: Cache, split: str, device: str = "auto"
) -> tuple[list[dict[str, Any]], Reading]:
    """`rdmf.predict.predict_split` with the moments read off the saliency, and how they were read.

    Raises:
        InputError: as there, or no annotated training window to choose the level by.
    """
    from rdmf.predict import predict_split_arrays, records
    from rdmf.run import pick_device, refuse_mismatch
    from rdmf.train.data import Split

    refuse_mismatch(run, cache)
    where = pick_device(device)
    index = cache.select(split)
    index = index[cache.queries.video_index[index] >= 0]
    reading = fit_reading(run, cache, device=where)
    data = Split.load(cache, index, device=where, max_tokens=run.config.data.max_tokens, pool=run.config.data.pool)
    saliency = predict_split_arrays(run.model.to(where), data)[2]
    return records(cache, data, *read_split(run.model, data, saliency, reading), saliency), reading
