"""Temporal diffusion as a filter: single cosine modes decay at their rate, and the laws of heat hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.analysis.modes import cosine, modes, wavenumber
from rdmf.analysis.smoothing import gain, half_power_wavelength, heat
from rdmf.model.diffusion import diffuse, diffuse_by_steps

CASES = settings(max_examples=50, deadline=None)


def smooth(field: np.ndarray, rate: float, steps: int, padding: int = 0) -> np.ndarray:
    """The model's own diffusion of one channel, (L,), with rubbish in the padding behind it."""
    padded = torch.from_numpy(np.append(field, np.full(padding, 1e6)))[None, :, None]
    mask = (torch.arange(padded.shape[1]) < len(field))[None]
    return diffuse(padded, mask, torch.tensor([rate], dtype=torch.float64), steps)[0, : len(field), 0].numpy()


@CASES
@given(st.integers(1, 30), st.integers(0, 29), st.floats(0.0, 0.5), st.integers(0, 15), st.integers(0, 4))
def test_a_cosine_decays_at_the_rate_of_its_mode(clips: int, mode: int, rate: float, steps: int, padding: int) -> None:
    wave = cosine(clips, mode % clips)
    expected = gain(rate, steps, modes(clips)[mode % clips]) * wave
    np.testing.assert_allclose(smooth(wave, rate, steps, padding), expected, atol=1e-11)


@CASES
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20), st.floats(0.0, 0.5), st.integers(0, 12), st.integers(0, 3))
def test_nothing_leaves_the_range_and_nothing_is_lost(
    values: list[float], rate: float, steps: int, padding: int
) -> None:
    field = np.array(values)
    after = smooth(field, rate, steps, padding)
    assert after.max() <= field.max() + 1e-9
    assert after.min() >= field.min() - 1e-9
    assert after.sum() == pytest.approx(field.sum(), abs=1e-9)


def test_beyond_one_half_the_maximum_principle_fails_and_beyond_a_quarter_signs_alternate() -> None:
    spike = np.zeros(9)
    spike[4] = 1.0
    mask = torch.ones(1, 9, dtype=torch.bool)
    beyond = diffuse_by_steps(torch.from_numpy(spike)[None, :, None], mask, torch.tensor(0.51, dtype=torch.float64), 1)
    assert beyond.min() < 0
    shortest = modes(50)[-1]
    assert gain(0.25, 1, shortest) > 0
    assert gain(0.26, 1, shortest) < 0


@CASES
@given(st.floats(0.01, 0.25), st.integers(1, 40))
def test_the_half_power_wavelength_keeps_half_the_power(rate: float, steps: int) -> None:
    wave = float(half_power_wavelength(rate, steps))
    if wave == 0:
        assert gain(rate, steps, 4.0) ** 2 >= 0.5
        return
    assert gain(rate, steps, wavenumber(wave)) ** 2 == pytest.approx(0.5)
    assert gain(rate, steps, wavenumber(wave * 1.1)) ** 2 > 0.5


@CASES
@given(st.floats(0.1, 4.0), st.floats(0.05, 3.0))
def test_steps_tend_to_the_heat_equation_at_order_one(mu: float, total: float) -> None:
    """The error of the gain after a fixed time falls in proportion to the step."""
    errors = [abs(gain(total / n, n, mu) - heat(total / n, n, mu)) for n in (400, 800)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
