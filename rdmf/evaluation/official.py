"""QVHighlights' official scoring, key for key and to the second decimal.

Follows the published `standalone_eval` of Moment-DETR (Lei et al. 2021) number by number; what differs is said in
`evaluate`. Percentages are rounded once, from unrounded means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rdmf.evaluation import highlights, moments
from rdmf.evaluation.records import Record
from rdmf.evaluation.tables import Ints, PredictionTable, Ragged, annotated_windows, match, read_qids

# Lengths in seconds, open below and closed above; "full" filters nothing.
LENGTH_RANGES: dict[str, tuple[float, float] | None] = {
    "short": (0, 10),
    "middle": (10, 30),
    "long": (30, 150),
    "full": None,
}


@dataclass(frozen=True)
class Coverage:
    """What a score does and does not stand for.

    Attributes:
        queries: queries in both files.
        without_moments: of them, annotated without a window; they take no part in moment metrics.
        without_prediction: of the rest, predicted without a window; the official mAP leaves them out, R1 counts a miss.
        without_saliency: of the queries, without annotators' saliency; they take no part in the official highlights.
        predicted_only: predictions that no annotation has (allow_partial).
        annotated_only: annotations that no prediction answers (allow_partial).
    """

    queries: int
    without_moments: int
    without_prediction: int
    without_saliency: int
    predicted_only: int
    annotated_only: int


def evaluate(
    predictions: Sequence[Record], annotations: Sequence[Record], *, allow_partial: bool = False
) -> dict[str, Any]:
    """The official metrics of a prediction file, in percent, with the official keys and nesting.

    Moment metrics ("full", "long", "middle", "short") are there when the predictions have pred_relevant_windows and
    an annotation has relevant_windows; highlight metrics ("HL-min-Fair", ...) when there are pred_saliency_scores and
    annotated saliency_scores. Where the official script stops with an error, this goes on: a query without predicted
    windows is a miss in R1; queries without annotated windows, or without annotated saliency, take no part in the
    metrics that need them; a length range that no query has is NaN.

    Args:
        predictions: records with qid, pred_relevant_windows and/or pred_saliency_scores.
        annotations: records with qid, relevant_windows, and for highlights duration, relevant_clip_ids and
            saliency_scores.
        allow_partial: score the queries in both rather than refuse ids that differ.

    Returns:
        {"brief": {...}, "HL-min-Fair": {...}, ..., "full": {"MR-mAP": {...}, "MR-R1": {...}}, ...}

    Raises:
        InputError: malformed records, or ids that do not match.
    """
    return evaluate_with_coverage(predictions, annotations, allow_partial=allow_partial)[0]


def evaluate_with_coverage(
    predictions: Sequence[Record], annotations: Sequence[Record], *, allow_partial: bool = False
) -> tuple[dict[str, Any], Coverage]:
    """`evaluate`, and which queries its numbers stand for.

    Raises:
        InputError: malformed records, or ids that do not match.
    """
    table = PredictionTable.parse(predictions)
    predicted, annotated = match(table.qids, read_qids(annotations, "annotation"), allow_partial=allow_partial)
    truth = annotated_windows(annotations).rows(annotated)
    brief: dict[str, float] = {}
    sections: dict[str, Any] = {}
    silent = np.zeros(len(predicted), dtype=bool)
    if table.windows is not None:
        windows = table.windows.rows(predicted)
        silent = windows.counts == 0
        answerable = moments.MomentTable.build(windows, truth)
        answerable = answerable.rows(answerable.answerable)
        if len(answerable):
            moment_scores = _moment_retrieval(answerable)
            sections.update(moment_scores)
            brief.update(_brief_moments(moment_scores))
    with_scores = np.isin(annotated, highlights.labelled(annotations))
    if table.saliency is not None and with_scores.any():
        levels = _highlights(table.saliency.rows(predicted[with_scores]), annotations, annotated[with_scores])
        sections.update(levels)
        brief.update({f"{level}-{key[3:]}": value for level, pair in levels.items() for key, value in pair.items()})
    counted = Coverage(
        queries=len(predicted),
        without_moments=int((truth.counts == 0).sum()),
        without_prediction=int(((truth.counts > 0) & silent).sum()),
        without_saliency=int((~with_scores).sum()),
        predicted_only=len(predictions) - len(predicted),
        annotated_only=len(annotations) - len(annotated),
    )
    return {"brief": brief, **dict(sorted(sections.items()))}, counted


def percent(share: float) -> float:
    """100 * share to two decimals, as the official script rounds it; NaN stays NaN."""
    return float(f"{100 * share:.2f}")


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _moment_retrieval(table: moments.MomentTable) -> dict[str, dict[str, dict[str, float]]]:
    scores = {}
    for name, lengths in LENGTH_RANGES.items():
        part = table if lengths is None else table.with_lengths(*lengths)
        iou, _ = moments.first_window_iou(part)
        recall = {str(t): percent(_mean(iou >= t)) for t in moments.IOU_THRESHOLDS}
        # The official mean runs over the queries that have a prediction.
        precision = moments.average_precisions(part.rows(part.n_predicted > 0))
        means = [_mean(precision[:, level]) for level in range(len(moments.IOU_THRESHOLDS))]
        by_threshold = {str(t): percent(mean) for t, mean in zip(moments.IOU_THRESHOLDS, means, strict=True)}
        scores[name] = {"MR-mAP": {**by_threshold, "average": percent(_mean(means))}, "MR-R1": recall}
    return scores


def _brief_moments(scores: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    full = scores["full"]
    return {
        "MR-full-R1@0.5": full["MR-R1"]["0.5"],
        "MR-full-R1@0.7": full["MR-R1"]["0.7"],
        "MR-full-mAP": full["MR-mAP"]["average"],
        "MR-full-mAP@0.5": full["MR-mAP"]["0.5"],
        "MR-full-mAP@0.75": full["MR-mAP"]["0.75"],
        **{f"MR-{name}-mAP": scores[name]["MR-mAP"]["average"] for name in ("long", "middle", "short")},
    }


def _highlights(saliency: Ragged, annotations: Sequence[Record], rows: Ints) -> dict[str, dict[str, float]]:
    labels = highlights.annotator_scores(annotations, rows)
    columns = labels.annotators
    positives = [labels.scores >= level for level in highlights.LEVELS.values()]
    # All levels rank the same predictions, so they share one sort.
    ap = highlights.saliency_ap(saliency, np.concatenate(positives, axis=1), labels.n_clips)
    by_level = ap.reshape(len(ap), len(positives), -1)
    scores = {}
    for level, (name, positive) in enumerate(zip(highlights.LEVELS, positives, strict=True)):
        hits = highlights.hit_at_one(saliency, positive, labels.n_clips)
        mean_ap = percent(_mean(by_level[:, level][columns]))
        scores[f"HL-min-{name}"] = {"HL-mAP": mean_ap, "HL-Hit1": percent(_mean(hits))}
    return scores
