"""PyAV: decodes everything FFmpeg can, packet by packet, and gets past damage."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf_extract.decode.events import DecodeError, Event, Finished, Frame, end_of_data
from rdmf_extract.decode.geometry import center_crop, resized, upright
from rdmf_extract.decode.probe import UNKNOWN_FRAME_SECONDS, Probe, open_video
from rdmf_extract.sampling import Sampling
from rdmf_extract.windows import Timeline

REORDER_DEPTH = 16  # the most frames that H.264 may hold back, so no time is further than this from its place
LONGEST_GAP_SECONDS = 3600.0


def read_pyav(probe: Probe, sampling: Sampling, tick: Callable[[], None]) -> Iterator[Event]:
    """Yield the frames that rows look at, then `Finished`. `tick` is called once per decoded frame.

    Raises:
        DecodeError: no frame could be decoded, or the file's times make no sense.
    """
    import av
    from av.video.reformatter import VideoReformatter

    packets = PacketDecoder(probe)
    reformatter: Any = VideoReformatter()  # one for all frames: it keeps the scaler's tables
    # Newer PyAV scales on all cores unless told not to; older PyAV has no such option.
    options = {"threads": 1} if "threads" in (reformatter.reformat.__doc__ or "") else {}
    timeline = Timeline(sampling)

    def picture(frame: Any) -> NDArray[np.uint8]:
        width, height = resized(frame.width, frame.height, sampling.resize)
        # Bilinear is what Decord's filter graph uses; scaling before the crop and in YUV keeps this cheap.
        small: NDArray[np.uint8] = reformatter.reformat(
            frame, width, height, "rgb24", interpolation="BILINEAR", **options
        ).to_ndarray()
        return np.ascontiguousarray(center_crop(upright(small, frame.rotation), sampling.crop))

    last: Any = None
    last_seconds = 0.0
    count = 0
    for seconds, frame in packets.timed_frames():
        tick()
        seconds = max(seconds, last_seconds)  # a time that runs backwards replaces the frame before it
        if seconds - last_seconds > max(LONGEST_GAP_SECONDS, probe.header_seconds):
            raise DecodeError(f"presentation times jump from {last_seconds:.0f} s to {seconds:.0f} s")
        if last is not None and timeline.advance(seconds):
            yield Frame(last_seconds, picture(last))
        last, last_seconds = frame, seconds
        count += 1
    if last is None:
        detail = packets.error or probe.cut_short
        raise DecodeError("no frame could be decoded" + (f": {detail}" if detail else ""))
    duration = last_seconds + (packets.frame_seconds(last) or probe.last_seconds)
    yield Frame(last_seconds, picture(last))
    yield Finished(
        duration=duration,
        frames=count,
        recovered=recovered_share(probe, count, duration),
        decoder=f"pyav {av.__version__}",
        first_seconds=packets.origin,
        bad_packets=packets.bad,
    )


def recovered_share(probe: Probe, frames: int, duration: float) -> float:
    """Share of the promised video that was decoded: by frames, and by time where the header says how long it was."""
    share = frames / max(1, probe.expected_frames)
    if probe.header_seconds > 0:
        # Headers round, and some count a moment of nothing at the end: half a second is no loss.
        share = min(share, (duration + 0.5) / probe.header_seconds)
    return float(min(1.0, max(share, 1e-6)))


class PacketDecoder:
    """The decoder loop: frames in order of presentation, errors counted packet by packet.

    Attributes:
        origin: presentation time in the file's own clock that counts as 0, that of the first frame the file lists.
        bad: packets that could not be decoded.
        error: what the last of them was about.
    """

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self.origin = probe.times[0] if probe.times else 0.0
        self.bad = 0
        self.error = ""
        self._base = 0.0

    def frame_seconds(self, frame: Any) -> float:
        """How long a frame is displayed according to its packet, or 0."""
        return float(frame.duration) * self._base if frame.duration else 0.0

    def timed_frames(self) -> Iterator[tuple[float, Any]]:
        """(seconds since `origin`, PyAV frame) of every frame that can be decoded."""
        if self._probe.container != "avi":
            yield from self._stamped()
            return
        # AVI keeps no presentation times; FFmpeg guesses them from decoding order, which swaps neighbours where there
        # are B-frames. The decoder's order is right, so the same times are handed out sorted.
        times: list[float] = []
        frames: deque[Any] = deque()
        for seconds, frame in self._stamped():
            heapq.heappush(times, seconds)
            frames.append(frame)
            if len(frames) > REORDER_DEPTH:
                yield heapq.heappop(times), frames.popleft()
        while frames:
            yield heapq.heappop(times), frames.popleft()

    def _stamped(self) -> Iterator[tuple[float, Any]]:
        previous: float | None = None
        for frame in self._frames():
            if frame.pts is not None:
                seconds = frame.pts * self._base - self.origin
            else:  # a stream without times runs at its average rate
                seconds = 0.0 if previous is None else previous + (self._probe.frame_seconds or UNKNOWN_FRAME_SECONDS)
            previous = max(0.0, seconds)
            yield previous, frame

    def _frames(self) -> Iterator[Any]:
        import av

        container, stream = open_video(self._probe.path)
        with container:
            # Frame threading loses frames on truncated files, and one decoder a core beats one on many.
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
            self._base = float(stream.time_base) if stream.time_base else 0.0
            flushed = False
            try:
                for packet in container.demux(stream):
                    flushed = packet.size == 0
                    try:
                        yield from packet.decode()
                    except (av.InvalidDataError, av.error.EOFError) as error:
                        self.bad += not flushed
                        self.error = str(error.strerror or error)
            except (av.FFmpegError, OSError) as error:  # the file ends before its data does
                self.error = end_of_data(error)
            if not flushed:
                try:
                    yield from stream.codec_context.decode(None)
                except av.FFmpegError as error:
                    self.error = end_of_data(error)
