"""How fast `rdmf features verify` reads: beside plain reading and plain sha256, by number of threads.

    OMP_NUM_THREADS=1 python benchmarks/verify_speed.py --megabytes 2000

Of a self-contained cache, and of an index over sixteen parts. Every byte is hashed twice, as part of its file and as
part of its video, so a second core is worth as much as the first. Best of `--repeat` rounds in which all take turns.
Where the system allows it, the last column is of a file that it was asked to forget before.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rdmf.store import PartWriter, Provenance, TextRecord, VideoRecord, merge, verify

PARTS, ROWS, WIDTH = 16, 75, 768


def make(folder: Path, megabytes: int) -> tuple[Path, Path, list[Path]]:
    """A self-contained cache, an index, and the index's parts, of random features."""
    generator = np.random.default_rng(0)
    each = max(1, int(megabytes * 1e6 / PARTS / (ROWS * WIDTH * 2)))
    times = np.stack([np.arange(ROWS), np.arange(ROWS) + 1.0], axis=1)
    parts = []
    for number in range(PARTS):
        with PartWriter(folder / f"{number}.h5", Provenance({}, {})) as writer:
            for video in range(each):
                features = generator.standard_normal((ROWS, WIDTH), np.float32)
                writer.add_video(VideoRecord(f"v{number}-{video}", features, times, float(ROWS)))
            writer.add_text(TextRecord("open the door", np.ones((5, 8))))
        parts.append(writer.path)
    return merge(parts, folder / "whole.h5"), merge(parts, folder / "index.h5", self_contained=False), parts


def read(path: Path) -> None:
    """All bytes of a file, as `cat` would."""
    piece = bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(piece):
            pass


def hash_all(path: Path) -> None:
    """sha256 of all bytes of a file, as `sha256sum` would."""
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else hashlib.sha256(file.read())


def forget(path: Path) -> None:
    """Asks the system to drop what it holds of a file in memory."""
    handle = os.open(path, os.O_RDONLY)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--folder", type=Path, default=None, help="On the disk to measure; default: a temporary one.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        whole, index, parts = make(Path(folder), options.megabytes)
        ways: dict[str, tuple[Callable[[], object], list[Path]]] = {
            "read": (lambda: read(whole), [whole]),
            "sha256": (lambda: hash_all(whole), [whole]),
        }
        for workers in options.workers:
            threads = "1 thread" if workers == 1 else f"{workers} threads"
            ways[f"verify, {threads}"] = (lambda w=workers: _sound(whole, w), [whole])
            ways[f"verify the index, {threads}"] = (lambda w=workers: _sound(index, w), [index, *parts])
        warm: dict[str, float] = {}
        cold: dict[str, float] = {}
        for turn in range(options.repeat + 1):
            for name, (way, files) in ways.items():
                if turn == options.repeat:
                    for path in files:
                        forget(path)
                start = time.perf_counter()
                way()
                rate = sum(path.stat().st_size for path in files) / 1e6 / (time.perf_counter() - start)
                (cold if turn == options.repeat else warm)[name] = max(
                    rate, warm.get(name, 0) * (turn < options.repeat)
                )
        print(f"{whole.stat().st_size / 1e6:,.0f} MB, {os.cpu_count()} cores; MB/s")
        print(f"{'':<34}{'in memory':>12}{'from disk':>12}")
        for name in ways:
            print(f"{name:<34}{warm[name]:>12,.0f}{cold[name]:>12,.0f}")


def _sound(path: Path, workers: int) -> None:
    assert verify(path, workers=workers) == []


if __name__ == "__main__":
    main()
