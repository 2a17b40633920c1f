"""One pair of kinetics looked at closely: every state, its eigenvalues, its waves, and what a step makes of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf.analysis.coefficients import Coefficients
from rdmf.analysis.discrete import (
    certain_step,
    efolding_steps,
    euler_step_limit,
    mode_map,
    positive_step_limit,
    step_jacobian,
)
from rdmf.analysis.equilibria import fold_margin, states
from rdmf.analysis.matrices import determinant, eigenvalues, radius, trace
from rdmf.analysis.modes import scale_modes, wavelength
from rdmf.analysis.regime import REGIMES, map_regime, system_regime
from rdmf.analysis.stability import critical_ratio, growing_band, growth, jacobian, with_diffusion

Floats = NDArray[np.float64]


def look_at(c: Coefficients, *, clips: int, steps: int, scale: int = 0) -> dict[str, Any]:
    """Everything about one operating point as JSON values; None stands where there is no such thing.

    Args:
        c: arrays of one element. clips: L of the video whose waves are meant. steps: N. scale: the channel group.

    Returns:
        "F", "k", "D_a", "D_s", "fold_margin", "regime" {"system", "map"}, "states" {"trivial", "upper", "lower"} (a, s,
        trace, determinant, eigenvalues, Euler's limits), "waves" (Turing's condition), "map", "euler". See `dispersion`
        for every single wave.
    """
    c = c.mapped(lambda v: v.reshape(1))
    f, k, d_a, d_s = (float(v[0]) for v in c.arrays)
    mu = scale_modes(clips, scale)
    both = states(f, k)
    system, of_map = int(system_regime(c, mu)[0]), map_regime(c, mu)
    found = {
        "trivial": _state(0.0, 1.0, c, mu),
        "upper": _state(float(both.upper_a), float(both.upper_s), c, mu),
        "lower": _state(float(both.lower_a), float(both.lower_s), c, mu),
    }
    certain, peak = certain_step(f, k, d_a, d_s, steps=steps)
    return {
        "F": f,
        "k": k,
        "D_a": d_a,
        "D_s": d_s,
        "fold_margin": float(fold_margin(f, k)),
        "regime": {"system": REGIMES[system][0], "map": REGIMES[int(of_map.regime[0])][0]},
        "states": found,
        "waves": _waves(c, mu, scale),
        "map": _map(c, mu, scale),
        "euler": {
            "positive_step_limit": float(positive_step_limit(f, k, d_a, d_s)),
            "certain_step": float(certain),
            "certain_peak": number(peak),
        },
    }


def dispersion(c: Coefficients, *, clips: int, scale: int = 0) -> list[dict[str, float | None]]:
    """The dispersion relation of one operating point: of every wave, the greatest growth rate and multiplier.

    Args: see `look_at`.

    Returns:
        For each mode "mu", "wavelength" (clips, None for mu = 0), and at either state "growth" of the equations per
        unit of time and "multiplier" of one step: "trivial_growth", "trivial_multiplier", "upper_growth",
        "upper_multiplier".
    """
    f, k, d_a, d_s = (float(v.reshape(-1)[0]) for v in c.arrays)
    mu = scale_modes(clips, scale)
    own, of_map = states(f, k), states(f, k, c.implicit)
    columns: dict[str, Floats] = {"mu": mu, "wavelength": wavelength(mu, scale)}
    for name, (a, s), (a_map, s_map) in (
        ("trivial", (0.0, 1.0), (0.0, 1.0)),
        ("upper", (own.upper_a, own.upper_s), (of_map.upper_a, of_map.upper_s)),
    ):
        columns[f"{name}_growth"] = growth(jacobian(a, s, f, k), d_a, d_s, mu)
        reaction = step_jacobian(a_map, s_map, f, k, step=c.step, integrator=c.integrator)
        columns[f"{name}_multiplier"] = radius(mode_map(reaction, mu * c.step * d_a, mu * c.step * d_s, c.integrator))
    return [{name: number(v[i]) for name, v in columns.items()} for i in range(len(mu))]


def _state(a: float, s: float, c: Coefficients, mu: Floats) -> dict[str, Any] | None:
    """Of the system at one of its states; `euler_step_limit` is that of the homogeneous state and of all waves."""
    if not math.isfinite(a):
        return None
    f, k, d_a, d_s = (float(v[0]) for v in c.arrays)
    matrix = jacobian(a, s, f, k)
    values = eigenvalues(matrix)
    every = eigenvalues(with_diffusion(matrix, d_a, d_s, mu))
    return {
        "a": a,
        "s": s,
        "trace": float(trace(matrix)),
        "determinant": float(determinant(matrix)),
        "eigenvalues": [[float(v.real), float(v.imag)] for v in values],
        "stable": bool(values[0].real < -1e-12),
        "euler_step_limit": {
            "homogeneous": float(euler_step_limit(values)),
            "all waves": float(euler_step_limit(every).min()),
        },
    }


def _waves(c: Coefficients, mu: Floats, scale: int) -> dict[str, Any] | None:
    """Turing's condition at the system's upper state; None where there is no such state."""
    f, k, d_a, d_s = (float(v[0]) for v in c.arrays)
    a, s = float(states(f, k).upper_a), float(states(f, k).upper_s)
    if not math.isfinite(a):
        return None
    low, high = (float(v) for v in growing_band(a, f, k, d_a, d_s))
    stable = a**2 > max(f, k)
    rates = growth(jacobian(a, s, f, k), d_a, d_s, mu)
    waves = mu[1:]
    fastest = int(np.argmax(rates[1:])) if len(waves) else None
    return {
        "ratio": d_s / d_a,
        "critical_ratio": float(critical_ratio(a, f, k)) if stable else None,
        "condition_met": bool(stable and math.isfinite(low)),
        "growing_wavelengths": sorted(float(w) for w in wavelength(waves[(waves > low) & (waves < high)], scale))
        if stable
        else None,
        "fastest_wavelength": None if fastest is None else float(wavelength(waves[fastest], scale)),
        "fastest_growth": None if fastest is None else float(rates[1:][fastest]),
    }


def _map(c: Coefficients, mu: Floats, scale: int) -> dict[str, Any]:
    """Of the map: its own upper state, the multipliers there and at the trivial state."""
    f, k, d_a, d_s = (float(v[0]) for v in c.arrays)
    at = states(f, k, c.implicit)
    found = map_regime(c, mu)
    options: dict[str, Any] = {"step": c.step, "integrator": c.integrator}
    nothing = step_jacobian(0.0, 1.0, f, k, **options)
    trivial = radius(mode_map(nothing, mu * c.step * d_a, mu * c.step * d_s, c.integrator))
    out: dict[str, Any] = {
        "fold_margin": float(fold_margin(f, k, c.implicit)),
        "trivial": {"radius": float(trivial.max()), "efolding_steps": number(efolding_steps(trivial.max()))},
        "upper": None,
    }
    if np.isfinite(at.upper_a):
        values = eigenvalues(step_jacobian(at.upper_a, at.upper_s, f, k, **options))
        rest, waves = float(found.rest[0]), number(found.waves[0])
        out["upper"] = {
            "a": float(at.upper_a),
            "s": float(at.upper_s),
            "multipliers": [[float(v.real), float(v.imag)] for v in values],
            "radius": rest,
            "efolding_steps": number(efolding_steps(rest)),
            "waves_radius": waves,
            "worst_wavelength": number(wavelength(found.worst[0], scale)),
        }
    return out


def number(value: Any) -> float | None:
    """A JSON number, or None for NaN and infinity."""
    return float(value) if math.isfinite(float(value)) else None
