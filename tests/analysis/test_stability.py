"""Jacobians against autograd, eigenvalues against LAPACK, Turing's condition against its meaning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.analysis.equilibria import fold, states
from rdmf.analysis.matrices import determinant, eigenvalues, radius, trace
from rdmf.analysis.stability import critical_ratio, growing_band, growth, jacobian, with_diffusion

CASES = settings(max_examples=60, deadline=None)
feeds = st.floats(1e-3, 0.24)
shares = st.floats(0.02, 0.98)
concentrations = st.floats(0.0, 2.0)


@CASES
@given(concentrations, concentrations, feeds, feeds)
def test_the_jacobian_is_autograds(a: float, s: float, f: float, k: float) -> None:
    def rate(point: torch.Tensor) -> torch.Tensor:
        x, y = point
        return torch.stack((x * x * y - (f + k) * x, f * (1 - y) - x * x * y))

    expected = torch.autograd.functional.jacobian(rate, torch.tensor([a, s], dtype=torch.float64))
    np.testing.assert_allclose(jacobian(a, s, f, k), expected.numpy(), rtol=1e-12, atol=1e-12)


@CASES
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_eigenvalues_are_lapacks(entries: list[float]) -> None:
    matrix = np.array(entries).reshape(2, 2)
    found = eigenvalues(matrix)
    # The eigenvalues of a defective matrix are known to the square root of the rounding only: compare what they solve.
    assert found.sum().real == pytest.approx(trace(matrix), abs=1e-12)
    assert np.prod(found).real == pytest.approx(determinant(matrix), abs=1e-9)
    expected = np.linalg.eigvals(matrix)
    assert found[0].real == pytest.approx(expected.real.max(), abs=1e-6)
    assert radius(matrix) == pytest.approx(np.abs(expected).max(), abs=1e-6)


def test_eigenvalues_at_known_points() -> None:
    # On the fold, the paper's kinetics: a = 1/5, s = 1/2, J = [[0.1, 0.04], [-0.2, -0.08]].
    at = states(0.04, 0.06)
    found = eigenvalues(jacobian(at.upper_a, at.upper_s, 0.04, 0.06))
    np.testing.assert_allclose(found, (0.02, 0.0), atol=1e-9)
    # k = 0.05: 1 - 4 c^2 / F = 0.19, a = 2/9 (1 + sqrt(0.19)), trace 0.05 - a^2, determinant 0.09 (a^2 - 0.04).
    a = 2 / 9 * (1 + np.sqrt(0.19))
    half, area = (0.05 - a**2) / 2, 0.09 * (a**2 - 0.04)
    at = states(0.04, 0.05)
    found = eigenvalues(jacobian(at.upper_a, at.upper_s, 0.04, 0.05))
    np.testing.assert_allclose(found[0], half + 1j * np.sqrt(area - half**2), atol=1e-12)
    assert found[0].real < -0.0259
    for k in (0.05, 0.06):
        np.testing.assert_allclose(eigenvalues(jacobian(0.0, 1.0, 0.04, k)), (-0.04, -0.04 - k), atol=1e-15)


@CASES
@given(feeds, shares)
def test_trace_and_determinant_have_their_closed_forms_and_decide(f: float, share: float) -> None:
    k = float(fold(f)) * share
    if k <= 1e-5:
        return
    at = states(f, k)
    upper = jacobian(at.upper_a, at.upper_s, f, k)
    assert trace(upper) == pytest.approx(k - at.upper_a**2, abs=1e-12)
    assert determinant(upper) == pytest.approx((f + k) * (at.upper_a**2 - f), abs=1e-12)
    margin = float(at.upper_a**2) - max(f, k)
    if abs(margin) > 1e-9:
        assert (eigenvalues(upper)[0].real < 0) == (margin > 0)
    assert eigenvalues(jacobian(at.lower_a, at.lower_s, f, k))[0].real > 0  # always a saddle


@CASES
@given(feeds, shares, st.floats(0.01, 0.25), st.floats(0.3, 3.0))
def test_turings_condition_is_that_some_wave_grows(f: float, share: float, d_a: float, over: float) -> None:
    k = float(fold(f)) * share
    at = states(f, k)
    if k <= 1e-5 or at.upper_a**2 <= 1.001 * max(f, k) or abs(over - 1) < 0.01:
        return
    ratio = float(critical_ratio(at.upper_a, f, k))
    assert ratio > 1  # the substrate must diffuse faster, whatever the kinetics
    d_s = d_a * ratio * over
    matrix = jacobian(at.upper_a, at.upper_s, f, k)
    # The wave most apt to grow has mu^2 = det J / (D_a D_s) at the critical ratio; look all around it, lattice or not.
    mu = np.geomspace(1e-3, 1e3, 4000) * np.sqrt(determinant(matrix) / (d_a * d_s))
    grows = growth(matrix, d_a, d_s, mu) > 0
    low, high = growing_band(at.upper_a, f, k, d_a, d_s)
    assert np.isfinite(low) == (over > 1)
    assert grows.any() == (over > 1)
    if over > 1:
        np.testing.assert_array_equal(grows, (mu > low) & (mu < high))


@CASES
@given(feeds, shares, st.floats(0.0, 0.25), st.floats(0.0, 0.25), st.floats(0.0, 4.0))
def test_diffusion_cannot_unsettle_the_trivial_state(f: float, k: float, d_a: float, d_s: float, mu: float) -> None:
    values = eigenvalues(with_diffusion(jacobian(0.0, 1.0, f, k), d_a, d_s, mu))
    np.testing.assert_allclose(np.sort(values.real), np.sort([-(f + k) - mu * d_a, -f - mu * d_s]), atol=1e-12)
