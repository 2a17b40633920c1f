"""Finding damage: every byte of a cache is under a checksum, and what a changed byte hits is named.

Three layers. The header is compared with its one possible spelling; a checksum over all that follows it finds any
change at all; checksums per table, per video and per sentence say what was hit. The layers go over the file side by
side in threads (reading and hashing need no Python), so that what one has read the other finds in memory.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rdmf.store.cache import Cache
from rdmf.store.cores import usable_cores
from rdmf.store.errors import InputError
from rdmf.store.fingerprint import fingerprint
from rdmf.store.header import (
    HEADER_BYTES,
    MAGIC,
    SCHEMA,
    Header,
    digest_of_rest,
    not_a_cache,
    open_file,
    parse_header,
)
from rdmf.store.layout import BULK, Structure, read_structure
from rdmf.store.parts import DataFile
from rdmf.store.records import Array, Provenance
from rdmf.store.rows import groups
from rdmf.store.tables import TextFacts, VideoFacts

_MISMATCH = "the contents do not match the checksum"
# Without these it cannot be said which rows, or which bytes of a name, belong to which video or sentence.
_VIDEO_KEYS = {
    "video/row_offsets",
    "video/vid_offsets",
    "video/decoder_code",
    "video/decoder_name_offsets",
    "link/video_runs",
}
_TEXT_KEYS = {"text/token_offsets", "text/text_offsets", "link/text_runs"}
_LINK_KEYS = {"link/path_utf8", "link/path_offsets", "link/bytes", "link/sha256", "link/data_offsets"}
_MOST_WORKERS = 16


@dataclass(frozen=True)
class Problem:
    """Something damaged: where (the file, a part, a table, a video, a sentence) and what is wrong with it."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


Found = Future[list[Problem]]


def verify(path: str | Path, *, workers: int | None = None) -> list[Problem]:
    """Reads a whole cache, parts of an index included, and lists all that is damaged; empty when nothing is.

    Args:
        workers: threads that read and hash at once. Default: one a core, 16 at most.

    Raises:
        InputError: there is no cache of this schema at the path.
    """
    path = Path(path)
    handle, block = open_file(path)
    header = parse_header(block)
    pool = ThreadPoolExecutor(workers or min(_MOST_WORKERS, usable_cores()))
    with handle:
        try:
            if len(block) < HEADER_BYTES and block.startswith(MAGIC):
                return [Problem("file", f"truncated within its header, at {len(block)} bytes")]
            structure, unreadable = _structure_of(path, handle, block, header)
            whole = _started(pool, lambda: _file_problems(handle, block, header))
            if structure is None:
                return [*whole.result(), Problem("structure", unreadable)]
            content = list(_content_problems(path, block, structure, pool))
            return [*whole.result(), *content]
        finally:
            pool.shutdown(cancel_futures=True)


def _started(pool: ThreadPoolExecutor, find: Callable[[], Iterable[Problem]]) -> Found:
    """A search for problems, begun. What cannot be read is a problem too; the rest of the findings still stands."""

    def found() -> list[Problem]:
        problems: list[Problem] = []
        try:
            problems.extend(find())
        except InputError as error:
            problems.append(Problem("file", str(error)))
        return problems

    return pool.submit(found)


def _structure_of(path: Path, handle: io.FileIO, block: bytes, header: Header | None) -> tuple[Structure | None, str]:
    """The file's structure, or None and why it cannot be read though the header says it is a cache."""
    try:
        return read_structure(path, handle), ""
    except InputError as error:
        if header is None:
            raise InputError(not_a_cache(path, block)) from error
        if header.schema != SCHEMA:
            raise
        return None, str(error)


def _file_problems(handle: io.FileIO, block: bytes, header: Header | None) -> Iterator[Problem]:
    """Whether the header is as written and the rest of the file as the header says."""
    if header is None or header.schema != SCHEMA or header.pack() != block:
        yield Problem("header", "the first 512 bytes are not as they were written")
    if header is None:
        return
    size = os.fstat(handle.fileno()).st_size
    if size != header.n_bytes:
        how = "truncated" if size < header.n_bytes else "too long"
        yield Problem("file", f"{how}: it is {size} bytes and was written as {header.n_bytes}")
    elif digest_of_rest(handle) != header.sha256:
        yield Problem("file", _MISMATCH)


def _content_problems(path: Path, block: bytes, structure: Structure, pool: ThreadPoolExecutor) -> list[Problem]:
    """What exactly is damaged: provenance, tables, parts, videos, sentences."""
    problems = []
    provenance = Provenance(video=structure.provenance["video"], text=structure.provenance["text"])
    if fingerprint(provenance) != structure.fingerprint:
        problems.append(Problem("provenance", "the settings do not match the fingerprint"))
    try:
        cache = Cache(path, checked=False)
        if cache.block != block:
            raise InputError(f"{path} was replaced by another cache while it was read; verify it again")
        with cache:
            return problems + _damage(cache, pool)
    except InputError as error:
        return [*problems, Problem("file", str(error))]


