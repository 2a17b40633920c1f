"""What the steps of the reaction must keep to: bounds, padding, conservation, and the equations as the step shrinks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from rdmf.analysis.modes import cosine, modes
from rdmf.model.reaction import Kinetics, gray_scott, spread

CASES = settings(max_examples=25, deadline=None)
lengths = st.lists(st.integers(1, 17), min_size=1, max_size=4)
rates = st.floats(1e-4, 0.25)
seeds = st.integers(0, 2**16)
integrators = st.sampled_from(["euler", "split"])
scales = st.sampled_from([1, 2, 4])


def fields(counts: list[int], seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two fields of four channels in [0, 1], with rubbish in the padding, and their mask."""
    rng = np.random.default_rng(seed)
    mask = torch.arange(max(counts))[None] < torch.tensor(counts)[:, None]
    a, s = (torch.from_numpy(rng.random((len(counts), max(counts), 4))) for _ in range(2))
    return torch.where(mask[..., None], a, 50.0), torch.where(mask[..., None], s, -9.0), mask


def kinetics(*values: float) -> Kinetics:
    return Kinetics(*(torch.tensor([v], dtype=torch.float64) for v in values))


@CASES
@given(lengths, rates, rates, rates, rates, st.floats(0.01, 2.0), scales, st.integers(1, 30), seeds)
def test_split_is_positive_and_bounded_at_any_step(
    counts: list[int], d_a: float, d_s: float, f: float, k: float, eta: float, groups: int, steps: int, seed: int
) -> None:
    a, s, mask = fields(counts, seed)
    a, s = gray_scott(a, s, mask, kinetics(d_a, d_s, f, k), steps=steps, step_size=eta, scales=groups)
    assert a[mask].min() >= -1e-12
    assert a[mask].max() <= max(1.0, 1 / (eta * (f + k))) + 1e-9
    assert s[mask].min() >= -1e-12
    assert s[mask].max() <= 1 + 1e-12


@CASES
@given(lengths, integrators, scales, st.booleans(), seeds)
def test_nothing_leaks_from_padding_or_neighbours(
    counts: list[int], integrator: str, groups: int, fused: bool, seed: int
) -> None:
    a, s, mask = fields(counts, seed)
    options = {"steps": 4, "step_size": 0.8, "scales": groups, "integrator": integrator, "fused": fused}
    together = gray_scott(a, s, mask, kinetics(0.2, 0.1, 0.04, 0.05), **options)  # type: ignore[arg-type]
    for i, n in enumerate(counts):
        row = slice(i, i + 1)
        alone = gray_scott(a[row, :n], s[row, :n], mask[row, :n], kinetics(0.2, 0.1, 0.04, 0.05), **options)  # type: ignore[arg-type]
        for both, one in zip(together, alone):
            torch.testing.assert_close(both[i, :n], one[0], rtol=0, atol=1e-14)


@CASES
@given(lengths, rates, rates, st.floats(0.01, 2.0), integrators, scales, seeds)
def test_where_diffusion_acts_alone_each_species_is_conserved(
    counts: list[int], d_a: float, d_s: float, eta: float, integrator: str, groups: int, seed: int
) -> None:
    """Without feed and kill, and with one species absent, nothing reacts: only diffusion moves the other."""
    a, s, mask = fields(counts, seed)
    nothing = torch.zeros_like(a)
    for first, second, which in ((a, nothing, 0), (nothing, s, 1)):
        out = gray_scott(
            first,
            second,
            mask,
            kinetics(d_a, d_s, 0.0, 0.0),
            steps=7,
            step_size=eta,
            scales=groups,
            integrator=integrator,
        )
        before = (first, second)[which]
        for i, n in enumerate(counts):
            torch.testing.assert_close(out[which][i, :n].sum(0), before[i, :n].sum(0), rtol=0, atol=1e-10)
            assert out[1 - which][i, :n].abs().max() == 0
            assert out[which][i, :n].max() <= before[i, :n].max() + 1e-12


@CASES
@given(st.integers(2, 20), st.integers(0, 19), rates, st.integers(1, 10), integrators)
def test_alone_a_cosine_of_substrate_decays_at_the_rate_of_its_mode(
    clips: int, mode: int, d_s: float, steps: int, integrator: str
) -> None:
    wave = torch.from_numpy(0.5 + 0.4 * cosine(clips, mode % clips))[None, :, None]
    mask = torch.ones(1, clips, dtype=torch.bool)
    _, s = gray_scott(
        torch.zeros_like(wave),
        wave,
        mask,
        kinetics(0.1, d_s, 0.0, 0.1),
        steps=steps,
        step_size=1.0,
        integrator=integrator,
    )
    mean = 0.5 if mode % clips else 0.9
    swing = 0.4 * cosine(clips, mode % clips) if mode % clips else np.zeros(clips)
    expected = mean + (1 - d_s * modes(clips)[mode % clips]) ** steps * swing
    np.testing.assert_allclose(s[0, :, 0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("integrator", ["euler", "split"])
def test_both_integrators_converge_to_the_equations_at_order_one(integrator: str, groups: int) -> None:
    """Against an adaptive Runge-Kutta solution of the equations to ten digits, padding and all."""
    a, s, mask = fields([9, 6], seed=5)
    d_a, d_s, f, k, total = 0.15, 0.22, 0.04, 0.05, 6.0
    shape = a.shape

    def rate(_: float, flat: np.ndarray) -> np.ndarray:
        x, y = (torch.from_numpy(v.reshape(shape)) for v in np.split(flat, 2))
        reacted = x * x * y
        change = torch.stack(
            (
                d_a * spread(x, mask, groups) + reacted - (f + k) * x,
                d_s * spread(y, mask, groups) - reacted + f * (1 - y),
            )
        )
        return (change * mask[None, ..., None]).numpy().reshape(-1)

    a, s = a * mask[..., None], s * mask[..., None]
    start = torch.stack((a, s))
    solution = solve_ivp(rate, (0, total), start.numpy().reshape(-1), method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    exact = torch.from_numpy(solution.reshape(2, *shape))[:, mask]
    errors = []
    for steps in (64, 128, 256):
        eta = total / steps
        out = gray_scott(
            a,
            s,
            mask,
            kinetics(eta * d_a, eta * d_s, f, k),
            steps=steps,
            step_size=eta,
            scales=groups,
            integrator=integrator,
        )
        errors.append(float((torch.stack(out)[:, mask] - exact).abs().max()))
    assert errors[-1] < 0.02
    for coarse, fine in itertools.pairwise(errors):
        assert coarse / fine == pytest.approx(2, rel=0.06)
