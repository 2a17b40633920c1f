"""Merging parts: into one self-contained file, or into an index over them. Features stream through in blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rdmf.store.cache import Cache, DataFile, open_cache
from rdmf.store.compose import Contents, Links, digest_table, write_file
from rdmf.store.errors import InputError
from rdmf.store.fingerprint import differing_fields, fingerprint
from rdmf.store.queries import check_query
from rdmf.store.records import Array, Failure, Provenance, QueryRecord
from rdmf.store.rows import groups
from rdmf.store.tables import TextTable, VideoTable, text_digest


def merge(
    parts: Sequence[Path],
    out: Path,
    *,
    provenance: Provenance | None = None,
    queries: Sequence[QueryRecord] | None = None,
    failures: Sequence[Failure] = (),
    self_contained: bool = True,
) -> Path:
    """Merges caches, in order, into one at `out`. Never holds more than one block of features in memory.

    Args:
        parts: caches of one fingerprint; indexes are allowed too. None at all needs `provenance`.
        out: the file to be, whole or absent.
        provenance: whose notes to keep (default: the first part's); its fingerprint must be the parts'.
        queries: these replace the queries of the parts, so annotations can be attached anew without touching features.
        failures: more failures; a video that has features after all is dropped from the list.
        self_contained: True copies all rows into `out`, checking every video on the way; False writes an index that
            finds them in the parts by relative paths, and only reads what it needs to know of them.

    Raises:
        InputError: fingerprints that differ (naming the settings), a video in two parts, a query id twice in a split,
            a query whose sentence no part has token features of, a damaged part.
    """
    out = Path(out)
    caches = [open_cache(part) for part in parts]
    if provenance is None:
        if not caches:
            raise InputError(f"nothing to merge into {out}: no parts were given")
        provenance = caches[0].provenance
    for cache in caches:
        _check_same(cache, provenance, caches[0])
    videos = _all_videos(caches)
    texts, kept = _all_texts(caches)
    merged_queries = _all_queries(caches) if queries is None else list(queries)
    _check_queries(merged_queries)
    links = None if self_contained else _links(caches, kept, out)
    contents = Contents(
        provenance=provenance,
        feature_dtype=caches[0].feature_dtype.name if caches else "float16",
        d_video=max((cache.d_video for cache in caches), default=0),
        d_text=max((cache.d_text for cache in caches), default=0),
        videos=videos,
        video_blocks=_video_blocks(caches),
        texts=texts,
        text_blocks=_text_blocks(caches, kept),
        queries=merged_queries,
        failures=[failure for cache in caches for failure in cache.failures] + list(failures),
        links=links,
    )
    return write_file(out, contents)


def _check_same(cache: Cache, provenance: Provenance, first: Cache) -> None:
    if cache.fingerprint != fingerprint(provenance):
        fields = "; ".join(differing_fields(cache.provenance, provenance))
        raise InputError(f"{cache.path} was made with other settings and cannot be merged in: {fields}")
    for what, one, other in (
        ("video features of width", cache.d_video, first.d_video),
        ("text features of width", cache.d_text, first.d_text),
        ("features stored as", cache.feature_dtype, first.feature_dtype),
    ):
        # Width 0 is a part without any features of that kind.
        if one != other and 0 not in (one, other):
            raise InputError(f"{cache.path} has {what} {one} but {first.path} {other}; they cannot be merged")


def _all_videos(caches: Sequence[Cache]) -> VideoTable:
    videos = VideoTable()
    seen: dict[str, Path] = {}
    for cache in caches:
        for vid in cache.vids:
            if vid in seen:
                raise InputError(f"video '{vid}' is in both {seen[vid]} and {cache.path}; merge it from one of them")
            seen[vid] = cache.path
        videos.extend(cache.video_table())
    return videos


def _all_texts(caches: Sequence[Cache]) -> tuple[TextTable, list[Array]]:
    """The distinct sentences, and for each cache the indices of those taken from it (the first that has one)."""
    texts, kept = TextTable(), []
    seen: set[str] = set()
    for cache in caches:
        table = cache.text_table()
        new = [i for i, text in enumerate(table.texts) if text not in seen]
        seen.update(table.texts)
        texts.texts += [table.texts[i] for i in new]
        texts.counts += [table.counts[i] for i in new]
        texts.digests += [table.digests[i] for i in new]
        kept.append(np.array(new, np.int64))
    return texts, kept


def _all_queries(caches: Sequence[Cache]) -> list[QueryRecord]:
    return [query for cache in caches for query in cache.query_records()]


def _check_queries(queries: Sequence[QueryRecord]) -> None:
    seen: set[tuple[str, int | str]] = set()
    for query in queries:
        check_query(query)
        key = (query.split, query.qid)
        if key in seen:
            raise InputError(f"query id {query.qid!r} is in split '{query.split}' twice; ids must be unique there")
        seen.add(key)


def _video_blocks(caches: Sequence[Cache]) -> Iterator[tuple[Array, Array]]:
    """All rows with their times in blocks, each video checked against its checksum before it is passed on."""
    for cache in caches:
        offsets, table = cache.row_offsets, cache.video_table()
        for first, last in groups(offsets, cache.d_video * cache.feature_dtype.itemsize):
            start = int(offsets[first])
            features = cache.video_rows(start, int(offsets[last]))
            times = cache.times_rows(start, int(offsets[last]))
            for i in range(first, last):
                rows = slice(int(offsets[i]) - start, int(offsets[i + 1]) - start)
                if table.digest(i, features[rows], times[rows]) != table.digests[i]:
                    raise InputError(f"{cache.path}: video '{table.vids[i]}' is damaged; extract that part again")
            yield features, times
        cache.close()


def _text_blocks(caches: Sequence[Cache], kept: Sequence[Array]) -> Iterator[Array]:
    """Token rows of the sentences taken from each cache, in blocks, each sentence checked."""
    for cache, taken in zip(caches, kept, strict=True):
        offsets, table = cache.token_offsets, cache.text_table()
        chosen = np.zeros(len(table.texts), bool)
        chosen[taken] = True
        for first, last in groups(offsets, cache.d_text * cache.feature_dtype.itemsize):
            if not chosen[first:last].any():
                continue
            start = int(offsets[first])
            tokens = cache.text_rows(start, int(offsets[last]))
            for i in range(first, last):
                rows = tokens[int(offsets[i]) - start : int(offsets[i + 1]) - start]
                if text_digest(table.texts[i], rows) != table.digests[i]:
                    raise InputError(f"{cache.path}: text '{table.texts[i][:60]}' is damaged; extract that part again")
            yield tokens[np.repeat(chosen[first:last], np.diff(offsets[first : last + 1]))]
        cache.close()


def _links(caches: Sequence[Cache], kept: Sequence[Array], out: Path) -> Links:
    """Where the merged rows lie. Parts that are indexes themselves are looked through, so links are one step long."""
    home = out.parent.resolve()
    files: list[DataFile] = []
    video_runs, text_runs = [], []
    n_rows = n_tokens = 0
    for cache, taken in zip(caches, kept, strict=True):
        everything = np.array([[0, cache.n_rows]], np.int64)
        offsets = cache.token_offsets
        stretches = np.stack([offsets[taken], offsets[taken + 1]], axis=1)
        video_runs.append(_moved(cache.video_runs, everything, cache.n_rows, len(files), n_rows))
        text_runs.append(_moved(cache.text_runs, stretches, cache.n_tokens, len(files), n_tokens))
        n_rows += cache.n_rows
        n_tokens += int((stretches[:, 1] - stretches[:, 0]).sum())
        files += cache.data_files
    paths = []
    for file in files:
        real = file.path.parent.resolve() / file.path.name
        if real == home / out.name:
            raise InputError(f"cannot write an index at {out}: that is one of the parts it is over")
        paths.append(Path(os.path.relpath(real, home)).as_posix())
    return Links(
        paths=paths,
        n_bytes=np.array([file.n_bytes for file in files], np.int64),
        sha256=digest_table([bytes.fromhex(file.sha256) for file in files]),
        data_offsets=np.array([file.offsets for file in files], np.int64).reshape(-1, 3),
        video_runs=np.concatenate([np.zeros((0, 3), np.int64), *video_runs]),
        text_runs=np.concatenate([np.zeros((0, 3), np.int64), *text_runs]),
    )


def _moved(runs: Array, stretches: Array, n_rows: int, first_file: int, at: int) -> Array:
    """Runs for rows [a, b) of a cache (a line of `stretches` each), laid end to end from row `at` on.

    Args:
        runs: (K, 3), where the cache's own rows lie.
        stretches: (N, 2), rows of the cache in ascending order, not overlapping.
        n_rows: rows of the cache.
        first_file: number that the cache's file 0 gets.
        at: where the first row goes.
    """
    moved: list[tuple[int, int, int]] = []
    ends = [*runs[1:, 2].tolist(), n_rows]
    for start, stop in _coalesced(stretches):
        run = int(np.searchsorted(runs[:, 2], start, side="right")) - 1
        while start < stop:
            number, source, begin = runs[run].tolist()
            until = min(stop, ends[run])
            if until > start:
                moved.append((first_file + number, source + start - begin, at))
                at += until - start
            start, run = until, run + 1
    return np.array(moved, np.int64).reshape(-1, 3)


def _coalesced(stretches: Array) -> list[tuple[int, int]]:
    """Neighbouring stretches joined, empty ones dropped."""
    joined: list[tuple[int, int]] = []
    for start, stop in stretches.tolist():
        if start == stop:
            continue
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined
