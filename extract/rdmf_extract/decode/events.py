"""What a decoder says while it works: plain values that cross from the child process to the parent."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: What a user may ask for; see `choice`.
POLICIES = ("auto", "pyav", "decord-first", "decord")
OUT_OF_MEMORY = "the decoder ran out of memory"


class DecodeError(Exception):
    """A file gave no usable video; the message is one line, fit to be recorded as the reason.

    Attributes:
        passing: the machine or the moment was to blame (memory, a kill, a file being replaced), not the file: the next
            run tries again.
    """

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(" ".join(str(reason).split())[:300])
        self.passing = passing


class DecoderDisagreesError(DecodeError):
    """Decord's frames cannot be trusted for this file; PyAV must take over."""


def end_of_data(error: BaseException) -> str:
    """What FFmpeg says where a file's data ends or breaks off, in a few words.

    Raises:
        DecodeError: the error is not about the file's data: memory ran out, or a file server went away. What was
            decoded so far must not pass for all there is.
    """
    said = str(getattr(error, "strerror", None) or error)
    if isinstance(error, MemoryError):
        raise DecodeError(OUT_OF_MEMORY, passing=True) from error
    if getattr(error, "errno", None) in _NOT_THE_FILE:
        raise DecodeError(f"reading failed: {said}", passing=True) from error
    return said


_NOT_THE_FILE = {errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTUNREACH, errno.EACCES, errno.EMFILE}


@dataclass(frozen=True)
class Frame:
    """A frame that some row looks at: on screen from `seconds` after the first frame; (crop, crop, 3) uint8 RGB."""

    seconds: float
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Restart:
    """Forget every frame of this video so far: it is decoded from its start again, for `reason`.

    Attributes:
        takeover: by PyAV in place of Decord; otherwise by the same decoder.
    """

    reason: str
    takeover: bool = True


@dataclass(frozen=True)
class Finished:
    """The video is over.

    Attributes:
        duration: seconds from the first frame to the end of the last frame's display.
        frames: frames the video is known to have: decoded, or left out because no row looks at them.
        recovered: share of the frames promised by the file that were decoded, in (0, 1]; frames that were left out
            count as decoded, and are left out only where nothing decoded was damaged.
        decoder: e.g. "pyav 18.1.0".
        first_seconds: presentation time of the first frame in the file's own clock.
        bad_packets: packets that could not be decoded.
        takeover: why PyAV was used in place of Decord; "" where it was not.
        decoded: frames that were decoded, those of an attempt that was given up left out.
        used: frames that rows looked at.
    """

    duration: float
    frames: int
    recovered: float
    decoder: str
    first_seconds: float = 0.0
    bad_packets: int = 0
    takeover: str = ""
    decoded: int = 0
    used: int = 0


Event = Frame | Restart | Finished
