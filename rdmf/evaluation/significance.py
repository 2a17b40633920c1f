"""Is a difference between two models more than chance? Paired tests over the same queries (paper, section 4.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rdmf.evaluation.tables import Floats

_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class PairedTest:
    """Outcome of a paired t-test: mean difference (first less second), t, degrees of freedom, two-sided p."""

    difference: float
    t: float
    degrees: int
    p: float


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval of the mean difference (first less second)."""

    difference: float
    low: float
    high: float
    confidence: float


def _differences(first: ArrayLike, second: ArrayLike) -> Floats:
    """Differences over the queries that both have a value for; NaN marks those without."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"paired values must be two arrays of one length, got {a.shape} and {b.shape}")
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 2:
        raise ValueError(f"a paired comparison needs at least 2 queries with a value in both, got {int(both.sum())}")
    return a[both] - b[both]


def paired_t_test(first: ArrayLike, second: ArrayLike) -> PairedTest:
    """Two-sided paired t-test over queries.

    Args:
        first: (N,) per-query values of one model, as `per_query` gives them.
        second: (N,) those of the other, for the same queries in the same order.

    Raises:
        ValueError: shapes that differ, or fewer than two queries with a value in both.
    """
    difference = _differences(first, second)
    mean, degrees = float(difference.mean()), len(difference) - 1
    error = float(difference.std(ddof=1)) / np.sqrt(len(difference))
    if error == 0:  # every difference is the same: certain if not zero, and nothing to test if zero
        return PairedTest(
            mean, 0.0 if mean == 0 else float(np.copysign(np.inf, mean)), degrees, 1.0 if mean == 0 else 0.0
        )
    from scipy.special import stdtr  # heavier than the rest of this package

    t = mean / error
    return PairedTest(mean, float(t), degrees, float(2 * stdtr(degrees, -abs(t))))


def bootstrap_interval(
    first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95, samples: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean difference, queries drawn with replacement, pairs kept together.

    Args:
        first: (N,) per-query values of one model.
        second: (N,) those of the other, for the same queries in the same order.
        confidence: share of the resampled means between the two ends.
        samples: how many resamples.
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        ValueError: shapes that differ, fewer than two queries with a value in both, or a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    difference = _differences(first, second)
    rng = np.random.default_rng(seed)
    at_once = max(1, _CELLS_AT_ONCE // len(difference))
    means = np.concatenate(
        [
            difference[rng.integers(len(difference), size=(min(at_once, samples - done), len(difference)))].mean(axis=1)
            for done in range(0, samples, at_once)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(difference.mean()), float(low), float(high), confidence)
