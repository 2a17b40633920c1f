"""PyAV: decodes everything FFmpeg can, packet by packet, and gets past damage."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf_extract.decode.events import DecodeError, Event, Finished, Frame, Restart, end_of_data
from rdmf_extract.decode.geometry import center_crop, resized, upright
from rdmf_extract.decode.probe import UNKNOWN_FRAME_SECONDS, Probe, open_video
from rdmf_extract.decode.selection import ANEW, PASS, Selection, select
from rdmf_extract.sampling import Sampling
from rdmf_extract.windows import Timeline

REORDER_DEPTH = 16  # the most frames that H.264 may hold back, so no time is further than this from its place
LONGEST_GAP_SECONDS = 3600.0


class UnsureError(Exception):
    """Decoding only what is used did not give what the packets promised."""


def read_pyav(probe: Probe, sampling: Sampling, tick: Callable[[], None]) -> Iterator[Event]:
    """Yield the frames that rows look at, then `Finished`. `tick` is called once per packet or decoded frame.

    Only what those frames need is decoded, where that is certain; where it turns out otherwise there is a `Restart`,
    and everything is decoded. Either way they are the same frames, bit for bit.

    Raises:
        DecodeError: no frame could be decoded, or the file's times make no sense.
    """
    jumps = any(until - since > _longest_gap(probe) for since, until in pairwise(probe.times))
    selection = None if jumps else select(probe, sampling)
    if selection is not None:
        try:
            yield from _read_selected(probe, sampling, selection, tick)
            return
        except UnsureError as error:
            yield Restart(f"everything is decoded: {error}", takeover=False)
    yield from read_everything(probe, sampling, tick)


def read_everything(probe: Probe, sampling: Sampling, tick: Callable[[], None]) -> Iterator[Event]:
    packets, picture = PacketDecoder(probe), _Pictures(sampling)
    timeline = Timeline(sampling)
    last: Any = None
    last_seconds = 0.0
    count = used = 0
    for seconds, frame in packets.timed_frames():
        tick()
        seconds = max(seconds, last_seconds)  # a time that runs backwards replaces the frame before it
        if seconds - last_seconds > _longest_gap(probe):
            raise DecodeError(f"presentation times jump from {last_seconds:.0f} s to {seconds:.0f} s")
        if last is not None and timeline.advance(seconds):
            yield Frame(last_seconds, picture(last))
            used += 1
        last, last_seconds = frame, seconds
        count += 1
    if last is None:
        detail = packets.error or probe.cut_short
        raise DecodeError("no frame could be decoded" + (f": {detail}" if detail else ""))
    yield Frame(last_seconds, picture(last))
    yield _finished(packets, last, last_seconds, frames=count, decoded=count, used=used + 1)


def _read_selected(probe: Probe, sampling: Sampling, selection: Selection, tick: Callable[[], None]) -> Iterator[Event]:
    """The same, decoding only what `selection` names.

    Raises:
        UnsureError: a frame is missing, damaged, or not where it should be.
    """
    packets, picture = PacketDecoder(probe), _Pictures(sampling)
    found = decoded = 0
    last: Any = None
    last_seconds = 0.0
    for frame in packets.selected_frames(selection.actions, tick):
        tick()
        decoded += 1
        if frame.is_corrupt or frame.pts is None:
            raise UnsureError("a frame is damaged")
        seconds = packets.seconds(frame)
        if found < len(selection.wanted) and seconds >= selection.wanted[found]:
            if seconds > selection.wanted[found]:
                raise UnsureError(f"no frame at {selection.wanted[found]:.3f} s")
            yield Frame(seconds, picture(frame))
            found += 1
            last, last_seconds = frame, seconds
    if found < len(selection.wanted):
        raise UnsureError(f"no frame at {selection.wanted[found]:.3f} s")
    yield _finished(packets, last, last_seconds, frames=probe.packets, decoded=decoded, used=found)


def _longest_gap(probe: Probe) -> float:
    """Seconds between neighbouring frames beyond which the file's times cannot be meant."""
    return max(LONGEST_GAP_SECONDS, probe.header_seconds)


