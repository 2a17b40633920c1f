"""The picture of prediction over length: seconds and peak memory of every model, both axes logarithmic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rdmf.files import write_atomically
from rdmf_pipelines.analysis.style import SCALE_COLOURS, bare, new_figure, save
from rdmf_pipelines.benching.lengths import MEMORY, THREE_HOURS, points
from rdmf_pipelines.benching.sheet import Sheet
from rdmf_pipelines.plots import FAINT, INK

MARKS = ("o", "s", "^", "D", "v", "P")


def draw(sheet: Sheet, path: Path) -> Path:
    """Write it as a PNG."""
    figure = picture(sheet)
    write_atomically(path, lambda partial: save(figure, partial))
    return path


def picture(sheet: Sheet) -> Any:
    """Two panels: seconds and megabytes against clips, a line a model, names beside the lines' ends."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure = new_figure(9.6, 4.1)
    axes = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.075, right=0.985, top=0.9, bottom=0.23, wspace=0.22)
    have = points(sheet)
    for axis, what, title in ((axes[0], "", "Seconds of a prediction"), (axes[1], MEMORY, "Peak memory, MB")):
        for number, (name, found) in enumerate(have.items()):
            shown = [(clips, one.more.get(what) if what else one.seconds) for clips, one in found]
            # A peak too small to be told from what the process held already cannot lie on a logarithmic axis.
            kept = [(clips, value) for clips, value in shown if value]
            axis.plot(
                [clips for clips, _ in kept],
                [value for _, value in kept],
                f"{MARKS[number % len(MARKS)]}-",
                color=SCALE_COLOURS[number % len(SCALE_COLOURS)],
                linewidth=2.2 if name == "rdmf" else 1.3,
                markersize=5,
                label=name,
            )
        axis.set_xscale("log")
        axis.set_yscale("log")
        bare(axis, title=title, x="clips", y="")
        ticks = sorted({clips for found in have.values() for clips, _ in found} - {THREE_HOURS})
        axis.set_xticks(ticks, [f"{clips:,}" for clips in ticks])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.grid(color="0.92", linewidth=0.8)
        axis.set_axisbelow(True)
        dashed = {"linewidth": 1, "linestyle": (0, (3, 2)), "zorder": 1}
        axis.axvline(THREE_HOURS, color=FAINT, label="three hours at a clip a second", **dashed)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="lower center", ncols=max(1, len(names)), frameon=False, fontsize=9, labelcolor=INK
    )
    return figure
