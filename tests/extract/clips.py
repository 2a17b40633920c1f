"""Renders the small videos that decoding is tested on, with PyAV."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 96, 64
MILLISECONDS = Fraction(1, 1000)


def level(seconds: float) -> float:
    """Grey level in [0, 255] of a frame shown from `seconds` on: brightness tells the time."""
    return 30.0 + 20.0 * seconds


def picture(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 with mean `level(seconds)` and some texture, so that packets have a size."""
    noise = rng.normal(0.0, 6.0, (HEIGHT // 8, WIDTH // 8)).repeat(8, 0).repeat(8, 1)
    grey = level(seconds) + noise - noise.mean()
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def render(
    path: Path,
    times: Sequence[float],
    *,
    images: Sequence[np.ndarray] | None = None,
    offset: float = 0.0,
    rotation: int = 0,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
) -> Path:
    """Write frames shown from `times` (seconds) on; B-frames and a short GOP, as real files have."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {"g": "12", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.codec_context.time_base = MILLISECONDS
        stream.time_base = MILLISECONDS
        if not times:
            container.start_encoding()  # a header and no data
        if rotation:
            stream.set_display_rotation(rotation)
        for i, seconds in enumerate(times):
            image = picture(seconds, rng) if images is None else images[i]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = round((seconds + offset) * 1000), MILLISECONDS
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def every(step: float, count: int) -> list[float]:
    """`count` times, `step` seconds apart, from 0."""
    return [i * step for i in range(count)]


def cut(source: Path, path: Path, share: float) -> Path:
    """The first `share` of a file's bytes."""
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def scramble(source: Path, path: Path, start: float, end: float) -> Path:
    """A copy whose bytes in [start, end) of its length are noise."""
    data = bytearray(source.read_bytes())
    first, last = int(len(data) * start), int(len(data) * end)
    data[first:last] = np.random.default_rng(1).integers(0, 256, last - first, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    return path


def sound(path: Path) -> Path:
    """A file with one second of audio and nothing else."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(np.zeros(8000, np.int16).tobytes())
    return path
