"""Queries as records become columns: what a cache cannot hold is refused, the rest is flat tables."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence

import numpy as np

from rdmf.store.errors import InputError
from rdmf.store.ragged import offsets_of
from rdmf.store.records import Array, QueryRecord

_LARGEST_INT = 2**63 - 1
_LARGEST_SCORE = float(np.finfo(np.float32).max)


def check_query(query: QueryRecord) -> None:
    """Refuses what a cache cannot hold.

    Raises:
        InputError: a qid that is neither str nor a 64-bit int, ragged or non-finite saliency scores, negative
            clip numbers, a clip length that is not positive, or a name or sentence that is not valid Unicode.
    """
    where = f"query {query.qid!r} of video '{query.vid}'"
    for value in (query.vid, query.text, query.split, query.kind, query.qid):
        try:
            str(value).encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(f"query {query.qid!r}: {value!a} is not valid Unicode; rename it") from None
    if isinstance(query.qid, bool) or not isinstance(query.qid, (str, numbers.Integral)):
        raise InputError(f"{where}: a query id must be an int or a str, not {type(query.qid).__name__}")
    if not isinstance(query.qid, str) and abs(int(query.qid)) > _LARGEST_INT:
        raise InputError(f"{where}: the query id does not fit 64 bits; give it as a string")
    if len({len(row) for row in query.saliency_scores}) > 1:
        raise InputError(f"{where}: clips have scores by different numbers of annotators")
    if not all(abs(score) <= _LARGEST_SCORE for row in query.saliency_scores for score in row):
        raise InputError(f"{where}: a saliency score is not a finite number")
    if not all(0 <= clip <= _LARGEST_INT for clip in query.saliency_clips):
        raise InputError(f"{where}: a saliency clip number is negative or absurd; clips are counted from 0")
    if not (math.isfinite(query.clip_length) and query.clip_length > 0):
        raise InputError(f"{where}: clip length {query.clip_length} is not a positive number of seconds")


def codes_of(values: Sequence[str]) -> tuple[Array, list[str]]:
    """(codes, names): int32 (N,) and the distinct values in order of first appearance."""
    known: dict[str, int] = {}
    codes = np.fromiter((known.setdefault(value, len(known)) for value in values), np.int32, len(values))
    return codes, list(known)


def query_tables(
    queries: Sequence[QueryRecord], vids: Sequence[str], texts: Mapping[str, int]
) -> tuple[dict[str, Array], dict[str, list[str]]]:
    """The arrays and the string columns of group `query`.

    Args:
        queries: checked records.
        vids: the cache's videos; a query about another is kept and counts as missing.
        texts: index of each sentence that has token features.

    Raises:
        InputError: a sentence without token features.
    """
    known = {vid: i for i, vid in enumerate(vids)}
    absent: dict[str, int] = {}
    vid_codes = np.empty(len(queries), np.int64)
    text_index = np.empty(len(queries), np.int64)
    for i, query in enumerate(queries):
        code = known.get(query.vid)
        vid_codes[i] = len(vids) + absent.setdefault(query.vid, len(absent)) if code is None else code
        index = texts.get(query.text)
        if index is None:
            raise InputError(f"query {query.qid!r}: its sentence '{query.text[:60]}' has no token features")
        text_index[i] = index
    split_codes, splits = codes_of([query.split for query in queries])
    kind_codes, kinds = codes_of([query.kind for query in queries])
    is_text = np.array([isinstance(query.qid, str) for query in queries], bool)
    n_annotators = np.array([len(query.saliency_scores[0]) if query.saliency_scores else 0 for query in queries], int)
    windows = [window for query in queries for window in query.windows]
    arrays: dict[str, Array] = {
        "query/qid_int": np.array([0 if isinstance(query.qid, str) else query.qid for query in queries], np.int64),
        "query/qid_is_text": is_text,
        "query/vid_code": vid_codes,
        "query/text_index": text_index,
        "query/split_code": split_codes,
        "query/kind_code": kind_codes,
        "query/clip_length": np.array([query.clip_length for query in queries], np.float64),
        "query/duration": np.array([query.duration for query in queries], np.float64),
        "query/window_offsets": offsets_of(np.array([len(query.windows) for query in queries], np.int64)),
        "query/windows": np.array(windows, np.float64).reshape(-1, 2),
        "query/saliency_offsets": offsets_of(np.array([len(query.saliency_clips) for query in queries], np.int64)),
        "query/saliency_clips": np.array([clip for query in queries for clip in query.saliency_clips], np.int64),
        "query/saliency_scores": _scores(queries, int(n_annotators.max(initial=0))),
        "query/n_annotators": n_annotators.astype(np.int32),
    }
    strings = {
        "query/qid": [query.qid if isinstance(query.qid, str) else "" for query in queries],
        "query/absent_vid": list(absent),
        "query/split_name": splits,
        "query/kind_name": kinds,
    }
    return arrays, strings


def _scores(queries: Sequence[QueryRecord], most_annotators: int) -> Array:
    """(S, A) float32, NaN where a query has fewer annotators than the cache's most."""
    rows = [row for query in queries for row in query.saliency_scores]
    scores = np.full((len(rows), most_annotators), np.nan, np.float32)
    for i, row in enumerate(rows):
        scores[i, : len(row)] = row
    return scores
