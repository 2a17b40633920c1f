"""Pictures of what a model found in a video: frames along time, the saliency curve, annotated and predicted moments."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from rdmf_pipelines.prediction import Prediction
    from rdmf_pipelines.thumbnails import Strip

INK, FAINT = "#24292f", "#8c959f"
TRUTH, FOUND, CURVE = "#1a7f5a", "#d9731a", "#3563c4"
WIDTH_INCHES = 10.0
STRIP_INCHES = 0.8
STRIP_ASPECT = 0.86 * WIDTH_INCHES / STRIP_INCHES
"""Width over height of the strip of frames as drawn here; what `film_strip` should be asked for."""


def moments_figure(
    *,
    title: str,
    duration: float,
    times: ArrayLike,
    saliency: ArrayLike,
    predicted: Sequence[Sequence[float]],
    truth: Sequence[Sequence[float]] | None = None,
    strip: Strip | None = None,
    shown: int = 3,
    scale: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """One query's answer as a figure; all panels share the time axis.

    Args:
        title: printed above, usually the query; long ones are folded and cut.
        duration: of the video in seconds.
        times: (L, 2) seconds of each feature row. saliency: (L,) in [0, 1].
        predicted: [[start, end, score], ...] seconds, best first; the first `shown` are drawn.
        truth: [[start, end], ...] seconds, or None where nobody knows.
        strip: frames along time; left out where None. scale: saliency at the bottom and at the top of its panel.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = list(predicted)[:shown]
    lanes = len(found) + (truth is not None)
    lane_inches = 0.2 * max(lanes, 1)
    heights = ([STRIP_INCHES] if strip else []) + [0.75, lane_inches]
    lines = textwrap.wrap(title, 105)[:2]
    header = 0.12 + 0.22 * len(lines)
    footer = 0.32
    gap = 0.07
    total = header + footer + sum(heights) + gap * (len(heights) - 1)
    figure = Figure(figsize=(WIDTH_INCHES, total), facecolor="white")
    FigureCanvasAgg(figure)
    heading = figure.text(0.07, 1 - 0.06 / total, "\n".join(lines), ha="left", va="top", fontsize=11, weight="bold")
    heading.set(color=INK, parse_math=False)  # "$5 and $10" is no formula

    axes: list[Any] = []
    top = total - header
    for height in heights:
        axes.append(figure.add_axes((0.07, (top - height) / total, 0.86, height / total)))
        axes[-1].set_xlim(0, duration)
        top -= height + gap
    if strip:
        draw_strip(axes[0], strip, duration)
    curve = np.asarray(saliency, dtype=float)
    draw_saliency(axes[-2], np.asarray(times, dtype=float), curve, found, truth, scale)
    draw_lanes(axes[-1], found, truth, duration)
    clock_axis(axes[-1], duration)
    return figure


def clock_axis(axis: Any, duration: float) -> None:
    """Times of a video below an axis."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 1.5, 2, 3, 5, 6, 10]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds, digits=digits_for(duration))))


def clock(seconds: float, *, digits: int = 1, fixed: bool = False) -> str:
    """75.5 s as "1:15.5", 3725 s as "1:02:05", with up to `digits` >= 1 decimals (just so many if `fixed`)."""
    scale = 10**digits
    whole, part = divmod(round(seconds * scale), scale)
    decimals = f"{part:0{digits}d}"
    decimals = decimals if fixed else decimals.rstrip("0")
    fraction = f".{decimals}" if decimals else ""
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{whole % 60:02d}{fraction}"
    return f"{minutes}:{whole % 60:02d}{fraction}"


def digits_for(duration: float) -> int:
    """Decimals of a second that tell a video's moments apart: 1, and more where all of it lasts under 2 s."""
    return 1 if duration >= 2 else 2 if duration >= 0.2 else 3


def figure_of(answer: Prediction, *, shown: int = 3) -> Figure:
    """The picture of a prediction: frames along time, saliency, the best `shown` moments."""
    from rdmf_pipelines.thumbnails import film_strip

    return moments_figure(
        title=f"“{answer.query}”",
        duration=answer.duration,
        times=answer.times,
        saliency=answer.saliency,
        predicted=answer.moments,
        strip=film_strip(answer.video, answer.duration, strip_aspect=STRIP_ASPECT),
        shown=shown,
        scale=answer.scale,
    )


