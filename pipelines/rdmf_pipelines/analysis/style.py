"""What the pictures of an analysis share: colours of the regimes, bare axes, legends that say how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rdmf.analysis.regime import BISTABLE, FOLD, OSCILLATORY, OVERSHOOT, REGIMES, REPELLING, TRIVIAL, TURING
from rdmf_pipelines.plots import CURVE, FAINT, FOUND, INK, TRUTH

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

COLOURS = {
    TRIVIAL: FAINT,
    FOLD: INK,
    BISTABLE: CURVE,
    TURING: TRUTH,
    OSCILLATORY: FOUND,
    REPELLING: "#b3261e",
    OVERSHOOT: "#7a3fb3",
}
DOTS_PER_INCH = 110
SCALE_COLOURS = ("#3563c4", "#1a7f5a", "#d9731a", "#7a3fb3", "#b3261e", "#0b7285", "#8a6d00", "#5c5f66")


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """An empty white figure in inches that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white", **options)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG; characters that the font lacks are drawn as boxes, silently."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, dpi=DOTS_PER_INCH, format="png")


def bare(axis: Any, *, title: str, x: str, y: str) -> None:
    """Title left, labels, no box."""
    axis.set_title(title, fontsize=10, color=INK, loc="left")
    axis.set_xlabel(x, fontsize=9, color=INK)
    axis.set_ylabel(y, fontsize=9, color=INK)
    axis.tick_params(labelsize=8, colors=INK)
    axis.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(FAINT)


def regime_points(axis: Any, x: Any, y: Any, codes: Any, *, size: float = 9, alpha: float = 0.6) -> None:
    """Points coloured by regime, the rarest on top, with a label for the legend that says which share each has."""
    counts = {code: int((codes == code).sum()) for code in COLOURS}
    for code in sorted((c for c in counts if counts[c]), key=lambda c: -counts[c]):
        at = codes == code
        label = f"{REGIMES[code][0]} ({percent(counts[code] / codes.size)})"
        axis.scatter(x[at], y[at], s=size, color=COLOURS[code], alpha=alpha, linewidths=0, label=label)


def percent(share: float) -> str:
    """A share in whole percent, but never 0 % or 100 % of what is not none or all."""
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{100 * share:.0f}%"
