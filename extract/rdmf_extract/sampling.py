"""Which instants of a video a feature row is made from, and how large its frames are.

Row i covers [i * stride_seconds, i * stride_seconds + window_seconds) seconds after the first displayed frame. Its
`frames_per_window` frames are those on screen at the centres of that many equal parts of the window, so a row of one
frame shows the middle of its window.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Sampling:
    """Timeline and frame size that a video encoder expects; part of a cache's provenance.

    Attributes:
        fps: frames looked at per second of video, `frames_per_window / window_seconds`; kept beside them because it
            is the number that people quote and set.
        window_seconds: seconds of video that one row sees.
        stride_seconds: seconds between the starts of neighbouring rows.
        frames_per_window: frames given to the encoder per row (1 for an image model).
        resize: the short side of a frame in pixels after resizing, aspect kept.
        crop: side in pixels of the square cut from the centre, `crop <= resize`.

    Raises:
        InputError: a value is not positive, the crop exceeds the frame, or the three numbers of the timeline disagree.
    """

    fps: float
    window_seconds: float
    stride_seconds: float
    frames_per_window: int
    resize: int
    crop: int

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            # Not above: it loads the store and HDF5 with it, 10 MB in each decoder process.
            from rdmf.store.errors import InputError

            raise InputError(f"sampling: {problem}")

    def _problem(self) -> str:
        """What is wrong with these settings, or ""."""
        for name in ("fps", "window_seconds", "stride_seconds"):
            value = float(getattr(self, name))
            if not (math.isfinite(value) and value > 0):
                return f"{name} is {value}; it must be a positive number"
        for name in ("frames_per_window", "resize", "crop"):
            if getattr(self, name) < 1:
                return f"{name} is {getattr(self, name)}; it must be at least 1"
        if self.crop > self.resize:
            return f"crop {self.crop} is larger than the resized short side {self.resize}"
        if abs(self.fps * self.window_seconds - self.frames_per_window) > 0.01 * self.frames_per_window:
            return (
                f"{self.fps:g} frames/s over a window of {self.window_seconds:g} s is not "
                f"{self.frames_per_window} frames; leave one of fps, window and frames per window out"
            )
        return ""

    def instants(self, row: int) -> list[float]:
        """Seconds (from the first frame) at which row `row` looks at the video: `frames_per_window` of them, rising."""
        start, step = row * self.stride_seconds, self.window_seconds / self.frames_per_window
        return [start + (k + 0.5) * step for k in range(self.frames_per_window)]

    @property
    def sparse(self) -> bool:
        """Whether rows look at the video less than once a second on average, so that much of it need not be decoded."""
        return self.frames_per_window / self.stride_seconds < 1

    def row_count(self, duration_seconds: float) -> int:
        """Rows of a video: every row before whose start at least half a stride of video remains; never below one."""
        return max(1, math.floor(duration_seconds / self.stride_seconds + 0.5 + 1e-9))

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values, for provenance."""
        return asdict(self)
