"""Which seconds each imported row covers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def timeline(
    rows: int, clip_length_seconds: float, annotated_seconds: float
) -> tuple[NDArray[np.float64], float, bool]:
    """Times of a video's rows when row i starts at i * clip_length.

    Args:
        rows: number of feature rows, at least 1.
        clip_length_seconds: seconds a row covers.
        annotated_seconds: the video's length by its annotation; NaN where unknown.

    Returns:
        times: (rows, 2) float64 seconds, half-open; the last row ends with the video.
        duration: the annotated length, so that windows keep their place in the video even where the features stop
            early; the rows' own span where no length is annotated or a whole row would start after it.
        agrees: whether rows and annotation tell the same length to within one clip.
    """
    span = rows * clip_length_seconds
    starts = np.arange(rows, dtype=np.float64) * clip_length_seconds
    unknown = math.isnan(annotated_seconds)
    agrees = unknown or abs(span - annotated_seconds) <= clip_length_seconds * (1 + 1e-6)
    duration = annotated_seconds if not unknown and starts[-1] < annotated_seconds else span
    times = np.stack([starts, np.minimum(starts + clip_length_seconds, duration)], axis=1)  # (rows, 2)
    return times, float(duration), agrees
