"""Where the reaction rests: the fold, the states, and the steps that must leave them where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.analysis.equilibria import (
    activator_nullcline,
    fold,
    fold_margin,
    hopf,
    states,
    substrate_nullcline,
)
from rdmf.model.reaction import Kinetics, gray_scott

CASES = settings(max_examples=60, deadline=None)
feeds = st.floats(1e-4, 0.24)
shares = st.floats(0.01, 0.98)


def one_step(a: float, s: float, f: float, k: float, eta: float, integrator: str) -> tuple[float, float]:
    """A step of one clip, where diffusion has nothing to do."""
    point = [torch.tensor([[[v]]], dtype=torch.float64) for v in (a, s)]
    rates = Kinetics(*(torch.tensor([v], dtype=torch.float64) for v in (0.1, 0.1, f, k)))
    mask = torch.ones(1, 1, dtype=torch.bool)
    out = gray_scott(point[0], point[1], mask, rates, steps=1, step_size=eta, integrator=integrator)
    return float(out[0]), float(out[1])


def test_the_papers_kinetics_lie_on_the_fold() -> None:
    assert fold_margin(0.04, 0.06) == pytest.approx(0, abs=1e-12)
    at = states(0.04, 0.06)
    assert (at.upper_a, at.upper_s) == (pytest.approx(0.2), pytest.approx(0.5))
    assert at.lower_a == at.upper_a
    # Beyond it there is no other state than the trivial one; before it there are two.
    assert np.isnan(states(0.04, 0.061).upper_a)
    near = states(0.04, 0.05)
    assert near.upper_a == pytest.approx(2 / 9 * (1 + np.sqrt(0.19)))
    assert near.upper_a > near.lower_a
    # The fold of the split step lies inside: at eta = 1 the paper's kinetics are beyond it.
    assert fold_margin(0.04, 0.06, implicit=1.0) < -0.03


@CASES
@given(feeds, shares, st.sampled_from([0.0, 0.01, 0.5, 1.0, 2.0]))
def test_the_states_solve_the_equations(f: float, share: float, implicit: float) -> None:
    k = float(fold(f, implicit)) * share
    if k <= 1e-6:
        return
    at = states(f, k, implicit)
    c = f + k
    effective = f / (1 + implicit * f)
    assert at.upper_a * at.lower_a == pytest.approx(effective, rel=1e-9)
    for a, s in ((at.upper_a, at.upper_s), (at.lower_a, at.lower_s)):
        consumed = a * a * s / (1 + implicit * a * a)
        assert consumed == pytest.approx(c * a, rel=1e-9)
        assert f * (1 - s) == pytest.approx(c * a, rel=1e-6, abs=1e-12)
        assert activator_nullcline(a, f, k, implicit) == pytest.approx(s, rel=1e-9)
        assert substrate_nullcline(a, f, implicit) == pytest.approx(s, rel=1e-6)
        assert 0 < s < 1


@CASES
@given(feeds, shares, st.floats(0.01, 2.0), st.sampled_from(["euler", "split"]))
def test_a_step_leaves_its_states_where_they_are(f: float, share: float, eta: float, integrator: str) -> None:
    implicit = eta if integrator == "split" else 0.0
    k = float(fold(f, implicit)) * share
    if k <= 1e-6:
        return
    at = states(f, k, implicit)
    for a, s in ((at.upper_a, at.upper_s), (at.lower_a, at.lower_s), (0.0, 1.0)):
        assert one_step(float(a), float(s), f, k, eta, integrator) == pytest.approx((a, s), abs=1e-12)


@CASES
@given(feeds)
def test_the_fold_is_where_states_end(f: float) -> None:
    k = float(fold(f))
    if k <= 1e-4:
        return
    assert fold_margin(f, k) == pytest.approx(0, abs=1e-9)
    assert np.isfinite(states(f, k * 0.999).upper_a)
    assert np.isnan(states(f, k * 1.001).upper_a)


def test_the_line_of_oscillations_is_where_the_trace_vanishes() -> None:
    a = np.linspace(0.01, 0.25, 50)
    f, k = hopf(a)
    np.testing.assert_allclose(states(f, k).upper_a, a, rtol=1e-6)
    np.testing.assert_allclose(k, a**2)
    assert (f[-1], k[-1]) == (pytest.approx(1 / 16), pytest.approx(1 / 16))
    assert fold_margin(f[-1], k[-1]) == pytest.approx(0, abs=1e-12)
