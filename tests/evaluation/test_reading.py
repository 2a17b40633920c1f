"""Reading moments off a saliency curve, against a slow search."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.model.curves import logit, squashed, unsquashed
from rdmf.reading import choose_level, read_moments


def even(n: int) -> np.ndarray:
    return np.linspace(0, 1, n + 1)


def best_by_search(score: np.ndarray, level: float) -> float:
    """The largest sum of (score - level) over all runs."""
    inside = combinations_with_replacement(range(len(score)), 2)
    return max(float((score[a : b + 1] - level).sum()) for a, b in inside)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=9), min_size=1, max_size=4),
    st.floats(-3, 3),
)
def test_the_first_moment_is_the_largest_sum(lists: list[list[float]], level: float) -> None:
    scores = [np.array(values) for values in lists]
    durations = np.arange(1.0, len(scores) + 1) * 10
    spans, totals = read_moments(scores, [even(len(s)) for s in scores], durations, level, 3)
    for score, span, total, duration in zip(scores, spans, totals, durations, strict=True):
        assert total[0] == pytest.approx(best_by_search(score, level), abs=1e-9)
        first, last = np.round(span[0] / duration * len(score)).astype(int)
        assert (score[first:last] - level).sum() == pytest.approx(total[0], abs=1e-9)
        found = span[np.isfinite(total)]
        for a, b in zip(*np.triu_indices(len(found), 1), strict=True):  # disjoint, and best first
            assert found[a, 1] <= found[b, 0] + 1e-9 or found[b, 1] <= found[a, 0] + 1e-9
        assert (np.diff(total[np.isfinite(total)]) <= 1e-9).all()


def test_the_level_finds_windows_at_any_scale() -> None:
    rng = np.random.default_rng(0)
    for scale, shift in ((1.0, 0.0), (0.01, 7.0), (9.0, -4.0)):
        scores, windows = [], []
        for n in (20, 31, 44):
            a, b = sorted(rng.choice(n + 1, 2, replace=False))
            inside = (np.arange(n) >= a) & (np.arange(n) < b)
            scores.append(shift + scale * (inside + 0.2 * rng.standard_normal(n)))
            windows.append(np.array([[a / n, b / n]]))
        _, miou = choose_level(scores, [even(len(s)) for s in scores], windows)
        assert miou > 85


def test_of_equal_levels_the_middle_one_is_taken() -> None:
    score, window = np.array([-9.0, -9, 9, 9, -9]), np.array([[0.4, 0.8]])
    level, miou = choose_level([score], [even(5)], [window])
    assert miou == pytest.approx(100)
    assert abs(level) <= 1  # every level between -9 and 9 is right; the ends of that range are not the ones to take


def test_logit_undoes_the_sigmoid_and_stays_finite() -> None:
    x = np.linspace(-9, 9, 19)
    assert logit(1 / (1 + np.exp(-x))) == pytest.approx(x, abs=1e-6)
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()


@given(st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=9))
def test_scores_that_are_no_logits_come_back_from_the_unit_interval(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float32)
    curve = squashed(x)
    assert ((curve > 0) & (curve < 1)).all()
    assert unsquashed(curve.numpy()) == pytest.approx(x.double().numpy(), abs=1e-6, rel=2e-5 if x.max() > 0 else 1e-6)
    assert (torch.diff(curve[x.argsort()]) >= 0).all()


def test_the_ends_of_the_unit_interval_are_finite_scores() -> None:
    assert np.isfinite(unsquashed(np.array([0.0, 1.0]))).all()
    assert unsquashed(np.array([0.5])) == pytest.approx(0)
