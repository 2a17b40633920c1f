"""Where an index's rows lie: runs of rows in the files that hold them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rdmf.store.compose import Links
from rdmf.store.errors import InputError
from rdmf.store.parts import DataFile
from rdmf.store.ragged import offsets_of
from rdmf.store.records import Array
from rdmf.store.selection import Selection
from rdmf.store.tables import digest_table

_NO_RUNS = np.zeros((0, 3), np.int64)


def links_of(selections: Sequence[Selection], out: Path) -> Links:
    """Where the rows of selections lie. Indexes among their caches are looked through, so links are one step long,
    and files that hold none of the rows are left out.

    Raises:
        InputError: `out` is one of the files that hold the rows.
    """
    files: list[DataFile] = []
    video_runs, text_runs = [_NO_RUNS], [_NO_RUNS]
    n_rows = n_tokens = 0
    for selection in selections:
        cache = selection.cache
        rows = selection.stretches("video/row_offsets", selection.videos)
        tokens = selection.stretches("text/token_offsets", selection.texts)
        video_runs.append(moved(cache.video_runs, rows, cache.n_rows, first_file=len(files), at=n_rows))
        text_runs.append(moved(cache.text_runs, tokens, cache.n_tokens, first_file=len(files), at=n_tokens))
        n_rows += int((rows[:, 1] - rows[:, 0]).sum())
        n_tokens += int((tokens[:, 1] - tokens[:, 0]).sum())
        files += cache.data_files
        cache.close()
    videos, texts = np.concatenate(video_runs), np.concatenate(text_runs)
    used = np.union1d(videos[:, 0], texts[:, 0])
    for runs in (videos, texts):
        runs[:, 0] = np.searchsorted(used, runs[:, 0])
    files = [files[number] for number in used.tolist()]
    return Links(
        paths=_relative(files, out),
        n_bytes=np.array([file.n_bytes for file in files], np.int64),
        sha256=digest_table([bytes.fromhex(file.sha256) for file in files]),
        data_offsets=np.array([file.offsets for file in files], np.int64).reshape(-1, 3),
        video_runs=videos,
        text_runs=texts,
    )


def moved(runs: Array, stretches: Array, n_rows: int, *, first_file: int, at: int) -> Array:
    """Runs for rows [a, b) of a cache (a line of `stretches` each), laid end to end from row `at` on.

    Args:
        runs: (K, 3), where the cache's own rows lie.
        stretches: (N, 2), rows of the cache in ascending order, not overlapping, none empty.
        n_rows: rows of the cache.
        first_file: number that the cache's file 0 gets.
        at: where the first row goes.
    """
    begins, ends = runs[:, 2], np.append(runs[1:, 2], n_rows)
    first = np.searchsorted(begins, stretches[:, 0], side="right") - 1
    last = np.searchsorted(begins, stretches[:, 1], side="left")  # one past the last run that it touches
    pieces = last - first
    owner = np.repeat(np.arange(len(stretches)), pieces)
    run = first[owner] + np.arange(len(owner)) - offsets_of(pieces)[:-1][owner]
    start = np.maximum(stretches[owner, 0], begins[run])
    stop = np.minimum(stretches[owner, 1], ends[run])
    some = start < stop
    run, start, stop = run[some], start[some], stop[some]
    here = at + offsets_of(stop - start)[:-1]
    return np.stack([first_file + runs[run, 0], runs[run, 1] + start - begins[run], here], axis=1)


def _relative(files: Sequence[DataFile], out: Path) -> list[str]:
    """The files' paths as seen from the directory that `out` lies in, with forward slashes."""
    home = out.parent.resolve()
    folders: dict[Path, Path] = {}
    paths = []
    for file in files:
        folder = folders.setdefault(file.path.parent, file.path.parent.resolve())
        if folder / file.path.name == home / out.name:
            raise InputError(f"cannot write an index at {out}: that is one of the parts it is over")
        paths.append(Path(os.path.relpath(folder / file.path.name, home)).as_posix())
    return paths
