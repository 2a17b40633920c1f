"""A whole model in numbers: what `analysis.json` holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf.analysis.coefficients import Coefficients
from rdmf.analysis.equilibria import fold_margin
from rdmf.analysis.model import Block, System
from rdmf.analysis.modes import combs, scale_modes
from rdmf.analysis.point import dispersion, look_at, number
from rdmf.analysis.regime import BISTABLE, TURING, Map, map_regime, shares, system_regime
from rdmf.analysis.smoothing import MAXIMUM_PRINCIPLE, NO_ALTERNATION, gain, half_power_wavelength

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def summarise(system: System, *, clips: int, sentences: Sequence[str] = ()) -> dict[str, Any]:
    """Every figure of a model, as JSON values.

    Args:
        clips: L of the video whose waves are meant.
        sentences: (Q,) what the rows of the coefficients were asked, where they were.
    """
    fusion = system.config.fusion
    return {
        "clips": clips,
        "cuts": bool(system.config.model.cuts),
        "settings": {
            name: getattr(fusion, name)
            for name in ("kind", "integrator", "step_size", "steps", "video", "order", "kinetics", "scales")
        },
        "driven_by_queries": system.driven,
        "queried": system.queried,
        "sentences": len(sentences) if system.queried else None,
        "temporal_diffusion": _smoothing(system, clips),
        "blocks": [_block(block, system, clips, sentences) for block in system.blocks],
    }


def classify(block: Block, clips: int) -> tuple[Codes, Map]:
    """Regimes of every (query, channel) of a block, each channel against the waves of its own time scale."""
    c = block.coefficients
    shape = c.feed.shape
    codes, of_map = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    rest, waves, worst = (np.full(shape, np.nan) for _ in range(3))
    for scale in np.unique(block.scale):
        chosen = block.scale == scale
        part, mu = c.pick((slice(None), chosen)), scale_modes(clips, int(scale))
        codes[:, chosen] = system_regime(part, mu)
        found = map_regime(part, mu)
        of_map[:, chosen], rest[:, chosen] = found.regime, found.rest
        waves[:, chosen], worst[:, chosen] = found.waves, found.worst
    return codes, Map(of_map, rest, waves, worst)


def uniform(c: Coefficients) -> bool:
    """Whether all channels and queries have the same coefficients."""
    return all(np.allclose(v, v.flat[0], rtol=1e-6, atol=0) for v in c.arrays)


def quantiles(values: Floats) -> dict[str, float | None]:
    """{"0%": ..., "5%": ..., ...}; NaN is left out."""
    known = values[np.isfinite(values)]
    if not known.size:
        return {f"{100 * q:g}%": None for q in QUANTILES}
    return {f"{100 * q:g}%": float(v) for q, v in zip(QUANTILES, np.quantile(known, QUANTILES))}


def _smoothing(system: System, clips: int) -> dict[str, Any]:
    steps, rate = system.config.diffusion.steps, system.rate
    mu = scale_modes(clips)
    kept = gain(rate[:, None], steps, mu[None])  # (c, L)
    return {
        "steps": steps,
        "channels": len(rate),
        "rate": quantiles(rate),
        "limit": system.config.diffusion.limit,
        "maximum_principle": bool(rate.max() <= MAXIMUM_PRINCIPLE),
        "alternates": bool(rate.max() > NO_ALTERNATION),
        "half_power_wavelength": quantiles(half_power_wavelength(rate, steps)),
        "gain": [{"mode": m, "mu": float(mu[m]), "median": float(np.median(kept[:, m]))} for m in range(len(mu))],
    }


def _block(block: Block, system: System, clips: int, sentences: Sequence[str]) -> dict[str, Any]:
    c = block.coefficients
    codes, of_map = classify(block, clips)
    fusion = system.config.fusion
    scales = []
    for scale in np.unique(block.scale):
        chosen = block.scale == scale
        scales.append(
            {
                "scale": int(scale),
                "reach_clips": 2 ** int(scale),
                "combs": combs(clips, int(scale)),
                "channels": int(chosen.sum()),
                "system": shares(codes[:, chosen]),
                "map": shares(of_map.regime[:, chosen]),
            }
        )
    out = {
        "name": block.name,
        "channels": c.feed.shape[1],
        "uniform": uniform(c),
        "coefficients": {
            "F": quantiles(c.feed),
            "k": quantiles(c.kill),
            "D_a": quantiles(c.activator),
            "D_s": quantiles(c.substrate),
            "D_s / D_a": quantiles(c.substrate / c.activator),
            "fold_margin": quantiles(fold_margin(c.feed, c.kill)),
            "map_fold_margin": quantiles(fold_margin(c.feed, c.kill, c.implicit)),
        },
        "shares": {
            "system": shares(codes),
            "map": shares(of_map.regime),
            "substrate_faster": float((c.substrate > c.activator).mean()),
        },
        "map": {
            "radius_at_rest": quantiles(of_map.rest),
            "radius_of_waves": quantiles(of_map.waves),
            "largest_radius": number(np.nanmax(np.fmax(of_map.rest, of_map.waves), initial=-np.inf)),
        },
        "scales": scales,
        "middle": look_at(c.median(), clips=clips, steps=fusion.steps, scale=0),
        "middle_of_attracting": _middle_of_attracting(c, codes, clips, fusion.steps),
        "dispersion": dispersion(c.median(), clips=clips),
        "by_channel": _channels(block, codes, of_map, clips, fusion.steps),
    }
    if system.queried:
        out["by_query"] = _queries(c, codes, sentences)
    return out


def _middle_of_attracting(c: Coefficients, codes: Codes, clips: int, steps: int) -> dict[str, Any] | None:
    """The median of the pairs whose non-trivial state attracts, where that is not all of them."""
    attracts = np.isin(codes, (BISTABLE, TURING))
    if attracts.all() or not attracts.any():
        return None
    return look_at(c.pick(attracts).median(), clips=clips, steps=steps, scale=0)


def _channels(block: Block, codes: Codes, of_map: Map, clips: int, steps: int) -> list[dict[str, Any]]:
    """Each channel: its regimes' shares of the queries, and a close look at its median over them."""
    out = []
    for i in range(block.coefficients.feed.shape[1]):
        scale, median = int(block.scale[i]), block.coefficients.pick((slice(None), i)).median()
        out.append(
            {
                "channel": i,
                "scale": scale,
                "system": shares(codes[:, i]),
                "map": shares(of_map.regime[:, i]),
                "median": look_at(median, clips=clips, steps=steps, scale=scale),
            }
        )
    return out


def _queries(c: Coefficients, codes: Codes, sentences: Sequence[str]) -> list[dict[str, Any]]:
    """Each sentence: medians over the channels, and the share of channels whose non-trivial state attracts."""
    attracts = np.isin(codes, (BISTABLE, TURING)).mean(1)
    waves = (codes == TURING).mean(1)
    return [
        {
            "sentence": sentence,
            **{name: float(np.median(v[i])) for name, v in zip(("F", "k", "D_a", "D_s"), c.arrays)},
            "attracting": float(attracts[i]),
            "turing": float(waves[i]),
        }
        for i, sentence in enumerate(sentences)
    ]
