"""The map of one step: its Jacobian against autograd, its multipliers against steps, its limits against what breaks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.analysis.discrete import (
    certain_step,
    efolding_steps,
    euler_step_limit,
    implicit,
    mode_map,
    positive_step_limit,
    step_jacobian,
)
from rdmf.analysis.equilibria import fold, states
from rdmf.analysis.matrices import eigenvalues, radius
from rdmf.analysis.modes import cosine, modes
from rdmf.analysis.stability import jacobian, with_diffusion
from rdmf.model.reaction import Kinetics, gray_scott

CASES = settings(max_examples=50, deadline=None)
rates = st.floats(0.005, 0.24)
concentrations = st.floats(0.0, 2.0)
steps_taken = st.floats(0.01, 2.0)
integrators = st.sampled_from(["euler", "split"])


def kinetics(d_a: float, d_s: float, f: float, k: float) -> Kinetics:
    """Of one step, so diffusion is eta * D."""
    return Kinetics(*(torch.tensor([v], dtype=torch.float64) for v in (d_a, d_s, f, k)))


def step(
    a: np.ndarray, s: np.ndarray, r: Kinetics, eta: float, integrator: str, count: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Steps of one channel: fields (L,)."""
    fields = [torch.from_numpy(np.ascontiguousarray(v))[None, :, None] for v in (a, s)]
    mask = torch.ones(1, len(a), dtype=torch.bool)
    out = gray_scott(fields[0], fields[1], mask, r, steps=count, step_size=eta, integrator=integrator)
    return out[0][0, :, 0].numpy(), out[1][0, :, 0].numpy()


@CASES
@given(concentrations, concentrations, rates, rates, steps_taken, integrators)
def test_the_jacobian_of_a_step_is_autograds(
    a: float, s: float, f: float, k: float, eta: float, integrator: str
) -> None:
    def once(point: torch.Tensor) -> torch.Tensor:
        fields = (point[0].reshape(1, 1, 1), point[1].reshape(1, 1, 1))
        mask = torch.ones(1, 1, dtype=torch.bool)
        options = {"steps": 1, "step_size": eta, "integrator": integrator, "fused": False}
        return torch.stack([v.reshape(()) for v in gray_scott(*fields, mask, kinetics(0.1, 0.1, f, k), **options)])  # type: ignore[arg-type]

    expected = torch.autograd.functional.jacobian(once, torch.tensor([a, s], dtype=torch.float64)).numpy()
    np.testing.assert_allclose(step_jacobian(a, s, f, k, step=eta, integrator=integrator), expected, atol=1e-12)


@CASES
@given(rates, st.floats(0.1, 0.95), rates, rates, steps_taken, integrators, st.integers(2, 15), st.integers(0, 14))
def test_a_step_multiplies_a_small_cosine_by_the_mode_map(
    f: float, share: float, d_a: float, d_s: float, eta: float, integrator: str, clips: int, mode: int
) -> None:
    k = float(fold(f, implicit(eta, integrator))) * share
    if k < 1e-4:
        return
    at = states(f, k, implicit(eta, integrator))
    wave, small = cosine(clips, mode % clips), 1e-6
    direction = np.array([0.8, -0.6])
    moved = step(
        at.upper_a + small * direction[0] * wave,
        at.upper_s + small * direction[1] * wave,
        kinetics(d_a, d_s, f, k),
        eta,
        integrator,
    )
    mu = modes(clips)[mode % clips]
    matrix = mode_map(
        step_jacobian(at.upper_a, at.upper_s, f, k, step=eta, integrator=integrator), mu * d_a, mu * d_s, integrator
    )
    expected = matrix @ direction
    for field, rest, size in zip(moved, (at.upper_a, at.upper_s), expected):
        np.testing.assert_allclose((field - rest) / small, size * wave, atol=2e-5)


@CASES
@given(rates, st.floats(0.1, 0.95), rates, rates, steps_taken)
def test_eulers_multipliers_are_one_plus_eta_lambda(f: float, share: float, d_a: float, d_s: float, eta: float) -> None:
    k = float(fold(f)) * share
    if k < 1e-4:
        return
    at, mu = states(f, k), modes(9)
    reaction = step_jacobian(at.upper_a, at.upper_s, f, k, step=eta, integrator="euler")
    lambdas = eigenvalues(with_diffusion(jacobian(at.upper_a, at.upper_s, f, k), d_a, d_s, mu))
    found = radius(mode_map(reaction, eta * mu * d_a, eta * mu * d_s, "euler"))
    np.testing.assert_allclose(found, np.abs(1 + eta * lambdas).max(1), atol=1e-9)
    limit = float(euler_step_limit(lambdas).min())
    if limit > 0:
        for share_of_limit, decays in ((0.999, True), (1.001, False)):
            now = share_of_limit * limit
            assert (np.abs(1 + now * lambdas).max() < 1) == decays
    else:
        assert lambdas.real.max() >= 0