class _Pictures:
    """PyAV frames to (crop, crop, 3) uint8 RGB, scaled by FFmpeg from YUV: no picture is RGB at its full size."""

    def __init__(self, sampling: Sampling) -> None:
        from av.video.reformatter import VideoReformatter

        self._sampling = sampling
        self._reformatter: Any = VideoReformatter()  # one for all frames: it keeps the scaler's tables
        # Newer PyAV scales on all cores unless told not to; older PyAV has no such option.
        self._options = {"threads": 1} if "threads" in (self._reformatter.reformat.__doc__ or "") else {}

    def __call__(self, frame: Any) -> NDArray[np.uint8]:
        width, height = resized(frame.width, frame.height, self._sampling.resize)
        # Bilinear is what Decord's filter graph uses; scaling before the crop and in YUV keeps this cheap.
        small: NDArray[np.uint8] = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation="BILINEAR", **self._options
        ).to_ndarray()
        return np.ascontiguousarray(center_crop(upright(small, frame.rotation), self._sampling.crop))


def _finished(
    packets: PacketDecoder, last: Any, last_seconds: float, *, frames: int, decoded: int, used: int
) -> Finished:
    import av

    duration = last_seconds + (packets.frame_seconds(last) or packets.probe.last_seconds)
    return Finished(
        duration=duration,
        frames=frames,
        recovered=recovered_share(packets.probe, frames, duration),
        decoder=f"pyav {av.__version__}",
        first_seconds=packets.origin,
        bad_packets=packets.bad,
        decoded=decoded,
        used=used,
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
        probe: what the file promises.
        origin: presentation time in the file's own clock that counts as 0, that of the first frame the file lists.
        bad: packets that could not be decoded.
        error: what the last of them was about.
    """

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.origin = probe.times[0] if probe.times else 0.0
        self.bad = 0
        self.error = ""
        self._base = 0.0

    def frame_seconds(self, frame: Any) -> float:
        """How long a frame is displayed according to its packet, or 0."""
        return float(frame.duration) * self._base if frame.duration else 0.0

    def seconds(self, frame: Any) -> float:
        """When a frame that has a time is shown, from `origin`."""
        return float(frame.pts * self._base - self.origin)

    def timed_frames(self) -> Iterator[tuple[float, Any]]:
        """(seconds since `origin`, PyAV frame) of every frame that can be decoded."""
        if self.probe.container != "avi":
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
                seconds = self.seconds(frame)
            else:  # a stream without times runs at its average rate
                seconds = 0.0 if previous is None else previous + (self.probe.frame_seconds or UNKNOWN_FRAME_SECONDS)
            previous = max(0.0, seconds)
            yield previous, frame

    def _frames(self) -> Iterator[Any]:
        import av

        with self._open() as (container, stream):
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

    def selected_frames(self, actions: bytes, tick: Callable[[], None]) -> Iterator[Any]:
        """The frames of these packets only, see `Selection`.

        Raises:
            UnsureError: the packets are not those that were probed, or one of them cannot be decoded.
        """
        import av

        with self._open() as (container, stream):
            context = stream.codec_context
            context.options = {"err_detect": "explode"}  # raise on damage instead of painting over it
            number, order = 0, self.probe.order
            try:
                for packet in container.demux(stream):
                    if packet.size == 0:
                        continue
                    if number == len(actions) or packet.pts is None or packet.pts * self._base != order[number]:
                        raise UnsureError("the file changed")
                    action, number = actions[number], number + 1
                    if action == PASS:
                        tick()
                        continue
                    if action == ANEW:
                        yield from context.decode(None)
                        context.flush_buffers()
                    yield from packet.decode()
                yield from context.decode(None)
            except (av.FFmpegError, OSError) as error:
                raise UnsureError(end_of_data(error)) from error
            if number < len(actions):
                raise UnsureError("the file changed")

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, Any]]:
        """(container, stream), ready to be demuxed."""
        container, stream = open_video(self.probe.path)
        with container:
            # Frame threading loses frames on truncated files, and one decoder a core beats one on many.
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
            self._base = float(stream.time_base) if stream.time_base else 0.0
            yield container, stream
