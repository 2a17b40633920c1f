"""A smaller cache out of a cache: some videos, a split, the first few; with its rows or with links to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rdmf.store.cache import Cache, open_cache
from rdmf.store.errors import InputError
from rdmf.store.merge import Plan, write_plan
from rdmf.store.records import Array, Failure
from rdmf.store.selection import Selection
from rdmf.store.strings import Strings

_MOST_NAMED = 3


def subset(
    path: str | Path,
    out: Path,
    *,
    vids: Sequence[str] | None = None,
    splits: Sequence[str] = (),
    limit: int | None = None,
    self_contained: bool = True,
) -> Path:
    """Writes the part of a cache that the conditions leave, all of them together; reads no other features.

    Queries that ask about what is left come along, with the sentences they need and, of videos that have no features,
    the failures. Order and ids stay.

    Args:
        path: the cache, or an index over parts.
        out: the file to be, whole or absent.
        vids: only these videos; one without features must at least be asked about or have failed.
        splits: only queries of these splits, and the videos they ask about.
        limit: only the first so many of the videos that are left, and queries about them, where there are more.
        self_contained: True copies the rows, checking every video on the way; False writes an index that finds them
            where they lie by relative paths.

    Raises:
        InputError: a video that the cache does not know, no such split, nothing left, a damaged video, or `out` is the
            cache itself and links to it.
    """
    if limit is not None and limit < 1:
        raise InputError(f"a subset of {limit} videos would be empty; give a limit of 1 or more")
    out, cache = Path(out), open_cache(path)
    plan = _plan(cache, open_cache(path), vids, splits, limit)
    if plan.selections[0].cache.block != cache.block:
        raise InputError(f"{path} was replaced by another cache while in use; start again")
    cache.close()
    # What was looked at to choose is no longer needed while the columns are written.
    del cache
    return write_plan(plan, out, self_contained=self_contained)


def _plan(cache: Cache, source: Cache, vids: Sequence[str] | None, splits: Sequence[str], limit: int | None) -> Plan:
    """What of `cache` is left, to be taken from `source`, which is the same cache with nothing read yet."""
    queries = _of_splits(cache, splits)
    names = None if vids is None else _known(cache, vids)
    videos = _videos(cache, names, queries if splits else None)
    failures = cache.failures if names is None and not splits else _failures(cache, names, queries)
    cut = limit is not None and len(videos) > limit
    if cut:
        videos, failures = videos[:limit], []
    queries = _about(cache, queries, videos, names, absent=not cut)
    if not len(videos) and not len(queries):
        raise InputError(f"nothing of {cache.path} is left: no video and no query meets all conditions")
    texts = np.unique(cache.queries.text_index[queries])
    places = np.full(cache.n_texts, -1, np.int64)
    places[texts] = np.arange(len(texts))
    return Plan([Selection(source, videos, texts, queries)], [places], cache.provenance, failures=failures)


def _of_splits(cache: Cache, splits: Sequence[str]) -> Array:
    """Queries of any of these splits, or all."""
    if not splits:
        return np.arange(len(cache.queries))
    return np.unique(np.concatenate([cache.select(split) for split in splits]))


def _known(cache: Cache, vids: Sequence[str]) -> Strings:
    """The names, each of which the cache must know: as a video, as one that is asked about, or as one that failed."""
    names = Strings.of(dict.fromkeys(vids))
    elsewhere = {*cache.missing_videos(), *(failure.vid for failure in cache.failures)}
    unknown = [names[i] for i in np.flatnonzero(cache.video_numbers(names) < 0).tolist() if names[i] not in elsewhere]
    if unknown:
        few = ", ".join(f"'{vid}'" for vid in unknown[:_MOST_NAMED]) + (", ..." if len(unknown) > _MOST_NAMED else "")
        raise InputError(f"{len(unknown):,} of {len(names):,} videos are not in {cache.path}: {few}")
    return names


def _videos(cache: Cache, names: Strings | None, queries: Array | None) -> Array:
    """Numbers of the videos that are named and asked about, ascending; None is no condition."""
    chosen = np.ones(cache.n_videos, bool)
    if names is not None:
        named = np.zeros(cache.n_videos, bool)
        numbers = cache.video_numbers(names)
        named[numbers[numbers >= 0]] = True
        chosen &= named
    if queries is not None:
        asked = np.zeros(cache.n_videos, bool)
        numbers = cache.queries.video_index[queries]
        asked[numbers[numbers >= 0]] = True
        chosen &= asked
    return np.flatnonzero(chosen)


def _about(cache: Cache, queries: Array, videos: Array, names: Strings | None, *, absent: bool) -> Array:
    """Of these queries those about the videos taken and, if wanted, about (named) videos without features."""
    taken = np.zeros(cache.n_videos + 1, bool)  # the last is for videos without features, number -1
    taken[videos] = True
    kept = taken[cache.queries.video_index[queries]]
    if absent:
        away = np.flatnonzero(cache.queries.video_index[queries] < 0)
        if names is not None:
            wanted = set(names)
            away = away[[vid in wanted for vid in cache.queries.names(queries[away])]]
        kept[away] = True
    return queries[kept]


def _failures(cache: Cache, names: Strings | None, queries: Array) -> list[Failure]:
    """Failures of the videos that are named or asked about."""
    wanted = set(names) if names is not None else set()
    if names is None:
        wanted.update(cache.queries.names(queries[cache.queries.video_index[queries] < 0]))
    return [failure for failure in cache.failures if failure.vid in wanted]
