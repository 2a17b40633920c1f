"""The two average precisions of the field, each over many queries at once.

They are different numbers: detection AP ranks windows and integrates over recall; ranking AP ranks clips, lets tied
scores share one threshold, and averages over the thresholds at which recall changes.
"""

from __future__ import annotations

import numpy as np

from rdmf.evaluation.tables import Bools, Floats, Ints


def detection_ap(hits: Bools, n_positives: Ints) -> Floats:
    """All-points interpolated AP (PASCAL VOC 2010 on) of ranked detections.

    Args:
        hits: (..., P) whether each detection found something new, best first. Padding goes last, as False.
        n_positives: (...) how many there were to find, at least 1.

    Returns:
        (...) AP in [0, 1]: the mean over positives of the best precision at that recall or beyond; positives never
        found count 0.
    """
    rank = np.arange(1, hits.shape[-1] + 1)
    precision = np.cumsum(hits, axis=-1) / rank
    # Interpolated: the best precision at this rank or any later one. Misses in the padding only lower the precision,
    # so they never win.
    best = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    ap: Floats = np.where(hits, best, 0.0).sum(axis=-1) / n_positives
    return ap


def ranking_ap(scores: Floats, positive: Bools, lengths: Ints) -> Floats:
    """Mean interpolated precision over the distinct score thresholds at which recall changes.

    Args:
        scores: (N, L) finite scores.
        positive: (N, A, L) labels, several columns (annotators, say) for the same scores.
        lengths: (N,) how many of the L clips are real.

    Returns:
        (N, A) AP in [0, 1]; 0 for a column without a positive, 1 for one that is all positive.
    """
    width = scores.shape[1]
    real = np.arange(width) < lengths[:, None]
    key = np.where(real, -scores, np.inf)
    order = np.argsort(key, axis=1)
    key = np.take_along_axis(key, order, axis=1)
    labels = np.take_along_axis(positive & real[:, None], order[:, None], axis=2)  # (N, A, L), best score first

    # A threshold lies after the last clip of each run of equal scores.
    threshold = np.ones(key.shape, dtype=bool)
    threshold[:, :-1] = key[:, 1:] != key[:, :-1]
    threshold &= real  # real clips sort before padding, so the mask is the same sorted
    found = np.cumsum(labels, axis=2, dtype=np.int32)
    precision = np.where(threshold[:, None], found / np.arange(1, width + 1), 0.0)
    best = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]

    # Recall changes at a threshold when more is found there than at the threshold before it.
    at_threshold = np.where(threshold[:, None], found, 0)
    before = np.zeros_like(at_threshold)
    before[..., 1:] = np.maximum.accumulate(at_threshold, axis=2)[..., :-1]
    changes = at_threshold > before
    ap: Floats = np.where(changes, best, 0.0).sum(axis=2) / np.maximum(changes.sum(axis=2), 1)
    return ap
