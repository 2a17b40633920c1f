"""kinetics.png: the coefficients of every channel and query, against the lines that part the regimes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rdmf.analysis.equilibria import fold, hopf
from rdmf.analysis.summary import classify
from rdmf_pipelines.analysis.style import bare, new_figure, percent, regime_points
from rdmf_pipelines.plots import FAINT, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rdmf.analysis.model import Block, System

#: Points that are drawn of a block; more are thinned evenly.
MOST = 6000


def draw(system: System, *, clips: int) -> Figure:
    """Two panels a block: (F, k) with the fold and the line where oscillations set in, and (D_a, D_s)."""
    rows = len(system.blocks)
    figure = new_figure(11.0, 4.6 * rows, layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False)
    for block, (left, right) in zip(system.blocks, axes):
        codes, _ = classify(block, clips)
        flat = codes.reshape(-1)
        thin = slice(None, None, -(-len(flat) // MOST) or 1)
        f, k, d_a, d_s = (v.reshape(-1)[thin] for v in block.coefficients.arrays)
        regime_points(left, f, k, flat[thin])
        _lines(left, block, float(max(f.max(), 0.1)))
        start = system.config.fusion
        left.plot(
            start.feed, start.kill, "*", color=INK, markersize=11, mfc="white", label="the settings' F, k", zorder=6
        )
        bare(left, title=f"{block.name}: feed and kill rate, by regime", x="feed rate F", y="kill rate k")
        left.set(xlim=(0, 1.06 * max(f.max(), 0.1)), ylim=(0, 1.3 * max(k.max(), 0.1)))
        left.legend(
            fontsize=7.5, frameon=True, framealpha=0.85, edgecolor="none", loc="upper left", ncols=2, labelspacing=0.3
        )
        regime_points(right, d_a, d_s, flat[thin])
        highest = 1.06 * max(d_a.max(), d_s.max())
        right.plot([0, highest], [0, highest], color=FAINT, linewidth=1, linestyle="--")
        faster = float((block.coefficients.substrate > block.coefficients.activator).mean())
        right.text(
            0.02,
            0.985,
            f"substrate faster: {percent(faster)}",
            transform=right.transAxes,
            va="top",
            fontsize=8,
            color=INK,
        )
        bare(
            right,
            title=f"{block.name}: diffusion, clips² per unit of time",
            x="activator's $D_a$",
            y="substrate's $D_s$",
        )
        right.set(xlim=(0, highest), ylim=(0, 1.1 * highest))
    return figure


def _lines(axis: Any, block: Block, widest: float) -> None:
    feed = np.linspace(1e-5, min(1.06 * widest, 0.25), 400)
    axis.plot(feed, fold(feed), color=INK, linewidth=1.5, label="fold, F = 4 (F + k)²", zorder=4)
    if block.coefficients.implicit:
        axis.plot(
            feed,
            fold(feed, block.coefficients.implicit),
            color=INK,
            linewidth=1,
            linestyle="--",
            label="the split step's own fold",
            zorder=4,
        )
    a = np.linspace(1e-3, 0.25, 400)
    axis.plot(*hopf(a), color=INK, linewidth=1.2, linestyle=":", label="stable below (trace 0)", zorder=4)
