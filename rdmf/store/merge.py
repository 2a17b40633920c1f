"""Merging parts: into one self-contained file, or into an index over them. Features stream through in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from rdmf.store.cache import Cache, open_cache
from rdmf.store.compose import Contents, Tables, write_file, write_tables
from rdmf.store.errors import InputError
from rdmf.store.fingerprint import differing_fields, fingerprint
from rdmf.store.joined import Joined
from rdmf.store.links import links_of
from rdmf.store.query_records import check_query
from rdmf.store.record_tables import Arrays, StringColumns, given, query_tables_of
from rdmf.store.records import QUERIES_SHA256, Array, Failure, Provenance, QueryRecord
from rdmf.store.selection import Selection
from rdmf.store.string_index import StringIndex, first_of, first_of_all
from rdmf.store.strings import Strings
from rdmf.store.tables import TextTable, VideoTable, settled_failures


@dataclass(frozen=True)
class Plan:
    """A file to be written out of selections.

    Attributes:
        text_places: see `Joined`.
        queries: records that replace the selections' queries, or None.
        failures: videos that could not be extracted; those that have features after all are dropped.
    """

    selections: Sequence[Selection]
    text_places: Sequence[Array]
    provenance: Provenance
    queries: Sequence[QueryRecord] | None = None
    failures: list[Failure] = field(default_factory=list)


def merge(
    parts: Sequence[Path],
    out: Path,
    *,
    provenance: Provenance | None = None,
    queries: Sequence[QueryRecord] | None = None,
    failures: Sequence[Failure] = (),
    self_contained: bool = True,
) -> Path:
    """Merges caches, in order, into one at `out`. Never holds more than one block of features in memory, and of the
    small tables little more than one at a time.

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
    caches = []
    for part in parts:
        caches.append(open_cache(part))
        caches[-1].close()  # there may be more parts than files that a process may hold open
    if provenance is None:
        if not caches:
            raise InputError(f"nothing to merge into {out}: no parts were given")
        provenance = caches[0].provenance
    for cache in caches:
        _check_same(cache, provenance, caches[0])
    if queries is not None:
        _check_queries(queries)
    kept, places = _distinct_texts(caches)
    selections = [Selection(cache, texts=texts) for cache, texts in zip(caches, kept, strict=True)]
    failed = [failure for cache in caches for failure in _failures(cache)] + list(failures)
    plan = Plan(selections, places, provenance, queries, failed)
    return write_plan(plan, out, self_contained=self_contained)


def write_plan(plan: Plan, out: Path, *, self_contained: bool) -> Path:
    """Writes what a plan takes: with its rows, or as an index that links to where they lie.

    Raises:
        InputError: as `merge`.
    """
    selections, joined = plan.selections, Joined(plan.selections, plan.text_places)
    if not selections:
        none = VideoTable(), (), TextTable(), ()
        return write_file(
            out, Contents(plan.provenance, "float16", 0, 0, *none, list(plan.queries or ()), plan.failures)
        )
    _check_videos(joined)
    query_arrays, query_strings = _query_tables(plan, joined)
    arrays, strings = joined.tables()
    failed = _without_features(settled_failures(plan.failures), joined.vids)
    failures = {
        "failure/vid": given(Strings.of([failure.vid for failure in failed], "failure/vid")),
        "failure/reason": given(Strings.of([failure.reason for failure in failed], "failure/reason")),
    }
    caches = [selection.cache for selection in selections]
    notes = {name: note for name, note in plan.provenance.notes.items() if name != QUERIES_SHA256}
    tables = Tables(
        provenance=replace(plan.provenance, notes=notes),
        feature_dtype=caches[0].feature_dtype.name,
        d_video=max(cache.d_video for cache in caches),
        d_text=max(cache.d_text for cache in caches),
        n_rows=int(joined.row_counts.sum()),
        n_tokens=int(joined.token_counts.sum()),
        row_blocks=chain.from_iterable(selection.video_blocks() for selection in selections),
        token_blocks=chain.from_iterable(selection.token_blocks() for selection in selections),
        arrays={**arrays, **query_arrays},
        strings={**strings, **query_strings, **failures},
        links=None if self_contained else links_of(selections, out),
    )
    return write_tables(out, tables)


