"""Paired comparison of two models over the same queries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from rdmf.evaluation.significance import bootstrap_interval, paired_t_test


def test_t_test_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.3, 1, 200), rng.normal(0, 1, 200)
    ours, theirs = paired_t_test(first, second), stats.ttest_rel(first, second)
    assert (ours.t, ours.p, ours.degrees) == pytest.approx((theirs.statistic, theirs.pvalue, theirs.df))
    back = paired_t_test(second, first)
    assert (back.difference, back.t, back.p) == pytest.approx((-ours.difference, -ours.t, ours.p))


def test_queries_without_a_value_are_left_out() -> None:
    nan = math.nan
    assert paired_t_test([1, 0, 1, nan], [0, 0, nan, 5]) == paired_t_test([1, 0], [0, 0])
    with pytest.raises(ValueError, match="at least 2 queries"):
        paired_t_test([1, nan], [nan, 2])
    with pytest.raises(ValueError, match="one length"):
        paired_t_test([1, 2, 3], [1, 2])


def test_no_spread() -> None:
    same = paired_t_test([1, 2, 3], [1, 2, 3])
    assert (same.difference, same.t, same.p) == (0.0, 0.0, 1.0)
    shifted = paired_t_test([2, 3, 4], [1, 2, 3])
    assert (shifted.difference, shifted.t, shifted.p) == (1.0, math.inf, 0.0)


def test_bootstrap_interval() -> None:
    rng = np.random.default_rng(1)
    difference = rng.normal(0.5, 1, 400)
    interval = bootstrap_interval(difference, np.zeros(400), seed=3)
    half = 1.96 * difference.std() / 20  # the normal approximation, good at 400 queries
    assert interval.low == pytest.approx(difference.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(difference.mean() + half, abs=0.01)
    assert interval == bootstrap_interval(difference, np.zeros(400), seed=3)
    wider = bootstrap_interval(difference, np.zeros(400), seed=3, confidence=0.99)
    assert wider.low < interval.low < interval.high < wider.high
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_interval(difference, np.zeros(400), confidence=95)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        interval = bootstrap_interval(rng.normal(0.2, 1, 60), np.zeros(60), confidence=0.9, samples=500, seed=trial)
        covered += interval.low <= 0.2 <= interval.high
    assert 0.82 <= covered / 200 <= 0.96
