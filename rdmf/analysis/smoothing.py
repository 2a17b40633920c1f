"""Temporal diffusion (paper 3.2) as a filter: K explicit steps multiply mode mu by (1 - r mu)^K with r = eta D.

For r <= 1/2 every step is a weighted mean of neighbours, so that no value leaves the range of the ones before (the
maximum principle). For r <= 1/4 the gain is positive for every wave; between, the shortest ones change their sign
with each step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rdmf.analysis.modes import wavelength

Floats = NDArray[np.float64]

MAXIMUM_PRINCIPLE, NO_ALTERNATION = 0.5, 0.25


def gain(rate: ArrayLike, steps: int, mu: ArrayLike) -> Floats:
    """What is left of the amplitude of mode mu."""
    return (1 - np.asarray(rate, dtype=np.float64) * np.asarray(mu, dtype=np.float64)) ** steps


def half_power_wavelength(rate: ArrayLike, steps: int) -> Floats:
    """Clips per wave of which K steps leave half the power, gain^2 = 1/2; shorter ones keep less, longer ones more.

    0 where even the shortest wave, of two clips, keeps more than half.
    """
    r = np.asarray(rate, dtype=np.float64)
    if steps == 0:
        return np.zeros_like(r)
    with np.errstate(divide="ignore"):
        mu = (1 - 0.5 ** (1 / (2 * steps))) / r
    return np.where(mu < 4, wavelength(np.minimum(mu, 4)), 0.0)


def heat(rate: ArrayLike, steps: int, mu: ArrayLike) -> Floats:
    """What the heat equation itself would leave after the same time, exp(-r mu K): the limit of ever smaller steps."""
    return np.exp(-np.asarray(rate, dtype=np.float64) * steps * np.asarray(mu, dtype=np.float64))