def picture_kind(path: Path) -> str:
    """The format that a path's ending asks for, "png" where it has none.

    Raises:
        InputError: an ending matplotlib cannot write, or a folder.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from rdmf.store.errors import InputError

    kind = path.suffix.lstrip(".").lower() or "png"
    if kind not in FigureCanvasAgg.filetypes:
        known = ", ".join(sorted(FigureCanvasAgg.filetypes))
        raise InputError(f"--plot {path}: pictures end in one of {known}, not '.{kind}'")
    if path.is_dir():
        raise InputError(f"--plot {path}: is a directory; give a file name")
    return kind


def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format of the path's ending (PNG where it has none), making its folder.

    Raises:
        InputError: an ending matplotlib cannot write, or a path that cannot be written.
    """
    from rdmf.store.errors import InputError

    kind = picture_kind(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            # A query in a script that the font lacks is drawn as boxes; the rest of the picture is as good as ever.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(path, dpi=110, format=kind)
    except OSError as error:
        raise InputError(f"--plot {path}: cannot be written: {error.strerror or error}") from None
    return path


def draw_strip(axis: Any, strip: Strip, duration: float) -> None:
    """Frames side by side along [0, duration] seconds."""
    count = len(strip.images)
    part = strip.duration / count
    for i, image in enumerate(strip.images):
        if image is not None:
            inset = 0.02 * part
            axis.imshow(image, extent=(i * part + inset, (i + 1) * part - inset, 0, 1), aspect="auto", zorder=1)
    axis.set_xlim(0, duration)
    axis.set_ylim(0, 1)
    axis.axis("off")


def draw_saliency(
    axis: Any, times: Any, saliency: Any, found: Any, truth: Any, scale: tuple[float, float] = (0.0, 1.0)
) -> None:
    """The curve (L,) over the rows' seconds (L, 2), annotated moments shaded."""
    low, high = scale
    edges = np.append(times[:, 0], times[-1, 1])
    for start, end, *_ in truth or []:
        axis.axvspan(start, end, color=TRUTH, alpha=0.13, linewidth=0)
    axis.stairs(saliency, edges, baseline=low, fill=True, color=CURVE, alpha=0.22, linewidth=0)
    axis.stairs(saliency, edges, color=CURVE, linewidth=1.3, baseline=None)
    axis.set_ylim(low, low + 1.04 * (high - low))
    axis.set_yticks([low, high], ["0", "1"] if scale == (0, 1) else ["least", "most"])
    axis.tick_params(axis="y", labelsize=7, colors=FAINT, length=2)
    axis.tick_params(axis="x", labelbottom=False, length=0)
    axis.set_ylabel("saliency", fontsize=8, color=INK)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)
    axis.spines["left"].set_color(FAINT)
    axis.axhline(low, color=FAINT, linewidth=0.8)


def draw_lanes(axis: Any, found: Any, truth: Any, duration: float) -> None:
    """A lane of bars for the annotated moments and one for each that was found, with its score."""
    lanes: list[tuple[str, Any, str, float]] = []
    if truth is not None:
        lanes.append(("true", truth, TRUTH, 1.0))
    for rank, (start, end, _score) in enumerate(found):
        lanes.append((f"found {rank + 1}", [(start, end)], FOUND, 1.0 if rank == 0 else 0.45))
    for lane, (_, spans, colour, opacity) in enumerate(lanes):
        for start, end, *_ in spans:
            axis.barh(-lane, end - start, left=start, height=0.66, color=colour, alpha=opacity, linewidth=0)
    for rank, (start, end, score) in enumerate(found):
        lane = rank + (truth is not None)
        inside = end < 0.93 * duration
        at, side = (end + 0.006 * duration, "left") if inside else (start - 0.006 * duration, "right")
        axis.text(at, -lane, f"{score:.2f}", va="center", ha=side, fontsize=7, color=FAINT)
    axis.set_ylim(-max(len(lanes), 1) + 0.5, 0.5)
    axis.set_yticks([-i for i in range(len(lanes))], [name for name, *_ in lanes])
    axis.tick_params(axis="y", labelsize=8, length=0, colors=INK)
    axis.tick_params(axis="x", labelsize=8, colors=INK, length=3)
    if not lanes:
        axis.text(duration / 2, 0, "no moment found", ha="center", va="center", fontsize=8, color=FAINT)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(FAINT)
