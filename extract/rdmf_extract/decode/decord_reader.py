"""Decord: quick on the files it handles, and watched closely on them.

Frames are taken in order, never by seeking (its seeks are inexact in several containers), and their times come from the
file's packets, never from index / rate. What it cannot be trusted with is either known beforehand (`objection`) or seen
while it works: a frame count that lies, times that differ, or complaints that its FFmpeg writes about damaged data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf_extract.decode.events import DecodeError, DecoderDisagreesError, Event, Finished, Frame
from rdmf_extract.decode.geometry import center_crop, resized
from rdmf_extract.decode.probe import Probe
from rdmf_extract.sampling import Sampling
from rdmf_extract.windows import Timeline

# While its decoding thread works, Decord counts polls as "retries": 64 fail on healthy files, the default of 10240 lets
# a damaged end spin for long. Read once, when the library loads.
EOF_RETRIES = "2048"
# While it waits for its first frame, Decord queues thousands of packets, and then decodes and keeps their frames
# however slowly they are taken: 1.5 GB were measured for ten minutes at 320 x 240. What may pile up is limited to this.
MOST_BYTES_AHEAD = 512 << 20
CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "matroska")
CODECS = ("h264", "hevc", "mpeg4")
DAMAGE = re.compile(
    r"\[\w+ @ 0x[0-9a-f]+\] *(.*(?:error|invalid|corrupt|conceal|missing|truncat|exceed|damaged|no frame).*)", re.I
)


def objection(probe: Probe, sampling: Sampling) -> str:
    """Why Decord should not be given this file, or "" where nothing speaks against it."""
    if probe.container not in CONTAINERS:
        return f"inexact or unsupported in Decord: container {probe.container}"
    if probe.codec not in CODECS:
        return f"inexact or unsupported in Decord: codec {probe.codec}"
    if probe.bits != 8:
        return f"{probe.bits}-bit video"
    if probe.rotation % 180:
        return "turned by a quarter: Decord's scaling shifts brightness there (by 2 of 255 at some sizes)"
    if probe.video_streams > 1:
        return f"{probe.video_streams} video streams"
    width, height = resized(probe.width, probe.height, sampling.resize)
    ahead = probe.packets * width * height * 3
    if ahead > MOST_BYTES_AHEAD:
        return f"long: Decord could hold {ahead / 1e6:.0f} MB of frames"
    if probe.cut_short or probe.corrupt_packets:
        return "damaged packets"
    if probe.discarded_packets or probe.untimed_packets:
        return "edit list, or packets without presentation times"
    if not len(probe.times) == probe.packets == probe.expected_frames:
        return f"{probe.packets} packets for {len(probe.times)} times and {probe.expected_frames} frames"
    return ""


def read_decord(probe: Probe, sampling: Sampling, tick: Callable[[], None]) -> Iterator[Event]:
    """Yield the frames that rows look at, then `Finished`. `tick` is called once per decoded frame.

    Decord applies a file's rotation itself, so the size asked for is that of the displayed picture. Frames are few
    where rows look at few, but Decord scales all it decodes.

    Raises:
        DecoderDisagreesError: what Decord gives does not fit the file's packets, or it complains of damage.
        DecodeError: Decord cannot decode the file at all, or is not installed.
    """
    decord = load_decord()
    mark = _log_size()
    times = probe.times
    try:
        turned = round(probe.rotation / 90) % 2 == 1
        wide, high = resized(probe.width, probe.height, sampling.resize)
        if turned:
            wide, high = high, wide
        reader = decord.VideoReader(str(probe.path), ctx=decord.cpu(0), width=wide, height=high, num_threads=1)
        if len(reader) != len(times):
            raise DecoderDisagreesError(f"Decord counts {len(reader)} frames, the file has {len(times)}")
        _check_times(reader, times)
        timeline = Timeline(sampling)
        count = used = 0
        last: Any = None
        last_seconds = 0.0
        for stamp in times:
            frame = reader.next()
            tick()
            seconds = stamp - times[0]
            if last is not None and timeline.advance(seconds):
                yield Frame(last_seconds, _picture(last, (high, wide), sampling.crop))
                used += 1
            last, last_seconds = frame, seconds
            count += 1
        image = _picture(last, (high, wide), sampling.crop)
    except StopIteration as error:
        raise DecoderDisagreesError(f"Decord stopped at frame {count} of {len(times)}") from error
    except decord.DECORDError as error:
        raise DecodeError(f"Decord failed: {_short(error)}") from error
    damage = DAMAGE.search(_log_since(mark))
    if damage:
        raise DecoderDisagreesError(f"Decord met damaged data: {damage.group(1)[:120]}")
    yield Frame(last_seconds, image)
    yield Finished(
        last_seconds + probe.last_seconds,
        count,
        1.0,
        f"decord {decord.__version__}",
        first_seconds=times[0],
        decoded=count,
        used=used + 1,
    )


def load_decord() -> Any:
    """The decord module, its retry limit set before it loads.

    Raises:
        DecodeError: it is not installed (there are no wheels for Arm).
    """
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", EOF_RETRIES)
    try:
        import decord
    except (ImportError, OSError) as error:
        raise DecodeError(f"Decord is not usable here: {error}") from error
    return decord


def _picture(frame: Any, size: tuple[int, int], crop: int) -> NDArray[np.uint8]:
    """The centre of a frame. Decord derives the channels from a padded line, and gets 4 where frames are narrow."""
    image: NDArray[np.uint8] = frame.asnumpy()
    if image.shape != (*size, 3):
        raise DecoderDisagreesError(f"Decord gave a frame of shape {image.shape} where {(*size, 3)} was asked for")
    return center_crop(image, crop)


def _check_times(reader: Any, times: tuple[float, ...]) -> None:
    first, last = reader.get_frame_timestamp(0)[0], reader.get_frame_timestamp(len(times) - 1)[0]
    if abs((last - first) - (times[-1] - times[0])) > 0.01 + 1e-5 * times[-1]:  # Decord keeps float32 seconds
        raise DecoderDisagreesError(
            f"Decord's times span {last - first:.3f} s, the file's {times[-1] - times[0]:.3f} s"
        )


def _log_size() -> int:
    """Bytes written so far to standard error, where it is a file (in a decoder process it always is)."""
    try:
        return os.fstat(2).st_size
    except OSError:
        return 0


def _log_since(mark: int) -> str:
    try:
        return os.pread(2, 1 << 16, mark).decode(errors="replace")
    except OSError:  # a terminal or a pipe cannot be read back
        return ""


def _short(error: BaseException) -> str:
    """The first line of one of Decord's many-line messages, without clock times and source lines."""
    line = next((text for text in str(error).splitlines() if text.strip()), "unknown error")
    return re.sub(r"\[[\d:]+\]\s*\S+:\d+:\s*", "", line).strip()[:200]
