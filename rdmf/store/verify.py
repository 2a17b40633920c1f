"""Finding damage: every byte of a cache is under a checksum, and what a changed byte hits is named.

Three layers. The header is compared with its one possible spelling; a checksum over all that follows it finds any
change at all; checksums per table, per video and per sentence say what was hit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rdmf.store.cache import Cache, DataFile
from rdmf.store.errors import InputError
from rdmf.store.fingerprint import fingerprint
from rdmf.store.header import (
    HEADER_BYTES,
    MAGIC,
    SCHEMA,
    Header,
    digest_after_header,
    not_a_cache,
    parse_header,
    read_block,
)
from rdmf.store.layout import BULK, Columns, Structure, read_structure
from rdmf.store.records import Provenance
from rdmf.store.rows import groups
from rdmf.store.tables import text_digest

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


@dataclass(frozen=True)
class Problem:
    """Something damaged: where (the file, a part, a table, a video, a sentence) and what is wrong with it."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def verify(path: str | Path) -> list[Problem]:
    """Reads a whole cache, parts of an index included, and lists all that is damaged; empty when nothing is.

    Raises:
        InputError: there is no cache of this schema at the path.
    """
    path = Path(path)
    block = read_block(path)
    header = parse_header(block)
    if len(block) < HEADER_BYTES and block.startswith(MAGIC):
        return [Problem("file", f"truncated within its header, at {len(block)} bytes")]
    structure, unreadable = _structure_of(path, block, header)
    problems = list(_file_problems(path, block, header))
    if structure is None:
        return [*problems, Problem("structure", unreadable)]
    try:
        return problems + list(_content_problems(path, structure))
    except InputError as error:
        # A file can be too short, or unreadable at one place; the rest of the findings still stands.
        return [*problems, Problem("file", str(error))]


def _structure_of(path: Path, block: bytes, header: Header | None) -> tuple[Structure | None, str]:
    """The file's structure, or None and why it cannot be read though the header says it is a cache."""
    try:
        return read_structure(path), ""
    except InputError as error:
        if header is None:
            raise InputError(not_a_cache(path, block)) from error
        if header.schema != SCHEMA:
            raise
        return None, str(error)


def _file_problems(path: Path, block: bytes, header: Header | None) -> Iterator[Problem]:
    """Whether the header is as written and the rest of the file as the header says."""
    if header is None or header.schema != SCHEMA or header.pack() != block:
        yield Problem("header", "the first 512 bytes are not as they were written")
    if header is None:
        return
    size = path.stat().st_size
    if size != header.n_bytes:
        how = "truncated" if size < header.n_bytes else "too long"
        yield Problem("file", f"{how}: it is {size} bytes and was written as {header.n_bytes}")
    elif digest_after_header(path) != header.sha256:
        yield Problem("file", _MISMATCH)


def _content_problems(path: Path, structure: Structure) -> Iterator[Problem]:
    """What exactly is damaged: provenance, tables, parts, videos, sentences."""
    provenance = Provenance(video=structure.provenance["video"], text=structure.provenance["text"])
    if fingerprint(provenance) != structure.fingerprint:
        yield Problem("provenance", "the settings do not match the fingerprint")
    columns = Columns(path, structure, checked=False)
    damaged = {name for name in structure.extents if name not in BULK and not columns.intact(name, columns.array(name))}
    for name in sorted(damaged):
        yield Problem(f"table {name}", _MISMATCH)
    if damaged & _LINK_KEYS:
        return
    if damaged & _VIDEO_KEYS and structure.about["kind"] == "index":
        return
    cache = Cache(path, checked=False)
    if cache.is_index:
        part_problems = [problem for file in cache.data_files for problem in _part_problems(file)]
        yield from part_problems
        if any(not file.path.is_file() or file.path.stat().st_size != file.n_bytes for file in cache.data_files):
            return
    if not damaged & _VIDEO_KEYS:
        yield from _video_problems(cache)
    if not damaged & _TEXT_KEYS:
        yield from _text_problems(cache)
    cache.close()


def _part_problems(file: DataFile) -> Iterator[Problem]:
    where = f"part {file.path}"
    if not file.path.is_file():
        yield Problem(where, "missing")
        return
    block = read_block(file.path)
    size = file.path.stat().st_size
    if block != Header(SCHEMA, file.n_bytes, file.sha256).pack():
        yield Problem(where, "its header is damaged, or it is not the part this index was made over")
    if size != file.n_bytes:
        yield Problem(where, f"it is {size} bytes and was {file.n_bytes} when the index was made")
    elif digest_after_header(file.path) != file.sha256:
        yield Problem(where, _MISMATCH)


def _video_problems(cache: Cache) -> Iterator[Problem]:
    """Videos whose rows, times, seconds or name differ from what was written."""
    table, offsets = cache.video_table(), cache.row_offsets
    for first, last in groups(offsets, cache.d_video * cache.feature_dtype.itemsize):
        start, stop = int(offsets[first]), int(offsets[last])
        features, times = cache.video_rows(start, stop), cache.times_rows(start, stop)
        for i in range(first, last):
            rows = slice(int(offsets[i]) - start, int(offsets[i + 1]) - start)
            if table.digest(i, features[rows], times[rows]) != table.digests[i]:
                yield Problem(
                    f"video '{table.vids[i]}' (number {i})",
                    "its features, times, seconds or name do not match its checksum",
                )


def _text_problems(cache: Cache) -> Iterator[Problem]:
    """Sentences whose token features or words differ from what was written."""
    table, offsets = cache.text_table(), cache.token_offsets
    for first, last in groups(offsets, cache.d_text * cache.feature_dtype.itemsize):
        start = int(offsets[first])
        tokens = cache.text_rows(start, int(offsets[last]))
        bounds = np.asarray(offsets[first : last + 1] - start).tolist()
        for i in range(first, last):
            rows = tokens[bounds[i - first] : bounds[i - first + 1]]
            if text_digest(table.texts[i], rows) != table.digests[i]:
                yield Problem(
                    f"text '{table.texts[i][:60]}' (number {i})",
                    "its token features or words do not match its checksum",
                )