@CASES
@given(rates, st.floats(0.1, 0.9), rates, rates, st.sampled_from([1, 4, 8]))
def test_multipliers_are_those_of_the_equations_as_the_step_goes_to_zero(
    f: float, share: float, d_a: float, d_s: float, mode: int
) -> None:
    """|multiplier - exp(eta lambda)| / eta falls in proportion to eta: both integrators are of order one."""
    k = float(fold(f)) * share
    if k < 1e-3:
        return
    mu = modes(9)[mode]
    at = states(f, k)
    exact = eigenvalues(with_diffusion(jacobian(at.upper_a, at.upper_s, f, k), d_a, d_s, mu))
    for integrator in ("euler", "split"):
        errors = []
        for eta in (1e-3, 1e-4):
            own = states(f, k, implicit(eta, integrator))
            reaction = step_jacobian(own.upper_a, own.upper_s, f, k, step=eta, integrator=integrator)
            found = eigenvalues(mode_map(reaction, eta * mu * d_a, eta * mu * d_s, integrator))
            trace_error = abs(found.sum() - np.exp(eta * exact).sum()) / eta
            errors.append(trace_error)
        assert errors[1] < 0.2 * errors[0] + 1e-9


@CASES
@given(rates, rates, rates, rates, st.floats(0.5, 2.0), st.floats(0.05, 1.0), st.integers(0, 2**16))
def test_within_the_limit_euler_keeps_concentrations_positive(
    f: float, k: float, d_a: float, d_s: float, peak: float, share: float, seed: int
) -> None:
    eta = share * float(positive_step_limit(f, k, d_a, d_s, peak))
    rng = np.random.default_rng(seed)
    a, s = peak * rng.integers(0, 2, 9).astype(float), rng.integers(0, 2, 9).astype(float)  # corners are the worst
    a_next, s_next = step(a, s, kinetics(eta * d_a, eta * d_s, f, k), eta, "euler")
    assert a_next.min() >= -1e-12
    assert s_next.min() >= -1e-12
    assert s_next.max() <= 1 + 1e-12


@CASES
@given(rates, rates, rates, rates, st.floats(0.6, 2.0))
def test_beyond_the_limit_it_does_not(f: float, k: float, d_a: float, d_s: float, peak: float) -> None:
    eta = 1.01 * float(positive_step_limit(f, k, d_a, d_s, peak))
    spike, full, empty = np.array([0.0, 0.0, peak, 0.0, 0.0]), np.array([0.0, 0.0, 1.0, 0.0, 0.0]), np.zeros(5)
    lows = [
        min(v.min() for v in step(a, s, kinetics(eta * d_a, eta * d_s, f, k), eta, "euler"))
        for a, s in ((spike, full), (spike, empty))
    ]
    assert min(lows) < 0


@settings(max_examples=25, deadline=None)
@given(rates, rates, rates, rates, st.integers(1, 7), st.integers(0, 2**16))
def test_the_certain_step_is_certain(f: float, k: float, d_a: float, d_s: float, count: int, seed: int) -> None:
    eta, peak = (float(v) for v in certain_step(f, k, d_a, d_s, steps=count))
    assert 0 < eta <= float(positive_step_limit(f, k, d_a, d_s)) + 1e-12
    rng = np.random.default_rng(seed)
    a, s = (rng.integers(0, 2, 11).astype(float) for _ in range(2))
    for _ in range(count):
        a, s = step(a, s, kinetics(eta * d_a, eta * d_s, f, k), eta, "euler")
        assert a.min() >= -1e-12
        assert s.min() >= -1e-12
        assert s.max() <= 1 + 1e-12
    assert a.max() <= peak + 1e-9


def test_efolding() -> None:
    assert efolding_steps(np.exp(-0.1)) == pytest.approx(10)
    assert efolding_steps(np.exp(0.1)) == pytest.approx(10)
    assert efolding_steps(1.0) == np.inf
