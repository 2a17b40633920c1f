"""Models side by side on the same queries: means with their spread over seeds, and paired tests over queries."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf.evaluation.significance import bootstrap_interval, paired_t_test
from rdmf_pipelines.studies.scoring import METRICS, Scores

Floats = NDArray[np.float64]

#: The columns of every table; CSV and JSON hold all METRICS.
SHOWN = ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU", "mAP", "saliency mAP")
#: What the paper's section 4.4 and issue 3 ask p-values of.
TESTED = ("R1@0.5", "mIoU", "saliency mAP")
RESAMPLES = 2000


@dataclass(frozen=True)
class Queries:
    """The queries that models are compared on: those of every fold, one fold after the other.

    Attributes:
        folds: name of each fold. bounds: (folds + 1,) where each begins. ids: (fold, qid) of each of the Q queries.
        types: query types, "" where there is none.
    """

    folds: tuple[str, ...]
    bounds: tuple[int, ...]
    ids: tuple[tuple[str, Any], ...]
    types: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.ids)

    def fold(self, number: int) -> slice:
        """The queries of one fold."""
        return slice(self.bounds[number], self.bounds[number + 1])

    @staticmethod
    def of(folds: Mapping[str, Scores]) -> Queries:
        """Built from the scores of any one model on each fold."""
        ids = tuple((name, qid) for name, scores in folds.items() for qid in scores.qids)
        sizes = np.cumsum([0, *(len(scores.qids) for scores in folds.values())])
        types = [kind for scores in folds.values() for kind in scores.types]
        return Queries(tuple(folds), tuple(int(size) for size in sizes), ids, np.array(types, dtype=np.str_))


@dataclass(frozen=True)
class Row:
    """One model's scores on all queries, per seed.

    Attributes:
        label: its name in tables.
        seeds: its seeds; empty for what needs no training.
        values: (S, M, Q) shares by METRICS, S = max(1, seeds); NaN where the query has no annotation of that kind, or
            where that seed was not run on the query's fold.
        facts: "parameters", "seconds per epoch", ... for the table's last columns.
    """

    label: str
    seeds: tuple[int, ...]
    values: Floats
    facts: dict[str, Any] = field(default_factory=dict)

    def of(self, metric: str) -> Floats:
        """(S, Q) of one metric."""
        return self.values[:, METRICS.index(metric)]

    def averaged(self, metric: str) -> Floats:
        """(Q,) mean over seeds: the query is the unit of every test.

        Over the seeds that were run on all of the queries, as `means` has it, where there is one: a seed more on some
        folds would weigh these folds otherwise than the means beside the difference do.
        """
        values = self.of(metric)
        whole = complete(values)
        return average(values[whole] if whole.any() else values, 0)

    def restricted(self, chosen: NDArray[np.bool_] | slice) -> Row:
        """The same on some of the queries."""
        return Row(self.label, self.seeds, self.values[:, :, chosen], self.facts)


@dataclass(frozen=True)
class Mean:
    """A metric in percent: the mean over queries and seeds, and the standard deviation of the seeds' means."""

    mean: float
    spread: float | None
    seeds: int


@dataclass(frozen=True)
class Difference:
    """Paired over queries: this row less the reference, in points, with its 95% bootstrap interval and two-sided p."""

    difference: float
    low: float
    high: float
    p: float
    queries: int


def average(values: Floats, axis: int) -> Floats:
    """Mean of what is known along an axis, NaN where nothing is.

    Rounded to nine decimals: a sum in another order must not look like a difference.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing is NaN, and meant to be
        return np.asarray(np.round(np.nanmean(values, axis=axis), 9))


def complete(values: Floats) -> NDArray[np.bool_]:
    """(S,) which seeds of (S, Q) scores have one for every query that any seed has one for."""
    known = np.isfinite(values)
    return np.asarray(known[:, known.any(axis=0)].all(axis=1))


def stack(
    label: str,
    runs: Mapping[tuple[str, int], Floats],
    queries: Queries,
    facts: dict[str, Any] | None = None,
) -> Row:
    """A row of the scores of single runs.

    Args:
        runs: {(fold, seed): (M, Q_fold)}. A seed that lacks a fold has NaN there.
    """
    seeds = tuple(sorted({seed for _, seed in runs}))
    values = np.full((max(1, len(seeds)), len(METRICS), len(queries)), np.nan)
    for (fold, seed), found in runs.items():
        values[seeds.index(seed)][:, queries.fold(queries.folds.index(fold))] = found
    return Row(label, seeds, values, facts or {})


def guess_row(label: str, folds: Mapping[str, Scores], queries: Queries) -> Row:
    """A row of what needs no training."""
    row = stack(label, {(name, 0): scores.decoder for name, scores in folds.items()}, queries)
    return Row(label, (), row.values)


def means(row: Row) -> dict[str, Mean]:
    """{metric: Mean} of what the queries are annotated for.

    The spread is over the seeds that were run on every query that any seed was run on; None with fewer than two.
    """
    out = {}
    for metric in METRICS:
        values = row.of(metric)
        if not np.isfinite(values).any():
            continue
        whole = complete(values)
        by_seed = 100 * average(values[whole], 1)
        spread = float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None
        mean = by_seed.mean() if len(by_seed) else 100 * average(average(values, 0)[None], 1)[0]
        out[metric] = Mean(float(mean), spread, int(whole.sum()))
    return out


def difference(row: Row, reference: Row, metric: str) -> Difference | None:
    """None where fewer than two queries have a score in both."""
    ours, theirs = row.averaged(metric), reference.averaged(metric)
    if (np.isfinite(ours) & np.isfinite(theirs)).sum() < 2:
        return None
    test = paired_t_test(ours, theirs)
    interval = bootstrap_interval(ours, theirs, samples=RESAMPLES)
    p = test.p if math.isfinite(test.p) else 1.0
    return Difference(100 * test.difference, 100 * interval.low, 100 * interval.high, p, test.degrees + 1)


def differences(row: Row, reference: Row, metrics: Sequence[str] = SHOWN) -> dict[str, Difference]:
    """`difference` for several metrics, those without one left out."""
    found = {metric: difference(row, reference, metric) for metric in metrics}
    return {metric: value for metric, value in found.items() if value is not None}


def by_type(rows: Sequence[Row], queries: Queries) -> dict[str, tuple[int, list[dict[str, Mean]]]]:
    """{query type: (queries, means of every row)}, types sorted; empty where there are none."""
    kinds = sorted(set(queries.types.tolist()) - {""})
    return {
        kind: (int((chosen := queries.types == kind).sum()), [means(row.restricted(chosen)) for row in rows])
        for kind in kinds
    }


def by_fold(rows: Sequence[Row], queries: Queries) -> dict[str, tuple[int, list[dict[str, Mean]]]]:
    """{fold: (queries, means of every row)}."""
    return {
        name: (queries.bounds[i + 1] - queries.bounds[i], [means(row.restricted(queries.fold(i))) for row in rows])
        for i, name in enumerate(queries.folds)
    }
