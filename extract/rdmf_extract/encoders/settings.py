"""From the settings that a user gave, and an encoder's defaults for the rest, to one consistent `Sampling`."""

from __future__ import annotations

import math

from rdmf.store.errors import InputError
from rdmf_extract.sampling import Sampling


def choose_sampling(
    default: Sampling,
    *,
    fps: float | None = None,
    window: float | None = None,
    stride: float | None = None,
    frames_per_window: int | None = None,
    resolution: int | None = None,
) -> Sampling:
    """Fill in what the user left open.

    `fps * window = frames_per_window` always holds. Of the three, what is not given follows from what is; the default
    frame rate is kept before the default frame count, because a video model reads motion at the rate it learnt it.
    Windows touch without overlapping unless the default overlaps or a stride is given: a new window sets the stride.

    Args:
        default: the encoder's own settings.
        fps: frames per second to look at. Below one frame a window, the window grows to hold one frame.
        window: seconds a row sees.
        stride: seconds between rows.
        frames_per_window: frames a row sees.
        resolution: side of the square crop in pixels; the short side before cropping keeps its default ratio to it.

    Raises:
        InputError: a value out of range, the three in conflict, or a frame count that is not a whole number.
    """
    for name, value in (("fps", fps), ("window", window), ("stride", stride)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} must be a positive number, got {value}")
    for name, count in (("frames per window", frames_per_window), ("resolution", resolution)):
        if count is not None and count < 1:
            raise InputError(f"{name} must be at least 1, got {count}")

    if window is None:
        window = default.window_seconds
        if fps is not None and frames_per_window is not None:
            window = frames_per_window / fps
        elif fps is not None and fps * window < 1:
            window = 1 / fps
    if frames_per_window is None:
        wanted = (default.fps if fps is None else fps) * window
        frames_per_window = max(1, round(wanted))
        # Only a rate that the user asked for is owed exactly; the default one may bend to fit the user's window.
        if fps is not None and abs(wanted - frames_per_window) > 1e-6 * wanted:
            raise InputError(
                f"fps {fps:g} over a window of {window:g} s is {wanted:g} frames, not a whole number;"
                f" use fps {frames_per_window / window:g}, or a window of {frames_per_window / fps:g} s"
            )
    elif fps is not None and abs(fps * window - frames_per_window) > 1e-6 * frames_per_window:
        raise InputError(
            f"fps {fps:g} over a window of {window:g} s is {fps * window:g} frames, but {frames_per_window} frames per"
            " window were asked for; leave one of the three out"
        )
    if stride is None:
        stride = window if window != default.window_seconds else default.stride_seconds
    crop = default.crop if resolution is None else resolution
    return Sampling(
        fps=frames_per_window / window,
        window_seconds=window,
        stride_seconds=stride,
        frames_per_window=frames_per_window,
        resize=max(crop, round(crop * default.resize / default.crop)),
        crop=crop,
    )