def _query_tables(plan: Plan, joined: Joined) -> tuple[Arrays, StringColumns]:
    if plan.queries is None:
        _check_query_ids(joined)
        return joined.query_tables()
    texts = Strings.join([selection.strings("text/text", selection.texts) for selection in plan.selections])
    return query_tables_of(plan.queries, joined.vids, texts)


def _check_same(cache: Cache, provenance: Provenance, first: Cache) -> None:
    if cache.fingerprint != fingerprint(provenance):
        fields = "; ".join(differing_fields(cache.provenance, provenance))
        raise InputError(
            f"{cache.path} was made with other settings than the rest and cannot be merged in: {fields}; extract one "
            "of them again with the other's settings"
        )
    for what, one, other in (
        ("video features of width", cache.d_video, first.d_video),
        ("text features of width", cache.d_text, first.d_text),
        ("features stored as", cache.feature_dtype, first.feature_dtype),
    ):
        # Width 0 is a part without any features of that kind.
        if one != other and 0 not in (one, other):
            raise InputError(f"{cache.path} has {what} {one} but {first.path} {other}; they cannot be merged")


def _distinct_texts(caches: Sequence[Cache]) -> tuple[list[Array | None], list[Array]]:
    """For each cache the sentences taken from it (those that no earlier one has), and the place of each of its own."""
    if not caches:
        return [], []
    counts = [cache.n_texts for cache in caches]
    first = np.arange(sum(counts))
    if sum(count > 0 for count in counts) > 1:
        first = first_of_all([partial(Selection(cache).strings, "text/text", None) for cache in caches])
    new = first == np.arange(len(first))
    places = (np.cumsum(new) - 1)[first]
    cuts = np.cumsum(counts)[:-1]
    kept = [None if part.all() else np.flatnonzero(part) for part in np.split(new, cuts)]
    return kept, np.split(places, cuts)


def _check_videos(joined: Joined) -> None:
    if len(joined.selections) < 2:
        return
    first = first_of(joined.vids)
    again = np.flatnonzero(first != np.arange(len(first)))
    if len(again):
        counts = [s.cache.n_videos if s.videos is None else len(s.videos) for s in joined.selections]
        owners = np.searchsorted(np.cumsum(counts), [int(first[again[0]]), int(again[0])], side="right")
        one, other = (joined.selections[owner].cache.path for owner in owners.tolist())
        vid = joined.vids[int(again[0])]
        raise InputError(f"video '{vid}' is in both {one} and {other}; merge it from one of them")


def _check_query_ids(joined: Joined) -> None:
    # Within one cache they are unique.
    if sum(len(selection.cache.queries) > 0 for selection in joined.selections) > 1:
        again = joined.repeated_query()
        if again is not None:
            raise InputError(f"query id {again[0]!r} is in split '{again[1]}' twice; ids must be unique there")


def _check_queries(queries: Sequence[QueryRecord]) -> None:
    seen: set[tuple[str, int | str]] = set()
    for query in queries:
        check_query(query)
        key = (query.split, query.qid)
        if key in seen:
            raise InputError(f"query id {query.qid!r} is in split '{query.split}' twice; ids must be unique there")
        seen.add(key)


def _failures(cache: Cache) -> list[Failure]:
    failures = cache.failures
    cache.close()
    return failures


def _without_features(failures: list[Failure], vids: Strings) -> list[Failure]:
    if not failures:
        return []
    absent = StringIndex(vids).find(Strings.of(failure.vid for failure in failures)) < 0
    return [failure for failure, kept in zip(failures, absent.tolist(), strict=True) if kept]
