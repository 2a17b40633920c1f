"""Frames to rows of frames, by presentation time and streaming.

Both ends of the decoder use the same `Timeline`: the child process to convert and send only frames that some row looks
at, the parent to put those frames into rows. An instant is served by the frame on screen then, which is the last one
whose time is not later; nothing depends on frame numbers, so variable frame rates and gaps need no special case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rdmf_extract.sampling import Sampling

Image = NDArray[np.uint8]


class Timeline:
    """Walks through the instants of all rows in order of time.

    Rows may overlap, so several are under way at once; each has `frames_per_window` instants to serve.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._open: dict[int, tuple[list[float], int]] = {}  # row -> (its instants, how many are served)
        self._next_row = 0

    def advance(self, until_seconds: float) -> list[tuple[int, int]]:
        """The (row, frame slot) pairs not served before whose instants are earlier than `until_seconds`."""
        while self._sampling.instants(self._next_row)[0] < until_seconds:
            self._open[self._next_row] = (self._sampling.instants(self._next_row), 0)
            self._next_row += 1
        served: list[tuple[int, int]] = []
        for row in list(self._open):
            instants, k = self._open[row]
            first = k
            while k < len(instants) and instants[k] < until_seconds:
                k += 1
            served.extend((row, slot) for slot in range(first, k))
            if k == len(instants):
                del self._open[row]
            else:
                self._open[row] = (instants, k)
        return served

    def finish(self, duration_seconds: float) -> list[tuple[int, int]]:
        """What the last frame serves: all that is left of the rows that a video of this duration has."""
        rows = self._sampling.row_count(duration_seconds)
        left = self.advance(self._sampling.instants(rows - 1)[-1] + 1e-9)
        return [(row, slot) for row, slot in left if row < rows]


@dataclass
class RowBuilder:
    """Collects the frames of one video into rows, given in order of presentation.

    At most the frames of the rows under way are held: one window, more where windows overlap (frames are shared).

    >>> builder = RowBuilder(Sampling(1.0, 1.0, 1.0, 1, 4, 4))
    >>> frame = np.zeros((4, 4, 3), np.uint8)
    >>> [row for t in (0.0, 0.7, 1.4) for row, _ in builder.push(t, frame)]
    [0]
    >>> [row for row, _ in builder.finish(2.0)]
    [1]
    """

    sampling: Sampling
    _timeline: Timeline = field(init=False)
    _last: Image | None = None
    _parts: dict[int, list[Image]] = field(default_factory=dict)
    _full: list[int] = field(default_factory=list)
    rows: int = 0

    def __post_init__(self) -> None:
        self._timeline = Timeline(self.sampling)

    def push(self, seconds: float, frame: Image) -> Iterator[tuple[int, Image]]:
        """Take the frame shown from `seconds` on, (H, W, 3) uint8; yield (row, (T, H, W, 3)) for each row completed."""
        if self._last is None:
            self._last = frame  # instants before the first frame, where a damaged start was lost, show it as well
        self._serve(self._timeline.advance(seconds))
        self._last = frame
        # A row is certain only once the video has reached half a stride beyond its start (see Sampling.row_count).
        while self._full and self._full[0] == self.rows:
            if seconds < (self.rows + 0.5) * self.sampling.stride_seconds:
                break
            yield self._emit()

    def finish(self, duration_seconds: float) -> Iterator[tuple[int, Image]]:
        """End of the video: yield its remaining rows, completed with the last frame."""
        if self._last is None:
            return
        self._serve(self._timeline.finish(duration_seconds))
        while self.rows < self.sampling.row_count(duration_seconds):
            yield self._emit()

    def _serve(self, pairs: list[tuple[int, int]]) -> None:
        for row, _ in pairs:
            frames = self._parts.setdefault(row, [])
            frames.append(self._last)  # type: ignore[arg-type]  # set by the caller
            if len(frames) == self.sampling.frames_per_window:
                self._full.append(row)

    def _emit(self) -> tuple[int, Image]:
        row = self.rows
        frames = self._parts.pop(row)
        self._full.remove(row)
        self.rows += 1
        return row, np.stack(frames)


def row_times(rows: int, duration_seconds: float, sampling: Sampling) -> NDArray[np.float64]:
    """(rows, 2) seconds, [start, end) of each row; no row reaches beyond the end of the video."""
    starts = np.arange(rows, dtype=np.float64) * sampling.stride_seconds
    return np.stack([starts, np.minimum(starts + sampling.window_seconds, duration_seconds)], axis=1)
