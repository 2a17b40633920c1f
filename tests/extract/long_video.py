"""A three-hour video in seconds: one minute rendered, its packets written over and over; and extraction in a process.

Run as a program: VIDEO OUT extracts it with an encoder of 1280 numbers and prints how many rows there are.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from rdmf.store import QueryRecord
from rdmf_extract.pipeline import extract
from rdmf_extract.sampling import Sampling

FPS, MINUTE = 10, 60
WIDTH, HEIGHT = 96, 64
DIM = 1280
SAMPLING = Sampling(fps=2.0, window_seconds=1.0, stride_seconds=1.0, frames_per_window=2, resize=64, crop=64)


def render_long(path: Path, minutes: int) -> Path:
    """`minutes` of moving noise, 96 x 64, ten frames a second, groups of five seconds."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (HEIGHT // 8, WIDTH // 8 * 2, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        packets = []
        for i in range(FPS * MINUTE):
            picture = np.ascontiguousarray(noise[:, i % WIDTH : i % WIDTH + WIDTH])
            packets += stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
        packets += stream.encode(None)
        written = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in packets]
        for minute in range(minutes):
            for data, pts, dts, key in written:
                packet = av.Packet(data)
                packet.stream, packet.time_base, packet.duration = stream, Fraction(1, FPS), 1
                packet.pts, packet.dts = pts + minute * FPS * MINUTE, dts + minute * FPS * MINUTE
                packet.is_keyframe = key
                container.mux(packet)
    return path


class Repeating:
    """The mean colour of a row, `DIM` times: rows as wide as an image network's, for nothing."""

    name, dim, source, sampling = "repeating", DIM, "here", SAMPLING

    def __init__(self) -> None:
        self.provenance = {"encoder": self.name}

    def encode(self, frames: np.ndarray) -> np.ndarray:
        means = frames.mean(axis=(1, 2, 3, 4), dtype=np.float64) / 255
        return np.repeat(means[:, None], DIM, axis=1).astype(np.float32)


class Letters:
    """A sentence's length."""

    name, dim, max_tokens, source = "letters", 1, 99, "here"

    def __init__(self) -> None:
        self.provenance = {"encoder": self.name}

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        return [np.array([[len(text)]], np.float32) for text in texts]


def main(video: str, out: str) -> None:
    queries = [QueryRecord(0, "long", "something", "train")]
    summary = extract(
        {"long": Path(video)}, queries, out=Path(out), video_encoder=Repeating(), text_encoder=Letters(), workers=1
    )
    print(summary.rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
