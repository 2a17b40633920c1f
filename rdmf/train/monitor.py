"""Scores on the hold-out after every epoch, straight from arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdmf.store import InputError
from rdmf.train.data import Split

Floats = NDArray[np.float32]


def refuse_unknown(metric: str, data: Split) -> None:
    """Refuse to watch what the hold-out has no annotations for: no epoch would be better than another.

    Raises:
        InputError: with what can be watched.
    """
    nothing = [np.zeros(int(count), dtype=np.float32) for count in data.sizes[:, 0]]
    spans, scores = np.zeros((len(data), 1, 2), dtype=np.float32), np.zeros((len(data), 1), dtype=np.float32)
    known = monitor_scores(spans, scores, nothing, data)
    if metric not in known:
        raise InputError(f"train.monitor: the hold-out is not annotated for {metric}; there are {', '.join(known)}")


def monitor_scores(spans: Floats, scores: Floats, saliency: list[Floats], data: Split) -> dict[str, float]:
    """R1@0.5, R1@0.7, mIoU, mAP (mean over IoU 0.5 to 0.95), saliency mAP and their mean, in percent.

    Reports use `rdmf.evaluation`; this leaner reading of the same definitions only ranks epochs of one run. Parts that
    the hold-out has no annotation for are left out, of the mean too.

    Args:
        spans: (Q, k, 2) seconds, best first. scores: (Q, k), -1 where empty.
        saliency: (L_q,) per query.
    """
    out: dict[str, float] = {}
    seconds = data.durations[:, None, None]
    windows, valid = data.windows.cpu().numpy() * seconds, data.window_mask.cpu().numpy()
    has = valid.any(1) if valid.shape[1] else np.zeros(len(data), dtype=bool)
    if has.any():
        left = np.maximum(spans[:, :, None, 0], windows[:, None, :, 0])
        right = np.minimum(spans[:, :, None, 1], windows[:, None, :, 1])
        inter = np.clip(right - left, 0, None)
        union = (spans[..., 1] - spans[..., 0])[:, :, None] + (windows[..., 1] - windows[..., 0])[:, None] - inter
        iou = np.where(valid[:, None] & (scores >= 0)[:, :, None], inter / np.maximum(union, 1e-9), 0)[has]
        first = iou[:, 0].max(1)
        out["R1@0.5"], out["R1@0.7"] = float(100 * (first >= 0.5).mean()), float(100 * (first >= 0.7).mean())
        out["mIoU"] = float(100 * first.mean())
        count = valid[has].sum(1)
        out["mAP"] = float(100 * np.mean([_precision(iou, count, t) for t in np.arange(0.5, 0.96, 0.05)]))
    target, known = data.saliency.cpu().numpy(), data.saliency_known.cpu().numpy()
    starts = data.saliency_start.cpu().tolist()
    found = []
    for values, start in zip(saliency, starts):
        positive = target[start : start + len(values)] >= 0.5
        if known[start] and positive.any():
            found.append(_ranked_precision(values, positive))
    if found:
        out["saliency mAP"] = float(100 * np.mean(found))
    parts = [out[k] for k in ("R1@0.5", "R1@0.7", "mIoU", "saliency mAP") if k in out]
    out["mean"] = float(np.mean(parts)) if parts else 0.0
    return out


def _precision(iou: NDArray[np.float64], count: NDArray[np.int64], threshold: float) -> float:
    """Mean average precision at one IoU threshold; every window is taken once, best-scored prediction first."""
    free = np.ones((len(iou), iou.shape[2]), dtype=bool)
    hits = np.zeros(len(iou))
    total = np.zeros(len(iou))
    for k in range(iou.shape[1]):
        now = np.where(free, iou[:, k], -1)
        best = now.argmax(1)
        hit = now.max(1) >= threshold
        free[np.flatnonzero(hit), best[hit]] = False
        hits += hit
        total += hit * hits / (k + 1)
    return float((total / count).mean())


def _ranked_precision(values: Floats, positive: NDArray[np.bool_]) -> float:
    order = np.argsort(-values, kind="stable")
    hit = positive[order]
    return float((np.cumsum(hit)[hit] / (np.flatnonzero(hit) + 1)).mean())
