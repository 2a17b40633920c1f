"""growth_rate.png: how fast every wave grows or decays, in the equations, in one step as run, and in temporal
diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rdmf.analysis.discrete import mode_map, step_jacobian
from rdmf.analysis.equilibria import states
from rdmf.analysis.matrices import radius
from rdmf.analysis.modes import scale_modes, wavelength
from rdmf.analysis.smoothing import gain, half_power_wavelength
from rdmf.analysis.stability import growth, jacobian
from rdmf.analysis.summary import uniform
from rdmf_pipelines.analysis.style import SCALE_COLOURS, bare, new_figure
from rdmf_pipelines.plots import FAINT, INK

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from rdmf.analysis.coefficients import Coefficients
    from rdmf.analysis.model import Block, System

#: Pairs of query and channel that a band is drawn of; more are thinned evenly.
MOST = 4000


def draw(system: System, *, clips: int) -> Figure:
    """Two panels a block (equations, one step) and one for temporal diffusion, against wavelength in clips."""
    rows = len(system.blocks) + 1
    figure = new_figure(11.0, 3.1 * rows + (0.5 if system.blocks else 0.1), layout="constrained")
    grid = figure.add_gridspec(rows, 2)
    for i, block in enumerate(system.blocks):
        left, right = (figure.add_subplot(grid[i, j]) for j in (0, 1))
        eta = block.coefficients.step
        _curves(left, block, clips, _rates)
        left.axhline(0, color=INK, linewidth=0.8)
        bare(left, title=f"{block.name}: growth rate (equations)", x="wavelength, clips", y="per unit of time")
        _curves(right, block, clips, _multipliers)
        right.axhline(1, color=INK, linewidth=0.8)
        name = f"{block.coefficients.integrator}, step {eta:g}"
        bare(right, title=f"{block.name}: |multiplier| of one step ({name})", x="wavelength, clips", y="times a step")
        for axis in (left, right):
            _wavelengths(axis, _longest(block.scale, clips))
        if i == 0:
            figure.legend(
                handles=_key(block, uniform(block.coefficients)),
                loc="outside upper center",
                ncols=5,
                fontsize=8,
                frameon=False,
            )
    _diffusion(figure.add_subplot(grid[-1, :]), system, clips)
    return figure


def _key(block: Block, alone: bool) -> list[Any]:
    """What the lines of the upper panels are."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    scales = np.unique(block.scale)
    names = ["upper state"] if len(scales) == 1 else [f"upper state, reach {2 ** int(s)}" for s in scales]
    out: list[Any] = [
        Line2D([], [], color=SCALE_COLOURS[int(s) % len(SCALE_COLOURS)], label=name) for s, name in zip(scales, names)
    ]
    if not alone:
        out.append(
            Patch(color=FAINT, alpha=0.3, linewidth=0, label="5 to 95% of the pairs that have one, line: median")
        )
        out.append(Line2D([], [], color=FAINT, linestyle=":", label="greatest of all pairs"))
    out.append(
        Line2D(
            [],
            [],
            color=FAINT,
            linestyle="--",
            label="trivial state" + ("" if alone else ", medians") + (", reach 1" if len(scales) > 1 else ""),
        )
    )
    return out


def _longest(scales: Any, clips: int) -> float:
    """The longest wave that any channel group can carry, in clips."""
    waves = [float(wavelength(mu[1], int(s))) for s in np.unique(scales) if len(mu := scale_modes(clips, int(s))) > 1]
    return max(2.0 * clips, 4.0, *waves)


def _rates(c: Coefficients, mu: Any, trivial: bool) -> Any:
    at = states(c.feed, c.kill)
    a, s = (0.0, 1.0) if trivial else (at.upper_a, at.upper_s)
    return growth(jacobian(a, s, c.feed, c.kill), c.activator, c.substrate, mu)


def _multipliers(c: Coefficients, mu: Any, trivial: bool) -> Any:
    at = states(c.feed, c.kill, c.implicit)
    a, s = (0.0, 1.0) if trivial else (at.upper_a, at.upper_s)
    matrix = step_jacobian(a, s, c.feed, c.kill, step=c.step, integrator=c.integrator)
    return radius(mode_map(matrix, mu * c.step * c.activator, mu * c.step * c.substrate, c.integrator))


def _curves(axis: Any, block: Block, clips: int, value: Callable[[Coefficients, Any, bool], Any]) -> None:
    """Per time scale the median over pairs that have an upper state with a band of 90 %; or the one curve there is."""
    alone = uniform(block.coefficients)
    whole = block.coefficients.mapped(lambda v: v.reshape(-1))
    exists = np.isfinite(value(whole, 0.0, False))
    for scale in np.unique(block.scale):
        at = np.flatnonzero((np.broadcast_to(block.scale, block.coefficients.feed.shape).reshape(-1) == scale) & exists)
        at = at[:1] if alone else at[:: -(-len(at) // MOST) or 1]
        mu = scale_modes(clips, int(scale))[1:]
        if not len(at) or not len(mu):
            continue
        found = np.stack([value(whole.pick(at), m, False) for m in mu])  # (modes, pairs)
        colour = SCALE_COLOURS[int(scale) % len(SCALE_COLOURS)]
        x = wavelength(mu, int(scale))
        if alone:
            axis.plot(x, found[:, 0], "o-", color=colour, markersize=2.5, linewidth=1.2)
            continue
        low, mid, high = np.quantile(found, (0.05, 0.5, 0.95), axis=1)
        axis.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
        axis.plot(x, mid, color=colour, linewidth=1.4)
        axis.plot(x, found.max(1), color=colour, linewidth=0.8, linestyle=":")
    if not exists.any():
        axis.text(0.98, 0.05, "there is no upper state", transform=axis.transAxes, ha="right", fontsize=9, color=INK)
    mu = scale_modes(clips)[1:]
    if len(mu):
        trivial = [float(value(whole.median(), m, True)[0]) for m in mu]
        axis.plot(wavelength(mu), trivial, color=FAINT, linewidth=1.2, linestyle="--")


def _diffusion(axis: Any, system: System, clips: int) -> None:
    steps, rate = system.config.diffusion.steps, system.rate
    waves = np.geomspace(2, max(2.0 * clips, 4), 400)
    kept = gain(rate[None], steps, 4 * np.sin(np.pi / waves[:, None]) ** 2)
    middle = np.median(kept, 1)
    axis.plot(waves, middle, color=INK, linewidth=1.6, label=f"what {steps} steps leave of a wave's amplitude")
    if len(rate) > 1:
        axis.fill_between(
            waves, kept.min(1), kept.max(1), color=INK, alpha=0.12, linewidth=0, label="least to greatest channel"
        )
    half = float(np.median(half_power_wavelength(rate, steps)))
    if half > 0:
        axis.axvline(half, color=FAINT, linewidth=1, linestyle="--", label=f"half the power: {half:.1f} clips")
    axis.axhline(0, color=FAINT, linewidth=0.8)
    told = f"{float(np.median(rate)):.3f}" if len(rate) == 1 else f"{rate.min():.3f} to {rate.max():.3f}"
    bare(axis, title=f"temporal diffusion: {steps} steps at eta D = {told}", x="wavelength, clips", y="amplitude kept")
    axis.set_ylim(min(-0.04, float(kept.min()) - 0.04), 1.04)
    axis.legend(fontsize=8, frameon=False, loc="lower right")
    _wavelengths(axis, max(2.0 * clips, 4.0))


def _wavelengths(axis: Any, longest: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ticks = [t for n in range(1, 20) for t in (2**n, 3 * 2 ** (n - 1)) if t <= longest]
    axis.set_xscale("log")
    axis.set_xlim(1.9, 1.08 * longest)
    axis.xaxis.set_major_locator(FixedLocator(ticks if len(ticks) < 12 else ticks[::2]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
