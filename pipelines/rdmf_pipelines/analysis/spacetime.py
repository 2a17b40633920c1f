"""spacetime.png: a pattern forming on one video, from features to moments (what the paper's Figures 4 and 5 show)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rdmf_pipelines.analysis.style import new_figure
from rdmf_pipelines.plots import CURVE, FAINT, INK, clock_axis, draw_lanes, draw_saliency, draw_strip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rdmf.analysis.spacetime import Run, SpaceTime
    from rdmf_pipelines.thumbnails import Strip

#: Channels whose pattern is drawn.
ACTIVE = 8
WIDTH_INCHES, LEFT, RIGHT = 11.0, 0.187, 0.915
STRIP_ASPECT = (RIGHT - LEFT) * WIDTH_INCHES / 0.8


@dataclass(frozen=True)
class Scene:
    """One video and one query with what a model said of them.

    Attributes:
        name: of the video. query: the sentence. duration: seconds.
        times: (L, 2) seconds of each clip. saliency: (L,) in [0, 1].
        predicted: [[start, end, score], ...] seconds, best first. truth: [[start, end], ...], None where nobody knows.
        seen: the fields. strip: frames along time, where there is a file.
    """

    name: str
    query: str
    duration: float
    times: NDArray[np.float64]
    saliency: NDArray[np.float64]
    predicted: Sequence[Sequence[float]]
    truth: Sequence[Sequence[float]] | None
    seen: SpaceTime
    strip: Strip | None = None


def draw(scene: Scene) -> Figure:
    """Frames, one feature before and after diffusion, both fields of each block over steps and time, the answer."""
    rows: list[tuple[float, float, Any]] = []  # height and gap above in inches, what draws it
    if scene.strip is not None:
        rows.append((0.8, 0.0, lambda axis: draw_strip(axis, scene.strip, scene.duration)))
    rows.append((0.85, 0.12, lambda axis: _one_feature(axis, scene)))
    for run in scene.seen.runs:
        for i, picture in enumerate(_pictures(run, scene.saliency)):
            rows.append((0.52, 0.3 if i == 0 else 0.11, lambda axis, p=picture: _heat(axis, scene, *p)))
    rows.append((0.8, 0.3, lambda axis: draw_saliency(axis, scene.times, scene.saliency, (), scene.truth)))
    found = list(scene.predicted)[:3]
    lanes = max(len(found) + (scene.truth is not None), 1)
    rows.append((0.2 * lanes, 0.08, lambda axis: draw_lanes(axis, found, scene.truth, scene.duration)))

    lines = textwrap.wrap(f"“{scene.query}” in {scene.name}", 105)[:2]
    header, footer = 0.15 + 0.22 * len(lines), 0.42
    total = header + footer + sum(height + gap for height, gap, _ in rows)
    figure = new_figure(WIDTH_INCHES, total)
    heading = figure.text(LEFT, 1 - 0.07 / total, "\n".join(lines), ha="left", va="top", fontsize=11, weight="bold")
    heading.set(color=INK, parse_math=False)
    top = total - header
    for height, gap, put in rows:
        top -= gap
        axis = figure.add_axes((LEFT, (top - height) / total, RIGHT - LEFT, height / total))
        axis.set_xlim(0, scene.duration)
        put(axis)
        top -= height
        if put is not rows[-1][2]:
            axis.tick_params(axis="x", labelbottom=False, length=0)
    clock_axis(axis, scene.duration)
    axis.set_xlabel("time in the video", fontsize=8, color=INK)
    return figure


def _pictures(run: Run, saliency: NDArray[np.float64]) -> list[tuple[NDArray[np.float32], str, bool]]:
    """Of one block (N + 1, L) values, their label, and whether they are deviations that 0 is the middle of."""
    out = []
    for name, field in (("activator", run.activator), ("substrate", run.substrate)):
        of = "video" if (name == "activator") == (run.video_role == "activator") else "text"
        out.append((field.mean(2), f"{run.name}: {name} ({of})\nmean of {field.shape[2]} channels", False))
        best = np.argsort(-correlation(field[-1], saliency), kind="stable")[:ACTIVE]
        pattern = field[:, :, best].mean(2)
        pattern = pattern - pattern.mean(1, keepdims=True)
        out.append(
            (pattern, f"its pattern: {len(best)} channels\nthat go best with saliency,\nless their mean in time", True)
        )
    return out


def _edges(scene: Scene) -> NDArray[np.float64]:
    return np.append(scene.times[:, 0], scene.times[-1, 1])


def _heat(axis: Any, scene: Scene, values: NDArray[np.float32], label: str, deviations: bool) -> None:
    """Steps downwards, time to the right; the colours span this picture's own values, printed beside it."""
    steps = len(values) - 1
    largest = float(np.abs(values).max())
    low, high = (-largest, largest) if deviations else (float(values.min()), float(values.max()))
    options = {"cmap": "RdBu_r" if deviations else "viridis", "vmin": low, "vmax": high, "rasterized": True}
    drawn = axis.pcolormesh(_edges(scene), np.arange(steps + 2) - 0.5, values, **options)
    axis.set_ylim(steps + 0.5, -0.5)
    axis.set_yticks([0, steps], ["step 0", f"step {steps}"])
    axis.tick_params(axis="y", labelsize=7, length=2, colors=INK)
    axis.spines[:].set_visible(False)
    _label(axis, label)
    bar = axis.inset_axes((1.012, 0.0, 0.012, 1.0))
    axis.figure.colorbar(drawn, cax=bar)
    bar.set_yticks([low, high], [f"{low:.2f}", f"{high:.2f}"])
    for text, side in zip(bar.get_yticklabels(), ("bottom", "top")):
        text.set_va(side)
    bar.tick_params(labelsize=7, length=0, colors=INK)
    bar.spines[:].set_visible(False)
    for start, end, *_ in scene.truth or []:
        for edge in (start, end):
            axis.axvline(edge, color=INK if deviations else "white", linewidth=1, linestyle=":")


def _label(axis: Any, text: str) -> None:
    axis.text(-0.068, 0.5, text, transform=axis.transAxes, ha="right", va="center", fontsize=7.5, color=INK)


def _one_feature(axis: Any, scene: Scene) -> None:
    """The feature whose diffused course goes best with the saliency, before and after temporal diffusion."""
    before, after = scene.seen.before, scene.seen.after
    which = int(np.argmax(np.abs(correlation(after, scene.saliency))))
    axis.stairs(before[:, which], _edges(scene), color=FAINT, linewidth=1.0, baseline=None, label="before")
    axis.stairs(after[:, which], _edges(scene), color=CURVE, linewidth=1.6, baseline=None, label="after")
    axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2)
    _label(axis, f"temporal diffusion:\nfeature {which}, which goes\nbest with saliency")
    axis.tick_params(axis="y", labelsize=7, length=2, colors=INK)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.spines["left"].set_color(FAINT)


def correlation(columns: NDArray[np.float32], curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each column of (L, d) with a curve (L,): (d,), 0 where either is constant."""
    x, y = columns - columns.mean(0), curve - curve.mean()
    size = np.sqrt((x**2).sum(0) * (y**2).sum())
    return np.asarray(x.T @ y / np.maximum(size, 1e-12), dtype=np.float64)
