"""The picture of a study: every row's metrics with their spread over seeds, as a sweep or as lanes of dots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rdmf.files import write_atomically
from rdmf_pipelines.studies.comparison import Row, average, means
from rdmf_pipelines.studies.results import READ_OFF, Results

PANELS = ("R1@0.5", "R1@0.7", "mIoU", "saliency mAP")
INK, FAINT, REFERENCE, OTHERS, READ = "#24292f", "#8c959f", "#1a7f5a", "#3563c4", "#d9731a"


def draw(results: Results, path: Path, extra: Sequence[Row] = ()) -> Path:
    """Write the picture as a PNG.

    A sweep of one number shows it on the horizontal axis, a panel a metric; any other table has a lane a row. Dots are
    seeds (pooled over folds), the larger mark their mean with its standard deviation, dotted lines the guesses.

    Args:
        extra: rows without seeds that get a lane too, such as a rule.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    rows = [row for row in results.rows() if row.seeds] + ([] if results.about["axis"] else list(extra))
    panels = [name for name in PANELS if any(name in means(row) for row in rows)]
    if not panels:
        figure = _nothing()
    else:
        figure = _sweep(results, rows, panels) if results.about["axis"] else _lanes(results, rows, panels)
    FigureCanvasAgg(figure)
    write_atomically(path, lambda partial: figure.savefig(partial, dpi=130, format="png"))
    return path


def _nothing() -> Any:
    """The picture of a study of which no row was run on every fold yet."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 1.0), facecolor="white")
    figure.text(0.5, 0.5, "no row is whole yet", ha="center", va="center", color=INK)
    return figure


def _by_seed(row: Row, metric: str) -> Any:
    """Percent of each seed that was run on every fold; of all seeds where none was."""
    values = row.of(metric)
    known = np.isfinite(values)
    whole = known[:, known.any(axis=0)].all(axis=1)
    return 100 * average(values[whole] if whole.any() else values, 1)


def _lanes(results: Results, rows: list[Row], panels: list[str]) -> Any:
    from matplotlib.figure import Figure

    label_inches = 0.3 + 0.072 * max(len(row.label) for row in rows)
    width = label_inches + 2.3 * len(panels)
    height = 1.0 + 0.3 * len(rows)
    figure = Figure(figsize=(width, height), facecolor="white")
    gap, bottom, top = 0.18, 0.62 / height, 1 - 0.42 / height
    each = (width - label_inches - 0.2 - gap * (len(panels) - 1)) / len(panels)
    for number, metric in enumerate(panels):
        left = (label_inches + number * (each + gap)) / width
        axis = figure.add_axes((left, bottom, each / width, top - bottom))
        for lane, row in enumerate(rows):
            seeds = _by_seed(row, metric)
            if not np.isfinite(seeds).any():
                continue
            reference = row.label == results.about["reference"]
            learnt = READ if row.label.endswith(READ_OFF) else OTHERS
            colour = REFERENCE if reference else learnt if row.seeds else INK
            if reference:
                axis.axvline(seeds.mean(), color=REFERENCE, linewidth=0.8, linestyle="--", alpha=0.6, zorder=1)
            axis.plot(seeds, [-lane] * len(seeds), ".", color=colour, markersize=4, alpha=0.45, zorder=2)
            spread = seeds.std(ddof=1) if len(seeds) > 1 else 0
            axis.errorbar(
                seeds.mean(), -lane, xerr=spread, fmt="o", color=colour, markersize=5, elinewidth=1.2, zorder=3
            )
        _guesses(axis, results, metric, [_by_seed(row, metric) for row in rows])
        axis.set_ylim(-len(rows) + 0.5, 0.5)
        axis.set_yticks([-lane for lane in range(len(rows))], [row.label for row in rows] if not number else [])
        axis.tick_params(axis="y", length=0, labelsize=9, colors=INK)
        axis.tick_params(axis="x", labelsize=8, colors=INK)
        axis.set_title(metric, fontsize=10, color=INK, loc="left")
        axis.grid(axis="x", color="0.92", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right", "left"]].set_visible(False)
    _footer(figure, results, rows, height)
    return figure


def _sweep(results: Results, rows: list[Row], panels: list[str]) -> Any:
    from matplotlib.figure import Figure

    height = 3.3
    figure = Figure(figsize=(max(5.0, 2.7 * len(panels)), height), facecolor="white")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(left=0.055, right=0.985, top=0.88, bottom=0.26, wspace=0.24)
    place = {row["label"]: row["x"] for row in results.about["rows"]}
    for axis, metric in zip(axes, panels):
        shown = [(place[row.label], _by_seed(row, metric)) for row in rows if row.label in place]
        shown = [(x, seeds) for x, seeds in shown if np.isfinite(seeds).any()]
        for x, seeds in shown:
            axis.plot([x] * len(seeds), seeds, ".", color=OTHERS, markersize=4, alpha=0.45)
        spread = [seeds.std(ddof=1) if len(seeds) > 1 else 0 for _, seeds in shown]
        middle = [seeds.mean() for _, seeds in shown]
        axis.errorbar([x for x, _ in shown], middle, yerr=spread, fmt="o-", color=OTHERS, markersize=5, linewidth=1.4)
        for x, seeds in shown:
            if x == place.get(results.about["reference"]):
                axis.plot([x], [seeds.mean()], "o", color=REFERENCE, markersize=7, zorder=4)
        axis.set_xticks([x for x, _ in shown])
        axis.set_title(metric, fontsize=10, color=INK, loc="left")
        axis.set_xlabel(results.about["axis"], fontsize=8, color=INK)
        axis.tick_params(labelsize=8, colors=INK)
        axis.grid(axis="y", color="0.92", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    _footer(figure, results, rows, height, guesses=False)
    return figure


def _guesses(axis: Any, results: Results, metric: str, shown: list[Any]) -> None:
    """Lines where the guesses lie, unless they lie so low that the rows would be squeezed together."""
    from rdmf_pipelines.studies.scoring import METRICS

    known = np.concatenate(shown)
    known = known[np.isfinite(known)]
    if not len(known):
        return
    reach = float(known.min() - max(known.max() - known.min(), 5.0))
    for number, values in enumerate(results.guesses.values()):
        found = values[METRICS.index(metric)]
        if np.isfinite(found).any() and (place := 100 * float(np.nanmean(found))) >= reach:
            style = (0, (1, 2)) if not number else (0, (3, 2))
            axis.axvline(place, color=FAINT, linewidth=1, linestyle=style, zorder=1)


def seeds_said(rows: list[Row]) -> str:
    """How many seeds the rows have that have any: a study that is not finished has more of some than of others."""
    counts = {len(row.seeds) for row in rows if row.seeds} or {0}
    fewest, most = min(counts), max(counts)
    return f"{fewest} to {most} seeds" if fewest < most else f"{most} seed{'s' * (most != 1)}"


def _footer(figure: Any, results: Results, rows: list[Row], height: float, *, guesses: bool = True) -> None:
    folds = len(results.queries.folds)
    several = f"{folds} folds, " if folds > 1 else ""
    lines = "; grey lines, where near: guesses (dotted: query-blind, dashed: text-only)" if guesses else ""
    dots = f"{seeds_said(rows)} on {several}{len(results.queries)} queries"
    text = f"percent; dots: {dots}; green: reference{lines}"
    figure.text(0.01, 0.08 / height, text, fontsize=7.5, color=FAINT, ha="left", va="bottom")
