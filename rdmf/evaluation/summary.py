"""The metrics in the words papers use, for any dataset: per query, over queries, and per query type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rdmf.evaluation import highlights, moments
from rdmf.evaluation.records import Record
from rdmf.evaluation.relevance import relevance
from rdmf.evaluation.tables import Floats, PredictionTable, annotated_windows, match, read_qids

MOMENT_METRICS = ("R1@0.3", "R1@0.5", "R1@0.7", "R5@0.5", "mIoU", "mAP@0.5", "mAP@0.75", "mAP")
SALIENCY_METRICS = ("saliency mAP", "Hit@1")


def per_query(
    predictions: Sequence[Record], annotations: Sequence[Record], *, allow_partial: bool = False
) -> dict[str, Any]:
    """Every metric of every query, in the order of the annotations: what a paired test needs.

    Returns:
        "qid": list of N ids; and for each name of MOMENT_METRICS and SALIENCY_METRICS an (N,) float64 array of shares
        in [0, 1] whose mean over queries is the metric: R1 and Hit@1 are 0 or 1, "mIoU" is the first window's IoU,
        "mAP" the query's average precision. NaN where the query has no annotation of that kind. A query without
        predicted windows counts 0 everywhere. Names of a kind that the predictions lack are left out.

    Raises:
        InputError: malformed records, or ids that do not match.
    """
    return _per_query(predictions, annotations, allow_partial, MOMENT_METRICS + SALIENCY_METRICS)


def _per_query(
    predictions: Sequence[Record], annotations: Sequence[Record], allow_partial: bool, names: Sequence[str]
) -> dict[str, Any]:
    """`per_query` of one kind of metrics, or of both: moments need no duration, and saliency no windows."""
    table = PredictionTable.parse(predictions)
    qids = read_qids(annotations, "annotation")
    predicted, annotated = match(table.qids, qids, allow_partial=allow_partial)
    order = np.argsort(annotated)
    predicted, annotated = predicted[order], annotated[order]
    values: dict[str, Any] = {"qid": [qids[index] for index in annotated]}
    if table.windows is not None and MOMENT_METRICS[0] in names:
        truth = annotated_windows(annotations).rows(annotated)
        values.update(_moments(moments.MomentTable.build(table.windows.rows(predicted), truth)))
    if table.saliency is not None and SALIENCY_METRICS[0] in names:
        labels = relevance([annotations[index] for index in annotated])
        saliency = table.saliency.rows(predicted[labels.rows])
        ap = highlights.saliency_ap(saliency, labels.positive, labels.n_clips)
        mean_ap = np.where(labels.columns, ap, 0.0).sum(axis=1) / labels.columns.sum(axis=1)
        hits = highlights.hit_at_one(saliency, labels.positive, labels.n_clips)
        for name, found in zip(SALIENCY_METRICS, (mean_ap, hits), strict=True):
            values[name] = np.full(len(annotated), np.nan)
            values[name][labels.rows] = found
    return values


def _moments(table: moments.MomentTable) -> dict[str, Floats]:
    answerable = table.answerable
    iou, _ = moments.first_window_iou(table)
    values: dict[str, Any] = {f"R1@{t}": iou >= t for t in (0.3, 0.5, 0.7)}
    values["R5@0.5"] = moments.recall_at(table, 5, 0.5)
    values["mIoU"] = iou
    ap = np.zeros((len(table), len(moments.IOU_THRESHOLDS)))
    ap[answerable] = moments.average_precisions(table.rows(answerable))
    values["mAP@0.5"] = ap[:, moments.IOU_THRESHOLDS.index(0.5)]
    values["mAP@0.75"] = ap[:, moments.IOU_THRESHOLDS.index(0.75)]
    values["mAP"] = ap.mean(axis=1)
    return {name: np.where(answerable, values[name], np.nan) for name in MOMENT_METRICS}


def moment_metrics(
    predictions: Sequence[Record], annotations: Sequence[Record], *, allow_partial: bool = False
) -> dict[str, float]:
    """Moment-retrieval metrics in percent, unrounded: R1@0.3/0.5/0.7, R5@0.5, mIoU, mAP@0.5/0.75 and mAP over 0.5:0.95.

    Means are over the queries that have an annotated window; one without a predicted window counts 0 (the official
    mAP drops it). Empty where no query has a window, or the predictions hold none.

    Raises:
        InputError: malformed records, or ids that do not match.
    """
    return _means(_per_query(predictions, annotations, allow_partial, MOMENT_METRICS), MOMENT_METRICS)


def saliency_metrics(
    predictions: Sequence[Record], annotations: Sequence[Record], *, allow_partial: bool = False
) -> dict[str, float]:
    """Highlight metrics in percent, unrounded: "saliency mAP" and "Hit@1".

    The labels are annotators' where there are any, else the clips inside the windows (see `relevance`). With
    QVHighlights' annotators the two equal the official HL-min-VeryGood numbers. Empty where nothing is labelled, or the
    predictions hold no saliency.

    Raises:
        InputError: malformed records, or ids that do not match.
    """
    return _means(_per_query(predictions, annotations, allow_partial, SALIENCY_METRICS), SALIENCY_METRICS)


def metrics_by_type(
    predictions: Sequence[Record], annotations: Sequence[Record], *, allow_partial: bool = False
) -> dict[str, dict[str, float]]:
    """All metrics for each query type (the annotations' "type", or "kind"), types sorted; "queries" counts them.

    Queries without a type are left out; no types at all give an empty dict.

    Raises:
        InputError: malformed records, or ids that do not match.
    """
    values = per_query(predictions, annotations, allow_partial=allow_partial)
    kinds = {record["qid"]: query_type(record) for record in annotations}
    of_query = np.array([kinds[qid] for qid in values["qid"]])
    table: dict[str, dict[str, float]] = {}
    for kind in sorted(set(of_query.tolist()) - {""}):
        chosen = of_query == kind
        part = {name: array[chosen] for name, array in values.items() if name != "qid"}
        table[kind] = {"queries": int(chosen.sum()), **_means(part, MOMENT_METRICS + SALIENCY_METRICS)}
    return table


def query_type(annotation: Record) -> str:
    """The query type of an annotation, "" where it has none."""
    return str(annotation.get("type") or annotation.get("kind") or "")


def _means(values: dict[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Percent means over the queries that have a value."""
    return {
        name: 100 * float(np.nanmean(values[name])) for name in names if np.isfinite(values.get(name, np.nan)).any()
    }
