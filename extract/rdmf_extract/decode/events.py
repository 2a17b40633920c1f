"""What a decoder says while it works: plain values that cross from the child process to the parent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

POLICIES = ("auto", "decord", "pyav")


class DecodeError(Exception):
    """A file gave no usable video; the message is one line, fit to be recorded as the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(" ".join(str(reason).split())[:300])


class DecoderDisagreesError(DecodeError):
    """Decord's frames cannot be trusted for this file; PyAV must take over."""


@dataclass(frozen=True)
class Frame:
    """A frame that some row looks at: on screen from `seconds` after the first frame; (crop, crop, 3) uint8 RGB."""

    seconds: float
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Restart:
    """Forget every frame of this video so far: another decoder starts over, for `reason`."""

    reason: str


@dataclass(frozen=True)
class Finished:
    """The video is over.

    Attributes:
        duration: seconds from the first frame to the end of the last frame's display.
        frames: frames decoded (not only those that rows looked at).
        recovered: share of the frames promised by the file that were decoded, in (0, 1].
        decoder: e.g. "pyav 18.1.0".
        first_seconds: presentation time of the first frame in the file's own clock.
        bad_packets: packets that could not be decoded.
        takeover: why PyAV was used in place of Decord; "" where it was not.
    """

    duration: float
    frames: int
    recovered: float
    decoder: str
    first_seconds: float = 0.0
    bad_packets: int = 0
    takeover: str = ""


Event = Frame | Restart | Finished
