"""Videos to measure extraction on, where the user has none to name: rendered here, alike on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FPS = 25
SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v"})


@dataclass(frozen=True)
class Sizes:
    """How many videos, and how large each."""

    videos: int
    seconds: float
    width: int
    height: int


USUAL = Sizes(videos=3, seconds=40.0, width=640, height=360)
TINY = Sizes(videos=2, seconds=3.0, width=128, height=96)


def render_samples(folder: Path, sizes: Sizes) -> list[Path]:
    """Moving texture with a square that wanders, H.264 with x264's usual groups of pictures (B-frames, 250 frames)."""
    return [_render(folder / f"sample-{i}.mp4", sizes, seed=i) for i in range(sizes.videos)]


def _render(path: Path, sizes: Sizes, *, seed: int) -> Path:
    import av

    rng = np.random.default_rng(seed)
    texture = _texture(rng, sizes.height * 2, sizes.width * 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = sizes.width, sizes.height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23"}
        for number in range(round(sizes.seconds * FPS)):
            frame = av.VideoFrame.from_ndarray(_picture(texture, sizes, number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """(height, width, 3): blobs of several sizes, as much detail as a photograph has."""
    picture = np.zeros((height, width, 3))
    for size in (64, 16, 4):
        coarse = rng.uniform(0, 255, (height // size + 1, width // size + 1, 3))
        picture += coarse.repeat(size, 0).repeat(size, 1)[:height, :width] / 3
    return picture.astype(np.uint8)


def _picture(texture: NDArray[np.uint8], sizes: Sizes, number: int) -> NDArray[np.uint8]:
    across = round((1 + np.sin(number / 40)) / 2 * sizes.width)
    down = round((1 + np.cos(number / 60)) / 2 * sizes.height)
    view = texture[down : down + sizes.height, across : across + sizes.width].copy()
    side = sizes.height // 5
    left, top = number * 3 % (sizes.width - side), number * 2 % (sizes.height - side)
    view[top : top + side, left : left + side] = 255 - view[top : top + side, left : left + side]
    return view


def video_files(named: list[Path]) -> list[Path]:
    """The files that were named, and those in folders that were named.

    Raises:
        InputError: something named is not there, or a folder holds no video.
    """
    from rdmf.store.errors import InputError

    files: list[Path] = []
    for path in named:
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not path.exists():
            raise InputError(f"--videos {path}: there is no such file or folder")
        if not inside:
            raise InputError(f"--videos {path}: no video in this folder ({', '.join(sorted(SUFFIXES))})")
        files += inside
    return files
