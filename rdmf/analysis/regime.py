"""What kind of system a pair of kinetics makes, in words: of the equations, and of the map that the network runs.

Both are classified at their own upper state, against the waves that a video can carry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdmf.analysis.coefficients import Coefficients
from rdmf.analysis.discrete import mode_map, step_jacobian
from rdmf.analysis.equilibria import FOLD_TOLERANCE, fold_margin, states
from rdmf.analysis.matrices import determinant, radius_of, trace
from rdmf.analysis.stability import growing_band

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

#: Every regime: a short name, and what it says. The position is the code.
REGIMES = (
    ("only the trivial state", "no non-trivial state exists: every field decays to a = 0, s = 1"),
    ("on the fold", "the two non-trivial states have just met in one, which does not attract"),
    ("bistable", "the non-trivial state attracts, and so does the trivial one: what a clip starts with decides"),
    ("Turing", "the non-trivial state attracts if nothing varies along time, and some waves around it grow"),
    ("oscillatory", "the non-trivial state exists and repels in growing oscillations"),
    ("repelling", "the non-trivial state exists and repels"),
    ("step too large", "the equations are stable at the non-trivial state, and the step overshoots it"),
)
TRIVIAL, FOLD, BISTABLE, TURING, OSCILLATORY, REPELLING, OVERSHOOT = range(len(REGIMES))


@dataclass(frozen=True)
class Map:
    """The map at its own upper state, arrays of the coefficients' shape.

    Attributes:
        regime: codes. rest: spectral radius where nothing varies along time. waves: the greatest over the video's
            waves, those of m >= 1. worst: mu of that wave. All NaN where there is no such state.
    """

    regime: Codes
    rest: Floats
    waves: Floats
    worst: Floats


def system_regime(c: Coefficients, mu: Floats) -> Codes:
    """Codes of the equations (continuous time).

    Args:
        mu: of the waves that the video can carry (`rdmf.analysis.modes.scale_modes`), rising; one scale at a time.
    """
    margin, a = fold_margin(c.feed, c.kill), states(c.feed, c.kill).upper_a
    low, high = growing_band(a, *c.arrays)
    waves = mu[mu > 0]
    with np.errstate(invalid="ignore"):
        inside = np.searchsorted(waves, high, side="left") - np.searchsorted(waves, low, side="right")
        grows = np.isfinite(low) & (inside > 0)
        turn, area = c.kill - a**2, (c.feed + c.kill) * (a**2 - c.feed)
        repels = np.where(turn**2 < 4 * area, OSCILLATORY, REPELLING)
        code = np.where(turn < 0, np.where(grows, TURING, BISTABLE), repels)
    return np.where(np.abs(margin) <= FOLD_TOLERANCE, FOLD, np.where(margin < 0, TRIVIAL, code))


def map_regime(c: Coefficients, mu: Floats) -> Map:
    """The map of one step, Euler or split, at the state where it rests.

    Args:
        mu: as for `system_regime`.
    """
    margin, at = fold_margin(c.feed, c.kill, c.implicit), states(c.feed, c.kill, c.implicit)
    a = at.upper_a
    matrix = step_jacobian(a, at.upper_s, c.feed, c.kill, step=c.step, integrator=c.integrator)
    tr, det = trace(matrix), determinant(matrix)
    rest = radius_of(tr, det)
    waves, worst = np.full(a.shape, np.nan), np.full(a.shape, np.nan)
    flips = np.zeros(a.shape, dtype=bool)
    for m in mu[mu > 0]:
        wave = mode_map(matrix, m * c.step * c.activator, m * c.step * c.substrate, c.integrator)
        now = radius_of(trace(wave), determinant(wave))
        more = np.isnan(waves) | (now > waves)
        flips = np.where(more, trace(wave) < 0, flips)
        waves, worst = np.where(more, now, waves), np.where(more & np.isfinite(now), m, worst)
    stable_in_time = (a**2 > c.kill) & (a**2 > c.feed)
    with np.errstate(invalid="ignore"):
        lost = np.where(tr**2 < 4 * det, OSCILLATORY, REPELLING)
        lost = np.where(stable_in_time & (c.integrator == "euler"), OVERSHOOT, lost)
        waving = np.where(waves > 1, np.where(flips, OVERSHOOT, TURING), BISTABLE)
        code = np.where(rest < 1, waving, lost)
    code = np.where(np.abs(margin) <= FOLD_TOLERANCE, FOLD, np.where(margin < 0, TRIVIAL, code))
    return Map(code, rest, waves, worst)


def shares(codes: Codes) -> dict[str, float]:
    """{name: share} of the regimes that occur, the most frequent first."""
    counts = np.bincount(codes.reshape(-1), minlength=len(REGIMES))
    order = np.argsort(-counts, kind="stable")
    return {REGIMES[i][0]: float(counts[i] / codes.size) for i in order if counts[i]}
