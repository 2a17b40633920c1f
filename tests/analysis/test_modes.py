"""The waves of a video are the eigenvectors of the Laplacian that the model uses, ends and time scales included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.analysis.modes import combs, cosine, modes, scale_modes, wavelength, wavenumber
from rdmf.model.reaction import spread

CASES = settings(max_examples=40, deadline=None)


def operator(clips: int, scale: int) -> np.ndarray:
    """The matrix of the model's Laplacian for one channel of a group, with padding behind the video."""
    scales, width = 2**scale, 2**scale
    field = torch.zeros(clips, clips + 3, width, dtype=torch.float64)
    field[:, :clips, scale] = torch.eye(clips, dtype=torch.float64)
    mask = torch.zeros(clips, clips + 3, dtype=torch.bool)
    mask[:, :clips] = True
    return (
        spread(field, mask, scales)[:, :clips, scale].numpy()
        if scales > 1
        else spread(field, mask, 1)[:, :clips, 0].numpy()
    )


@CASES
@given(st.integers(1, 40))
def test_cosines_are_the_modes(clips: int) -> None:
    laplacian, mu = operator(clips, 0), modes(clips)
    for m in range(clips):
        np.testing.assert_allclose(laplacian @ cosine(clips, m), -mu[m] * cosine(clips, m), atol=1e-12)
    assert mu[0] == 0
    assert (np.diff(mu) > 0).all()
    assert mu[-1] < 4


@CASES
@given(st.integers(1, 33), st.integers(0, 3))
def test_the_spectrum_of_a_time_scale_is_that_of_its_combs(clips: int, scale: int) -> None:
    exact = np.sort(-np.linalg.eigvalsh(operator(clips, scale)))
    lengths = combs(clips, scale)
    assert sum(lengths) == clips
    told = np.sort(np.concatenate([modes(n) for n in lengths]))
    np.testing.assert_allclose(told, exact, atol=1e-10)
    distinct = scale_modes(clips, scale)
    assert (np.diff(distinct) > 1e-14).all()
    np.testing.assert_allclose(distinct[np.abs(distinct[None] - exact[:, None]).argmin(1)], exact, atol=1e-10)


def test_a_pattern_that_differs_between_combs_is_not_smoothed() -> None:
    field = np.arange(12) % 4  # constant on each comb of reach 4
    np.testing.assert_allclose(operator(12, 2) @ field, 0, atol=1e-15)
    assert np.abs(operator(12, 0) @ field).max() > 1


@pytest.mark.parametrize("scale", [0, 1, 3])
def test_far_from_the_ends_a_wave_has_the_symbol_of_its_reach(scale: int) -> None:
    clips, wave = 200, 37.0
    field = np.cos(2 * np.pi * np.arange(clips) / wave + 0.3)
    inside = slice(2**scale, clips - 2**scale)
    mu = wavenumber(wave, scale)
    np.testing.assert_allclose((operator(clips, scale) @ field)[inside], -mu * field[inside], atol=1e-12)
    assert wavelength(mu, scale) == pytest.approx(wave)


def test_wavelengths_of_modes() -> None:
    np.testing.assert_allclose(wavelength(modes(10)[1:]), 20 / np.arange(1, 10))
    assert wavelength(0.0) == np.inf
    assert wavelength(4.0) == pytest.approx(2)
