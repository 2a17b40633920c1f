"""Opening and reading a feature cache, beside the same content as plain HDF5 and as one npz a video."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from rdmf.store import Cache, open_cache, subset
from rdmf.train.data import Split
from rdmf_pipelines.benching.bench import Bench, DisagreementError

GROUP = "cache"
NPZ, HDF5, OURS = "npz a video", "plain HDF5", "rdmf"
#: More videos than these are not copied from a user's cache.
MOST_VIDEOS = 96
ABOUT = (
    "The features of {videos} videos, {rows:,} rows of {width} numbers, lying in the system's page cache. *npz a "
    "video* is how published loops keep features; *plain HDF5* has a group a video. In brackets: how many times as "
    "fast as npz, or as plain HDF5 where there is no npz. All give the same rows; the last line also gives the "
    "sentences', and with rdmf the targets."
)


class Copies:
    """The content of a cache as peers keep it.

    Args:
        cache: an open cache. folder: where to write.
    """

    def __init__(self, cache: Cache, folder: Path) -> None:
        self.folder, self.count, self.sentences = folder, cache.n_videos, cache.n_texts
        self.plain = folder / "plain.h5"
        with h5py.File(self.plain, "w") as file:
            for number in range(self.count):
                features, times = cache.video(number)
                np.savez(folder / f"video-{number}.npz", features=features, times=times)
                group = file.create_group(f"video/{number}")
                group["features"], group["times"] = features, times
            for number in range(self.sentences):
                tokens = cache.text(number)
                np.savez(folder / f"text-{number}.npz", features=tokens)
                file[f"text/{number}"] = tokens

    def npz_video(self, number: int) -> tuple[Any, Any]:
        """(features, times) of one."""
        with np.load(self.folder / f"video-{number}.npz") as file:
            return file["features"], file["times"]

    def npz_text(self, number: int) -> Any:
        """Token features of one sentence."""
        with np.load(self.folder / f"text-{number}.npz") as file:
            return file["features"]


def measure(bench: Bench) -> None:
    """A line a task."""
    folder = bench.folder / "copies"
    folder.mkdir()
    bench.tell("cache: the same content in other files")
    path = bench.cache
    with open_cache(path) as cache:
        too_many = cache.n_videos > MOST_VIDEOS
    if too_many:
        path = subset(path, folder / "part.h5", limit=MOST_VIDEOS)
    with open_cache(path) as cache:
        copies = Copies(cache, folder)
        bench.sheet.about[GROUP] = ABOUT.format(videos=cache.n_videos, rows=cache.n_rows, width=cache.d_video)
        with h5py.File(copies.plain, "r") as plain:
            for case, ways in tasks(bench, cache, copies, plain).items():
                refuse_other_rows(case, ways)
                bench.compare(GROUP, case, ways, against=NPZ if NPZ in ways else HDF5)


def tasks(bench: Bench, cache: Cache, copies: Copies, plain: h5py.File) -> dict[str, dict[str, Callable[[], Any]]]:
    """{task: {way: what does it, giving rows}}; opening gives the number of videos."""
    order = np.random.default_rng(0).permutation(cache.n_videos).tolist()
    next_of = {name: _forever(order) for name in (NPZ, HDF5, OURS)}
    every, said = range(cache.n_videos), range(cache.n_texts)

    def open_plain() -> Any:
        with h5py.File(copies.plain, "r") as file:
            return np.array([len(file["video"])])

    def open_ours() -> Any:
        with open_cache(cache.path) as opened:
            return np.array([opened.n_videos])

    def on_device(rows: list[Any]) -> Any:
        return torch.from_numpy(np.concatenate(rows)).to(bench.device)

    def both_npz() -> Any:
        tokens = on_device([copies.npz_text(i) for i in said])
        return on_device([copies.npz_video(i)[0] for i in every]), tokens

    def both_plain() -> Any:
        tokens = on_device([plain[f"text/{i}"][()] for i in said])
        return on_device([plain[f"video/{i}/features"][()] for i in every]), tokens

    def both_ours() -> Any:
        known = np.flatnonzero(cache.queries.video_index >= 0).astype(np.int64)
        split = Split.load(cache, known, device=bench.device)
        return split.rows, split.tokens

    return {
        "open": {HDF5: open_plain, OURS: open_ours},
        "read one video": {
            NPZ: lambda: copies.npz_video(next(next_of[NPZ])),
            HDF5: lambda: _plain_video(plain, next(next_of[HDF5])),
            OURS: lambda: cache.video(next(next_of[OURS])),
        },
        "read all rows": {
            NPZ: lambda: np.concatenate([copies.npz_video(i)[0] for i in every]),
            HDF5: lambda: np.concatenate([plain[f"video/{i}/features"][()] for i in every]),
            OURS: cache.video_rows,
        },
        "a split onto the device": {NPZ: both_npz, HDF5: both_plain, OURS: both_ours},
    }


def _forever(order: list[int]) -> Any:
    while True:
        yield from order


def _plain_video(plain: h5py.File, number: int) -> tuple[Any, Any]:
    return plain[f"video/{number}/features"][()], plain[f"video/{number}/times"][()]


def refuse_other_rows(case: str, ways: dict[str, Callable[[], Any]]) -> None:
    """Raises DisagreementError where the ways do not give the very same numbers."""
    found = {name: _arrays(way()) for name, way in ways.items()}
    first, right = next(iter(found.items()))
    for name, arrays in found.items():
        same = len(arrays) == len(right) and all(map(partial(np.array_equal, equal_nan=True), arrays, right))
        if not same:
            raise DisagreementError(f"cache, {case}: '{name}' reads other numbers than '{first}'; nothing was timed")


def _arrays(value: Any) -> list[Any]:
    parts = value if isinstance(value, tuple) else (value,)
    return [part.cpu().numpy() if isinstance(part, torch.Tensor) else np.asarray(part) for part in parts]
