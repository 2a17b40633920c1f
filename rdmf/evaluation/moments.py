"""Moment retrieval: how well predicted windows agree with annotated ones.

Windows are (start, end) in seconds. IoU is intersection over union in time; a window of no or negative length has IoU
0 with everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rdmf.evaluation.average_precision import detection_ap
from rdmf.evaluation.tables import Bools, Floats, Ints, Ragged

# The official list: 0.5, 0.55, ... 0.95, each the nearest double to its two decimals.
IOU_THRESHOLDS = tuple(float(f"{percent / 100:.2f}") for percent in range(50, 100, 5))
MAX_WINDOWS = 10


@dataclass(frozen=True)
class MomentTable:
    """Predicted and annotated windows of N queries, in the same order.

    Attributes:
        predicted: (N, P, 3) start, end in seconds and score, in file order, zero beyond `n_predicted`.
        n_predicted: (N,) predicted windows a query, at most P.
        annotated: (N, G, 2) start, end in seconds, zero where `present` is False.
        present: (N, G) which of the annotated windows are real.
    """

    predicted: Floats
    n_predicted: Ints
    annotated: Floats
    present: Bools

    @classmethod
    def build(cls, predicted: Ragged, annotated: Ragged) -> MomentTable:
        """From ragged rows; only the first 10 predicted windows of a query take part in any metric."""
        windows, _ = predicted.padded(0.0, MAX_WINDOWS)
        truth, present = annotated.padded(0.0)
        return cls(windows, np.minimum(predicted.counts, MAX_WINDOWS), truth, present)

    def rows(self, index: Ints | Bools) -> MomentTable:
        """The queries at `index`."""
        return MomentTable(self.predicted[index], self.n_predicted[index], self.annotated[index], self.present[index])

    def with_lengths(self, low_seconds: float, high_seconds: float) -> MomentTable:
        """Only annotated windows with low < length <= high, and only queries that have such a window."""
        length = self.annotated[..., 1] - self.annotated[..., 0]
        kept = self.present & (length > low_seconds) & (length <= high_seconds)
        table = MomentTable(self.predicted, self.n_predicted, self.annotated, kept)
        return table.rows(table.answerable)

    @property
    def answerable(self) -> Bools:
        """(N,) which queries have an annotated window."""
        return np.asarray(self.present.any(axis=1))

    def __len__(self) -> int:
        return len(self.predicted)


def cross_iou(predicted: Floats, annotated: Floats) -> Floats:
    """IoU of every predicted with every annotated window: (..., P, 2+) and (..., G, 2) give (..., P, G)."""
    start = np.maximum(predicted[..., :, None, 0], annotated[..., None, :, 0])
    end = np.minimum(predicted[..., :, None, 1], annotated[..., None, :, 1])
    intersection = np.maximum(end - start, 0.0)
    lengths = predicted[..., 1] - predicted[..., 0]
    union = lengths[..., :, None] + (annotated[..., 1] - annotated[..., 0])[..., None, :] - intersection
    return _ratio(intersection, union)


def paired_iou(predicted: Floats, annotated: Floats) -> Floats:
    """IoU of windows pairwise: (..., 2+) and (..., 2) give (...).

    The union is taken as the hull of both windows, as the official script does for R1: the same where they overlap
    (and IoU is 0 where they do not), but it differs from `cross_iou` in the last bit, which `>= 0.7` can feel.
    """
    start = np.maximum(predicted[..., 0], annotated[..., 0])
    end = np.minimum(predicted[..., 1], annotated[..., 1])
    hull = np.maximum(predicted[..., 1], annotated[..., 1]) - np.minimum(predicted[..., 0], annotated[..., 0])
    return _ratio(np.maximum(end - start, 0.0), hull)


def _ratio(intersection: Floats, union: Floats) -> Floats:
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=(intersection > 0) & (union > 0))


def first_window_iou(table: MomentTable) -> tuple[Floats, Ints]:
    """IoU of each query's first window in file order (not of the best score) with the annotated window nearest to it.

    Returns:
        (N,) IoU, 0 where nothing is predicted; and (N,) which annotated window it was: that of highest IoU, the
        first on ties.
    """
    first = table.predicted[:, 0]
    candidates = np.where(table.present, cross_iou(first[:, None], table.annotated)[:, 0], -1.0)
    nearest = candidates.argmax(axis=1)
    iou = paired_iou(first, table.annotated[np.arange(len(table)), nearest])
    return np.where(table.n_predicted > 0, iou, 0.0), nearest


def recall_at(table: MomentTable, k: int, threshold: float) -> Bools:
    """(N,) whether any of the first `k` windows in file order reaches `threshold` IoU with an annotated window."""
    windows = table.predicted[:, :k]
    nearest = paired_iou(windows[:, :, None], table.annotated[:, None])  # (N, k, G)
    shown = np.arange(windows.shape[1]) < table.n_predicted[:, None]
    hits = (nearest >= threshold) & table.present[:, None] & shown[..., None]
    return np.asarray(hits.any(axis=(1, 2)))


def average_precisions(table: MomentTable, thresholds: Sequence[float] = IOU_THRESHOLDS) -> Floats:
    """Detection AP of each query at each IoU threshold: (N, len(thresholds)), 0 where nothing is predicted.

    The first 10 windows in file order are sorted by score (ties keep file order); each in turn takes the annotated
    window of highest IoU that is still free, if that IoU reaches the threshold (the last such window on ties).
    """
    n, p = table.predicted.shape[:2]
    order = np.argsort(
        np.where(np.arange(p) < table.n_predicted[:, None], -table.predicted[..., 2], np.inf), axis=1, kind="stable"
    )
    ranked = np.take_along_axis(table.predicted, order[..., None], axis=1)
    shown = np.arange(p) < table.n_predicted[:, None]
    iou = np.where(table.present[:, None] & shown[..., None], cross_iou(ranked, table.annotated), -1.0)

    levels = np.asarray(thresholds, dtype=np.float64)
    hits = np.zeros((n, len(levels), p), dtype=bool)
    # Most windows reach no threshold, so the matching below runs over the few (query, rank) pairs that do.
    reaches = iou.max(axis=2) >= levels.min()
    free = np.ones((n, len(levels), iou.shape[2]), dtype=bool)
    for rank in range(p):
        rows = np.flatnonzero(reaches[:, rank])
        candidate = iou[rows, rank][:, None]  # (R, 1, G)
        allowed = np.where(free[rows] & (candidate >= levels[:, None]), candidate, -1.0)  # (R, T, G)
        last_best = allowed.shape[2] - 1 - allowed[..., ::-1].argmax(axis=2)
        taken = np.take_along_axis(allowed, last_best[..., None], axis=2)[..., 0] >= 0
        hits[rows, :, rank] = taken
        row, level = np.nonzero(taken)
        free[rows[row], level, last_best[row, level]] = False
    return detection_ap(hits, table.present.sum(axis=1)[:, None])
