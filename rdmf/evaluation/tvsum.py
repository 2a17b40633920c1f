"""TVSum and YouTube Highlights: top-k mAP as Moment-DETR's successors report it (UMT, Liu et al. 2022; lighthouse).

An AP of another shape than QVHighlights': the trapezoid under precision over recall, with recall counted within the top
k clips only, so that a perfect top 5 scores 1 however many relevant clips follow.

Tied scores matter here, and the published code leaves their order to `torch.argsort(descending=True)`, which is not
stable but is the same for the same scores. The same call is made here, only where there are ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rdmf.evaluation.highlights import annotator_scores
from rdmf.evaluation.records import Record, where
from rdmf.evaluation.relevance import CROWD, above_median
from rdmf.evaluation.summary import query_type
from rdmf.evaluation.tables import Bools, Floats, Ints, PredictionTable, match, numbers, read_qids
from rdmf.store.errors import InputError

TOP_CLIPS = 5


def trapezoid_ap(ranked: Bools, k: int | None = None) -> Floats:
    """Area under precision over recall of ranked labels, recall normalised by the hits within the top `k`.

    Args:
        ranked: (..., L) labels, best first.
        k: how many clips count; all by default.

    Returns:
        (...) AP in [0, 1], 0 where the top k holds no hit.
    """
    top = ranked[..., :k]
    hits = np.cumsum(top, axis=-1)
    precision = hits / np.arange(1, top.shape[-1] + 1)
    before = np.concatenate([np.ones((*top.shape[:-1], 1)), precision[..., :-1]], axis=-1)
    total = top.sum(axis=-1)
    area: Floats = np.where(top, (before + precision) / 2, 0.0).sum(axis=-1) / np.maximum(total, 1)
    return area


def _descending(scores: Floats) -> Ints:
    """(L,) the order of falling score."""
    if len(np.unique(scores)) == len(scores):
        return np.argsort(-scores)
    import torch  # for its order of ties; see the top of this file

    return torch.argsort(torch.from_numpy(scores.astype(np.float32)), descending=True).numpy()


def _ranked(scores: Floats, labels: Bools) -> Bools:
    """(A, L) labels by falling score, over the clips both have."""
    n = min(len(scores), labels.shape[1])
    ranked: Bools = labels[:, :n][:, _descending(scores[:n])]
    return ranked


def tvsum_ap(scores: Floats, labels: Floats) -> float:
    """Top-5 AP of one TVSum video, the mean over its annotators.

    Args:
        scores: (L,) predicted saliency.
        labels: (L, A) importance scores; a clip is positive where it is above that annotator's (lower) median.
    """
    n = min(len(scores), len(labels))
    if n == 0:
        return 0.0
    return float(trapezoid_ap(_ranked(scores, above_median(labels[:n].T)), TOP_CLIPS).mean())


def youtube_ap(scores: Floats, labels: Floats) -> float | None:
    """AP of one YouTube Highlights video over all its clips; None where no clip is positive.

    Args:
        scores: (L,) predicted saliency.
        labels: (L, 1) or (L,) labels, positive above 0.
    """
    flat = labels.reshape(len(labels), -1)[:, :1]
    positive = _ranked(scores, flat.T > 0)
    return float(trapezoid_ap(positive)[0]) if positive.any() else None


def tvsum_metrics(
    predictions: Sequence[Record], annotations: Sequence[Record], *, allow_partial: bool = False
) -> dict[str, float]:
    """Top-5 mAP in percent for each domain, and "mAP", the mean over domains.

    Args:
        predictions: records with qid and pred_saliency_scores.
        annotations: records with qid, label (clips x annotators) and domain (videos without one form one domain).
        allow_partial: score the queries in both.

    Raises:
        InputError: malformed records, or ids that do not match.
    """
    return _by_domain(predictions, annotations, tvsum_ap, allow_partial)


def youtube_metrics(
    predictions: Sequence[Record], annotations: Sequence[Record], *, allow_partial: bool = False
) -> dict[str, float]:
    """mAP in percent for each domain, and "mAP", the mean over domains; videos without a positive clip are skipped.

    Arguments and errors are those of `tvsum_metrics`; label holds one value a clip.
    """
    return _by_domain(predictions, annotations, youtube_ap, allow_partial)


def scored_by_crowd(annotations: Sequence[Record]) -> bool:
    """Whether these annotations are of the TVSum or YouTube Highlights kind: a label a clip, or a crowd's scores."""
    first = annotations[0]
    scores = first.get("saliency_scores")
    return bool(first.get("label")) or (
        isinstance(scores, list) and bool(scores) and isinstance(scores[0], list) and len(scores[0]) >= CROWD
    )


def clip_labels_metrics(
    predictions: Sequence[Record], annotations: Sequence[Record], *, allow_partial: bool = False
) -> dict[str, float]:
    """`youtube_metrics` where the first label has one value a clip, else `tvsum_metrics`."""
    single = _labels(annotations, 0).shape[1] == 1
    return (youtube_metrics if single else tvsum_metrics)(predictions, annotations, allow_partial=allow_partial)


def _by_domain(
    predictions: Sequence[Record], annotations: Sequence[Record], ap_of: Any, allow_partial: bool
) -> dict[str, float]:
    table = PredictionTable.parse(predictions)
    predicted, annotated = match(table.qids, read_qids(annotations, "annotation"), allow_partial=allow_partial)
    if table.saliency is None:
        raise InputError("the predictions hold no pred_saliency_scores, which this dataset is scored by")
    domains: dict[str, list[float]] = {}
    scores = table.saliency.rows(predicted)
    per_video = np.split(scores.values, np.cumsum(scores.counts)[:-1])
    for video, annotation in zip(per_video, annotated, strict=True):
        ap = ap_of(video, _labels(annotations, int(annotation)))
        if ap is not None:
            domains.setdefault(
                str(annotations[annotation].get("domain") or query_type(annotations[annotation]) or "all"), []
            ).append(ap)
    means = {name: 100 * float(np.mean(values)) for name, values in sorted(domains.items())}
    return {**means, "mAP": float(np.mean(list(means.values()))) if means else float("nan")}


def _labels(annotations: Sequence[Record], index: int) -> Floats:
    """(L, A) labels of one annotation: its "label", or as a feature cache tells it, annotators' scores of the clips
    that "relevant_clip_ids" names, in any order (0 where unlabelled)."""
    annotation = annotations[index]
    rows = annotation.get("label")
    if not rows and annotation.get("saliency_scores"):
        scored = annotator_scores(annotations, np.array([index]))
        labels: Floats = scored.scores[0, : scored.n_annotators[0], : scored.n_clips[0]].T
        return labels
    table = numbers(rows, None) if isinstance(rows, list) and rows else None
    if table is None or len(set(table.counts.tolist())) != 1 or not table.values.size:
        what = where(annotations, index, "annotation")
        raise InputError(f"{what}: label must hold one list of annotators' scores, all as long, for each clip")
    return table.values.reshape(len(table.counts), -1)
