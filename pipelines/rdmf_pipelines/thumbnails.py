"""A strip of small pictures along a video's time, for plots and reports."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf.store.errors import InputError

SEEK_BEYOND_SECONDS = 90.0
"""Videos longer than this are sought in; shorter ones are read through, which is as fast and never imprecise."""

_FRAMES_AFTER_SEEK = 600


@dataclass(frozen=True)
class Strip:
    """Equal parts of a video's time, each shown by the frame at its centre.

    Attributes:
        images: (h, w, 3) uint8 pictures of one size; None where the video gave no frame.
        duration: seconds that all parts together cover.
    """

    images: tuple[NDArray[np.uint8] | None, ...]
    duration: float


def film_strip(path: Path, duration: float, *, strip_aspect: float = 12.0, height: int = 96) -> Strip:
    """Pictures along the first `duration` seconds of a video.

    Args:
        path: the video file.
        duration: seconds, as measured by the extractor.
        strip_aspect: width over height of the whole strip; the pictures' own aspect then says how many fit.
        height: of each picture in pixels.

    Raises:
        InputError: the file cannot be opened as a video, or gives no frame at all.
    """
    import av

    from rdmf_extract.decode.events import DecodeError
    from rdmf_extract.decode.geometry import upright
    from rdmf_extract.decode.probe import open_video

    try:
        container, stream = open_video(path)
        with container:
            stream.thread_type = "AUTO"
            first = next(_decoded(container, stream), None)
            if first is None:
                raise InputError(f"{path}: no frame could be decoded for the picture")
            seen = upright(np.zeros((first.height, first.width, 1), np.uint8), first.rotation)
            aspect = seen.shape[1] / seen.shape[0]
            count = max(1, round(strip_aspect / aspect))
            instants = [(i + 0.5) * duration / count for i in range(count)]
            origin = first.time or 0.0
            pick = _sought if duration > SEEK_BEYOND_SECONDS else _read_through
            frames = pick(container, stream, [origin + t for t in instants])
            size = (height, max(1, round(height * aspect)))
            images = tuple(None if f is None else _small(f, size, upright) for f in frames)
    except (DecodeError, av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: cannot be read for the picture: {error}") from None
    return Strip(images, duration)


def _small(frame: Any, size: tuple[int, int], upright: Any) -> NDArray[np.uint8]:
    height, width = size
    if round(frame.rotation / 90) % 2:
        height, width = width, height
    picture = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    return np.ascontiguousarray(upright(picture, frame.rotation))


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames from here to the end, skipping packets that are damaged."""
    import av

    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            continue


def _read_through(container: Any, stream: Any, instants: list[float]) -> list[Any]:
    """For each instant (rising, seconds) the frame on screen then."""
    container.seek(0)
    shown: list[Any] = []
    current = None
    for frame in _decoded(container, stream):
        if frame.time is None:
            continue
        while len(shown) < len(instants) and frame.time > instants[len(shown)] and current is not None:
            shown.append(current)
        if len(shown) == len(instants):
            return shown
        current = frame
    return shown + [current] * (len(instants) - len(shown))


def _sought(container: Any, stream: Any, instants: list[float]) -> list[Any]:
    """The same, jumping to the keyframe before each instant; None where nothing is found near it."""
    shown: list[Any] = []
    for instant in instants:
        container.seek(int(instant / stream.time_base), stream=stream, backward=True)
        current = None
        for frame in itertools.islice(_decoded(container, stream), _FRAMES_AFTER_SEEK):
            if frame.time is None:
                continue
            if frame.time > instant and current is not None:
                break
            current = frame
        shown.append(current)
    return shown
