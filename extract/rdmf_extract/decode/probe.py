"""What a file promises, read from its packets: the measure that decoders are held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rdmf_extract.decode.events import DecodeError, end_of_data
from rdmf_extract.decode.packets import PacketReader


@dataclass(frozen=True)
class Probe:
    """A file's video stream as its packets tell it.

    Attributes:
        stream_index: which of the file's streams holds the video.
        times: presentation times in seconds of the frames to be shown, sorted, without repeats. Packets without a time
            of their own count with their decoding time; empty where the container has neither.
        packets: packets to be shown, those that share a time included.
        expected_frames: frames that an undamaged file of this header would give, at least 1.
        header_seconds: duration that the header claims for the video stream, or 0 where it claims none.
        frame_seconds: 1 / average frame rate, or 0 where unknown.
        last_seconds: how long the last frame is displayed, by its packet or else by the frame rate.
        rotation: degrees counter-clockwise by which the first frame is to be turned for display.
        order: presentation times of the packets in the order of the file, which is that of decoding.
        kinds: what depends on each of these packets (see `packets`); empty where that is not certain.
    """

    path: Path
    container: str
    codec: str
    width: int
    height: int
    bits: int
    stream_index: int
    video_streams: int
    times: tuple[float, ...]
    packets: int
    untimed_packets: int
    corrupt_packets: int
    discarded_packets: int
    expected_frames: int
    header_seconds: float
    frame_seconds: float
    last_seconds: float
    rotation: int
    cut_short: str = ""
    order: tuple[float, ...] = ()
    kinds: bytes = b""


def open_video(path: Path) -> tuple[Any, Any]:
    """(container, video stream) of PyAV: the first video stream that is not a cover picture.

    Raises:
        DecodeError: the file is missing, empty, no media file, or without video.
    """
    import av

    if not path.is_file():
        raise DecodeError("file not found" if not path.exists() else "not a file")
    if path.stat().st_size == 0:
        raise DecodeError("the file is empty")
    try:
        container = _open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(f"not a video file that FFmpeg can open: {end_of_data(error)}") from error
    if container.format.name in _TEXT_ART:
        container.close()
        raise DecodeError("not a video file: FFmpeg would draw it as text")
    for stream in container.streams.video:
        if not int(stream.disposition) & _ATTACHED_PICTURE:
            return container, stream
    container.close()
    raise DecodeError("no video stream in the file")


def _open(path: str) -> Any:
    """The container, without what its metadata say in no known encoding: PyAV 19 leaves that out unasked."""
    import av

    if int(av.__version__.split(".")[0]) < 19:
        return av.open(path, metadata_errors="ignore")
    return av.open(path)


FIRST_FRAME_PACKETS = 32  # look no further than this for the first frame, which alone tells the rotation
UNKNOWN_FRAME_SECONDS = 0.04
# Demuxers that take any .txt, .bin, ... and show its bytes as characters of a terminal.
_TEXT_ART = frozenset({"tty", "bin", "xbin", "adf", "idf"})
_ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC: album art in an audio file


def probe(path: Path, tick: Callable[[], None] = lambda: None) -> Probe:
    """Read all packet headers of the file's video stream, and decode its first frame (milliseconds a minute of video).

    `tick` is called once per packet, as a sign of life.

    Raises:
        DecodeError: as `open_video`, or the stream has no packets or no picture size.
    """
    import av

    container, stream = open_video(path)
    with container:
        context = stream.codec_context
        if context is None:
            raise DecodeError(f"no decoder for this video ({container.format.name})")
        stream.thread_type = "NONE"
        rotation: int | None = None
        times: dict[float, float] = {}  # presentation time -> how long the frame is displayed
        packets = untimed = corrupt = discarded = 0
        cut_short = ""
        order: list[float] = []
        kinds = bytearray()
        reader = PacketReader(context.name, bytes(context.extradata or b""))
        base = float(stream.time_base) if stream.time_base else 0.0
        try:
            for packet in container.demux(stream):
                tick()
                if packet.size == 0:
                    continue  # the flush packet at the end
                if packet.is_discard:
                    discarded += 1  # cut away by an edit list: decoded, never shown
                    continue
                packets += 1
                if rotation is None and packets <= FIRST_FRAME_PACKETS:
                    rotation = _rotation(packet)
                corrupt += packet.is_corrupt
                stamp = packet.pts if packet.pts is not None else packet.dts
                untimed += packet.pts is None
                if stamp is not None:
                    seconds = stamp * base
                    times[seconds] = (packet.duration or 0) * base
                    order.append(seconds)
                    kinds.append(reader.kind(packet))
        except (av.FFmpegError, OSError) as error:
            cut_short = end_of_data(error)
        if packets == 0:
            raise DecodeError("the video stream holds no data" + (f": {cut_short}" if cut_short else ""))
        rate = stream.average_rate or stream.guessed_rate
        drops = container.format.name == "avi"  # its header counts dropped frames, too: packets of no bytes
        bits = context.format.components[0].bits if context.format is not None else 8
        return Probe(
            path=path,
            container=container.format.name,
            codec=context.name,
            width=context.width,
            height=context.height,
            bits=bits,
            stream_index=stream.index,
            video_streams=len(container.streams.video),
            times=tuple(sorted(times)),
            packets=packets,
            untimed_packets=untimed,
            corrupt_packets=corrupt,
            discarded_packets=discarded,
            expected_frames=max(len(times) or packets, 0 if drops else stream.frames - discarded),
            header_seconds=_header_seconds(container, stream, base, min(times, default=0.0)),
            frame_seconds=1.0 / float(rate) if rate else 0.0,
            last_seconds=(times[max(times)] if times else 0.0)
            or (1.0 / float(rate) if rate else UNKNOWN_FRAME_SECONDS),
            rotation=rotation or 0,
            cut_short=cut_short,
            order=tuple(order),
            kinds=bytes(kinds) if reader.sure else b"",
        )


def _rotation(packet: Any) -> int | None:
    """Rotation of the first frame this packet completes; None where it completes none."""
    import av

    try:
        return next((int(frame.rotation) for frame in packet.decode()), None)
    except av.FFmpegError as error:  # damage: the reader, not the probe, says so
        end_of_data(error)
        return None


def _header_seconds(container: Any, stream: Any, base: float, first_seconds: float) -> float:
    if stream.duration:
        return float(stream.duration) * base
    # Matroska keeps the time at which a stream ends, counted from zero, as "00:00:10.333000000".
    parts = stream.metadata.get("DURATION", "").split(":")
    if len(parts) == 3:
        try:
            return max(0.0, int(parts[0]) * 3600 + int(parts[1]) * 60 + float(parts[2]) - first_seconds)
        except ValueError:
            return 0.0
    # The container's own length counts audio too, so it speaks for the video only where there is nothing else.
    alone = len(container.streams) == 1 and container.duration
    return max(0.0, container.duration / 1e6 - max(0.0, first_seconds)) if alone else 0.0