def _damage(cache: Cache, pool: ThreadPoolExecutor) -> list[Problem]:
    """Tables, then parts, then videos and sentences, as far as the tables allow to tell."""
    names = sorted(set(cache.structure.extents) - set(BULK))
    tables = [_started(pool, partial(_table_problems, cache, name)) for name in names]
    problems = _all(tables)
    damaged = {name for name, found in zip(names, tables, strict=True) if found.result()}
    if damaged & _LINK_KEYS or (cache.is_index and damaged & _VIDEO_KEYS):
        return problems
    if cache.is_index and any(_absent_or_short(file) for file in cache.data_files):
        return problems + _all(_started(pool, partial(_part_problems, file)) for file in cache.data_files)
    parts: dict[int, Found] = {}
    videos, texts = [], []
    if not damaged & _VIDEO_KEYS:
        facts = VideoFacts(cache.columns)
        for first, last in groups(cache.row_offsets, cache.d_video * cache.feature_dtype.itemsize):
            # A part is hashed as a whole at the time at which its rows are looked at: one reads it for the other.
            _start_part(cache, int(cache.row_offsets[first]), parts, pool)
            videos.append(_started(pool, partial(_video_problems, cache, facts, first, last)))
    for number in range(len(cache.data_files) if cache.is_index else 0):
        if number not in parts:
            parts[number] = _started(pool, partial(_part_problems, cache.data_files[number]))
    if not damaged & _TEXT_KEYS:
        sentences = TextFacts(cache.columns)
        for first, last in groups(cache.token_offsets, cache.d_text * cache.feature_dtype.itemsize):
            texts.append(_started(pool, partial(_text_problems, cache, sentences, first, last)))
    return problems + _all(parts[number] for number in sorted(parts)) + _all(videos) + _all(texts)


def _all(found: Iterable[Found]) -> list[Problem]:
    """The findings in order; what several of them could not read is said once."""
    return list(dict.fromkeys(problem for future in found for problem in future.result()))


def _start_part(cache: Cache, row: int, parts: dict[int, Found], pool: ThreadPoolExecutor) -> None:
    """Begins with the part that holds a row, unless that was begun."""
    if not cache.is_index:
        return
    run = int(np.searchsorted(cache.video_runs[:, 2], row, side="right")) - 1
    number = int(cache.video_runs[run, 0])
    if number not in parts:
        parts[number] = _started(pool, partial(_part_problems, cache.data_files[number]))


def _table_problems(cache: Cache, name: str) -> Iterator[Problem]:
    if not cache.columns.intact(name, cache.columns.array(name)):
        yield Problem(f"table {name}", _MISMATCH)


def _absent_or_short(file: DataFile) -> bool:
    return not file.path.is_file() or file.path.stat().st_size != file.n_bytes


def _part_problems(file: DataFile) -> Iterator[Problem]:
    where = f"part {file.path}"
    if not file.path.is_file():
        yield Problem(where, "missing")
        return
    handle, block = open_file(file.path)
    with handle:
        if block != file.block:
            yield Problem(where, "its header is damaged, or it is not the part this index was made over")
        size = os.fstat(handle.fileno()).st_size
        if size != file.n_bytes:
            yield Problem(where, f"it is {size} bytes and was {file.n_bytes} when the index was made")
        elif digest_of_rest(handle) != file.sha256:
            yield Problem(where, _MISMATCH)


def _video_problems(cache: Cache, facts: VideoFacts, first: int, last: int) -> Iterator[Problem]:
    """Of videos [first, last) those whose rows, times, seconds or name differ from what was written."""
    bounds: Array = cache.row_offsets[first : last + 1]
    start, stop = int(bounds[0]), int(bounds[-1])
    features, times = cache.video_rows(start, stop), cache.times_rows(start, stop)
    for i, (begin, end) in enumerate(zip((bounds[:-1] - start).tolist(), (bounds[1:] - start).tolist(), strict=True)):
        if not facts.sound(first + i, features[begin:end], times[begin:end]):
            yield Problem(
                f"video '{facts.vids[first + i]}' (number {first + i})",
                "its features, times, seconds or name do not match its checksum",
            )


def _text_problems(cache: Cache, facts: TextFacts, first: int, last: int) -> Iterator[Problem]:
    """Of sentences [first, last) those whose token features or words differ from what was written."""
    bounds: Array = cache.token_offsets[first : last + 1]
    start = int(bounds[0])
    tokens = cache.text_rows(start, int(bounds[-1]))
    for i, (begin, end) in enumerate(zip((bounds[:-1] - start).tolist(), (bounds[1:] - start).tolist(), strict=True)):
        if not facts.sound(first + i, tokens[begin:end]):
            yield Problem(
                f"text '{facts.texts[first + i][:60]}' (number {first + i})",
                "its token features or words do not match its checksum",
            )
