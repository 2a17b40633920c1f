"""Writes one cache file from its contents, in one go, so that every table is contiguous."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rdmf
from rdmf.store.errors import InputError
from rdmf.store.fingerprint import as_json, fingerprint
from rdmf.store.header import whole_or_absent
from rdmf.store.held_signals import HeldSignals
from rdmf.store.layout import (
    TEXT_FEATURES,
    VIDEO_FEATURES,
    VIDEO_TIMES,
    open_for_writing,
    write_root,
    write_strings,
    write_table,
)
from rdmf.store.record_tables import Arrays, StringColumns, tables_of_records
from rdmf.store.records import Array, Failure, Provenance, QueryRecord
from rdmf.store.strings import Strings
from rdmf.store.tables import TextTable, VideoTable

FEATURE_DTYPES = ("float16", "float32")


@dataclass(frozen=True)
class Links:
    """Where an index's rows lie: P part files and the stretches of rows in them.

    Attributes:
        paths: P paths relative to the index's directory, with forward slashes.
        n_bytes: (P,) int64, length of each part.
        sha256: (P, 32) uint8, the checksum each part's header records.
        data_offsets: (P, 3) int64, byte offsets in each part of its video features, times and text features.
        video_runs: (K, 3) int64, [part, first row there, first row here] for video rows.
        text_runs: the same for token rows.
    """

    paths: list[str]
    n_bytes: Array
    sha256: Array
    data_offsets: Array
    video_runs: Array
    text_runs: Array


@dataclass(frozen=True)
class Contents:
    """All that goes into a cache file, as lists. The blocks are consumed once, in the order of the tables."""

    provenance: Provenance
    feature_dtype: str
    d_video: int
    d_text: int
    videos: VideoTable
    video_blocks: Iterable[tuple[Array, Array]]
    texts: TextTable
    text_blocks: Iterable[Array]
    queries: list[QueryRecord]
    failures: list[Failure]


@dataclass(frozen=True)
class Tables:
    """All that goes into a cache file, table by table. The blocks are consumed once, in the order of the tables.

    Attributes:
        n_rows, n_tokens: rows of the two feature tables.
        row_blocks: (features, times) of consecutive rows; not looked at where there are links.
        token_blocks: consecutive token rows; the same.
    """

    provenance: Provenance
    feature_dtype: str
    d_video: int
    d_text: int
    n_rows: int
    n_tokens: int
    row_blocks: Iterable[tuple[Array, Array]]
    token_blocks: Iterable[Array]
    arrays: Arrays
    strings: StringColumns
    links: Links | None = None


def write_file(path: Path, contents: Contents) -> Path:
    """Writes a cache at `path`, whole or not at all.

    Raises:
        InputError: a query's sentence has no token features, or the place cannot be written to.
    """
    arrays, strings = tables_of_records(contents.videos, contents.texts, contents.queries, contents.failures)
    tables = Tables(
        provenance=contents.provenance,
        feature_dtype=contents.feature_dtype,
        d_video=contents.d_video,
        d_text=contents.d_text,
        n_rows=sum(contents.videos.counts),
        n_tokens=sum(contents.texts.counts),
        row_blocks=contents.video_blocks,
        token_blocks=contents.text_blocks,
        arrays=arrays,
        strings=strings,
    )
    return write_tables(path, tables)


def write_tables(path: Path, tables: Tables) -> Path:
    """Writes a cache at `path`, whole or not at all.

    Raises:
        InputError: the place cannot be written to, or a block or table cannot be had.
    """
    provenance, links = tables.provenance, tables.links
    # Between blocks and tables a signal may end the run, inside HDF5 it may not.
    with whole_or_absent(path) as partial, HeldSignals() as held, open_for_writing(partial) as file:
        write_root(
            file,
            about=_about(tables),
            provenance=as_json({"video": provenance.video, "text": provenance.text}, "provenance"),
            notes=as_json(provenance.notes, "notes"),
            fingerprint=fingerprint(provenance),
        )
        if links is None:
            _write_rows(file, tables, held)
        for name, values in tables.arrays.items():
            held.deliver()
            write_table(file, name, values())
        for name, column in tables.strings.items():
            held.deliver()
            write_strings(file, name, column())
        if links is not None:
            write_strings(file, "link/path", Strings.of(links.paths, "link/path"))
            for name in ("bytes", "sha256", "data_offsets", "video_runs", "text_runs"):
                write_table(file, f"link/{name}", getattr(links, "n_bytes" if name == "bytes" else name))
    return path


def _about(tables: Tables) -> dict[str, Any]:
    return {
        "kind": "cache" if tables.links is None else "index",
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "writer": f"rdmf {rdmf.__version__}",
        "d_video": tables.d_video,
        "d_text": tables.d_text,
        "feature_dtype": tables.feature_dtype,
    }


def _write_rows(file: Any, tables: Tables, held: HeldSignals) -> None:
    """Streams the rows into tables of known size, so that memory holds one block and the file no gaps."""
    n_rows, n_tokens = tables.n_rows, tables.n_tokens
    dtype = np.dtype(tables.feature_dtype)
    features = file.create_dataset(VIDEO_FEATURES, (n_rows, tables.d_video), dtype, track_times=False)
    times = file.create_dataset(VIDEO_TIMES, (n_rows, 2), np.float64, track_times=False)
    tokens = file.create_dataset(TEXT_FEATURES, (n_tokens, tables.d_text), dtype, track_times=False)
    at = 0
    for block, block_times in tables.row_blocks:
        held.deliver()
        features[at : at + len(block)] = block
        times[at : at + len(block)] = block_times
        at += len(block)
    done = 0
    for block in tables.token_blocks:
        held.deliver()
        tokens[done : done + len(block)] = block
        done += len(block)
    if (at, done) != (n_rows, n_tokens):
        raise AssertionError(f"wrote {at} of {n_rows} rows and {done} of {n_tokens} tokens")


def check_feature_dtype(feature_dtype: str) -> None:
    """Refuses a storage type that caches do not have."""
    if feature_dtype not in FEATURE_DTYPES:
        raise InputError(f"feature dtype '{feature_dtype}' is not one of {', '.join(FEATURE_DTYPES)}")
