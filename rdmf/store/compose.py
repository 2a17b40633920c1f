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
from rdmf.store.layout import (
    TEXT_FEATURES,
    VIDEO_FEATURES,
    VIDEO_TIMES,
    open_for_writing,
    write_root,
    write_strings,
    write_table,
)
from rdmf.store.queries import codes_of, query_tables
from rdmf.store.records import Array, Failure, Provenance, QueryRecord
from rdmf.store.strings import offsets_of
from rdmf.store.tables import TextTable, VideoTable, settled_failures

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
    """All that goes into a cache file. The blocks are consumed once, in the order of the tables, then forgotten."""

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
    links: Links | None = None


def write_file(path: Path, contents: Contents) -> Path:
    """Writes a cache at `path`, whole or not at all.

    Raises:
        InputError: a query's sentence has no token features, or the place cannot be written to.
    """
    provenance = contents.provenance
    videos, texts = contents.videos, contents.texts
    text_index = {text: i for i, text in enumerate(texts.texts)}
    query_arrays, query_strings = query_tables(contents.queries, videos.vids, text_index)
    failures = settled_failures(contents.failures, set(videos.vids))
    decoder_codes, decoder_names = codes_of(videos.decoders)
    arrays: dict[str, Array] = {
        "video/row_offsets": offsets_of(np.array(videos.counts, np.int64)),
        "video/duration": np.array(videos.durations, np.float64),
        "video/annotated_duration": np.array(videos.annotated_durations, np.float64),
        "video/recovered": np.array(videos.recovered, np.float64),
        "video/padded": np.array(videos.padded, bool),
        "video/decoder_code": decoder_codes,
        "video/sha256": digest_table(videos.digests),
        "text/token_offsets": offsets_of(np.array(texts.counts, np.int64)),
        "text/sha256": digest_table(texts.digests),
        **query_arrays,
    }
    strings = {
        "video/vid": videos.vids,
        "video/decoder_name": decoder_names,
        "text/text": texts.texts,
        **query_strings,
        "failure/vid": [failure.vid for failure in failures],
        "failure/reason": [failure.reason for failure in failures],
    }
    if contents.links is not None:
        strings["link/path"] = contents.links.paths
        arrays["link/bytes"] = contents.links.n_bytes
        arrays["link/sha256"] = contents.links.sha256
        arrays["link/data_offsets"] = contents.links.data_offsets
        arrays["link/video_runs"] = contents.links.video_runs
        arrays["link/text_runs"] = contents.links.text_runs
    with whole_or_absent(path) as partial, open_for_writing(partial) as file:
        write_root(
            file,
            about=_about(contents),
            provenance=as_json({"video": provenance.video, "text": provenance.text}, "provenance"),
            notes=as_json(provenance.notes, "notes"),
            fingerprint=fingerprint(provenance),
        )
        if contents.links is None:
            _write_rows(file, contents)
        for name, values in arrays.items():
            write_table(file, name, values)
        for name, column in strings.items():
            write_strings(file, name, column)
    return path


def digest_table(digests: list[bytes]) -> Array:
    """(N, 32) uint8 of N sha256 digests."""
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def _about(contents: Contents) -> dict[str, Any]:
    return {
        "kind": "cache" if contents.links is None else "index",
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "writer": f"rdmf {rdmf.__version__}",
        "d_video": contents.d_video,
        "d_text": contents.d_text,
        "feature_dtype": contents.feature_dtype,
    }


def _write_rows(file: Any, contents: Contents) -> None:
    """Streams the rows into tables of known size, so that memory holds one block and the file no gaps."""
    n_rows, n_tokens = sum(contents.videos.counts), sum(contents.texts.counts)
    dtype = np.dtype(contents.feature_dtype)
    features = file.create_dataset(VIDEO_FEATURES, (n_rows, contents.d_video), dtype, track_times=False)
    times = file.create_dataset(VIDEO_TIMES, (n_rows, 2), np.float64, track_times=False)
    tokens = file.create_dataset(TEXT_FEATURES, (n_tokens, contents.d_text), dtype, track_times=False)
    at = 0
    for block, block_times in contents.video_blocks:
        features[at : at + len(block)] = block
        times[at : at + len(block)] = block_times
        at += len(block)
    done = 0
    for block in contents.text_blocks:
        tokens[done : done + len(block)] = block
        done += len(block)
    if (at, done) != (n_rows, n_tokens):
        raise AssertionError(f"wrote {at} of {n_rows} rows and {done} of {n_tokens} tokens")


def check_feature_dtype(feature_dtype: str) -> None:
    """Refuses a storage type that caches do not have."""
    if feature_dtype not in FEATURE_DTYPES:
        raise InputError(f"feature dtype '{feature_dtype}' is not one of {', '.join(FEATURE_DTYPES)}")
