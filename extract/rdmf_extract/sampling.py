"""Which instants of a video a feature row is made from, and how large its frames are.

Row i covers [i * stride_seconds, i * stride_seconds + window_seconds) seconds after the first displayed frame. Its
`frames_per_window` frames are those on screen at the centres of that many equal parts of the window, so a row of one
frame shows the middle of its window.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

#: Up to so many looks a second, on average, much of a video need not be decoded, and still more need not be scaled:
#: PyAV takes 0.7 of Decord's time or less on every file measured (15 to 60 frames a second); at 16 looks up to 0.85.
MOST_SPARSE_LOOKS = 8.0


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
    def looks_per_second(self) -> float:
        """Instants looked at per second of video, on average; what several rows look at counts once."""
        stride, step = self.stride_seconds, self.window_seconds / self.frames_per_window
        if self.window_seconds <= stride:
            return self.frames_per_window / stride
        # Row follows row by a stride, so instants are as dense as their places within one stride are many.
        places = {round((k + 0.5) * step / stride * 1e6) % 1_000_000 for k in range(self.frames_per_window)}
        return len(places) / stride

    @property
    def sparse(self) -> bool:
        """Whether rows look at few enough instants that decoding only what they look at pays.

        A matter of the settings alone, not of a file's frame rate: it is recorded in the cache's fingerprint.
        """
        return self.looks_per_second <= MOST_SPARSE_LOOKS * (1 + 1e-9)

    def row_count(self, duration_seconds: float) -> int:
        """Rows of a video: every row before whose start at least half a stride of video remains; never below one."""
        return max(1, math.floor(duration_seconds / self.stride_seconds + 0.5 + 1e-9))

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values, for provenance."""
        return asdict(self)
