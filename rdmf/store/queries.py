"""Queries as columns: how records become flat tables, and how the tables are read."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from rdmf.store.errors import InputError
from rdmf.store.layout import Columns
from rdmf.store.records import Array, QueryRecord
from rdmf.store.strings import offsets_of

_LARGEST_INT = 2**63 - 1
_LARGEST_SCORE = float(np.finfo(np.float32).max)


def check_query(query: QueryRecord) -> None:
    """Refuses what a cache cannot hold.

    Raises:
        InputError: a qid that is neither str nor a 64-bit int, ragged or non-finite saliency scores, negative
            clip numbers, or a clip length that is not positive.
    """
    where = f"query {query.qid!r} of video '{query.vid}'"
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


class QueryTable:
    """The queries of a cache by column, each read at first use. Q queries, W windows, S scored clips, A annotators.

    All columns are in one order; `splits` and the other lists of str are decoded only when asked for.
    """

    def __init__(self, columns: Columns, vids: Any, n_videos: int) -> None:
        self._columns = columns
        self._video_names = vids  # a function, so that names are decoded only when needed
        self._n_videos = n_videos

    def __len__(self) -> int:
        return self._columns.shape("query/text_index")[0]

    @cached_property
    def qids(self) -> list[int | str]:
        """The datasets' own ids, int or str as they were given."""
        ids: list[int | str] = self._columns.array("query/qid_int").tolist()
        is_text = self._columns.array("query/qid_is_text")
        if is_text.any():
            names = self._columns.strings("query/qid")
            for i in np.flatnonzero(is_text).tolist():
                ids[i] = names[i]
        return ids

    @cached_property
    def _vid_codes(self) -> Array:
        return self._columns.array("query/vid_code")

    @cached_property
    def absent_vids(self) -> list[str]:
        """Names of videos that are asked about but have no features."""
        return self._columns.strings("query/absent_vid")

    @cached_property
    def vids(self) -> list[str]:
        """Name of each query's video."""
        return _named(self._vid_codes, [*self._video_names(), *self.absent_vids])

    @cached_property
    def video_index(self) -> Array:
        """int64 (Q,), -1 where the video has no features."""
        return np.where(self._vid_codes < self._n_videos, self._vid_codes, -1)

    @cached_property
    def text_index(self) -> Array:
        """int64 (Q,) into the cache's sentences."""
        return self._columns.array("query/text_index")

    @cached_property
    def split_names(self) -> list[str]:
        """The distinct splits, in order of first appearance."""
        return self._columns.strings("query/split_name")

    @cached_property
    def split_codes(self) -> Array:
        """int32 (Q,) into `split_names`."""
        return self._columns.array("query/split_code")

    @cached_property
    def splits(self) -> list[str]:
        """Split of each query."""
        return _named(self.split_codes, self.split_names)

    @cached_property
    def kind_names(self) -> list[str]:
        """The distinct query types, in order of first appearance."""
        return self._columns.strings("query/kind_name")

    @cached_property
    def kind_codes(self) -> Array:
        """int32 (Q,) into `kind_names`."""
        return self._columns.array("query/kind_code")

    @cached_property
    def kinds(self) -> list[str]:
        """Type of each query, "" where unknown."""
        return _named(self.kind_codes, self.kind_names)

    @cached_property
    def clip_lengths(self) -> Array:
        """float64 (Q,), seconds per saliency clip."""
        return self._columns.array("query/clip_length")

    @cached_property
    def durations(self) -> Array:
        """float64 (Q,), seconds that the annotation claims for the video; NaN where it claims none."""
        return self._columns.array("query/duration")

    @cached_property
    def window_offsets(self) -> Array:
        """int64 (Q+1,): query i has windows [window_offsets[i], window_offsets[i+1])."""
        return self._columns.array("query/window_offsets")

    @cached_property
    def windows(self) -> Array:
        """float64 (W, 2), [start, end) in seconds."""
        return self._columns.array("query/windows")

    @cached_property
    def saliency_offsets(self) -> Array:
        """int64 (Q+1,): query i has scored clips [saliency_offsets[i], saliency_offsets[i+1])."""
        return self._columns.array("query/saliency_offsets")

    @cached_property
    def saliency_clips(self) -> Array:
        """int64 (S,), clip indices in units of the query's clip length."""
        return self._columns.array("query/saliency_clips")

    @cached_property
    def saliency_scores(self) -> Array:
        """float32 (S, A); a query with n annotators has them in the first n columns, NaN in the rest."""
        return self._columns.array("query/saliency_scores")

    @cached_property
    def n_annotators(self) -> Array:
        """int32 (Q,)."""
        return self._columns.array("query/n_annotators")

    def records(self, indices: Array, texts: list[str]) -> list[QueryRecord]:
        """The queries at these indices as records; `texts` are the cache's sentences."""
        windows, clips, scores = self.windows.tolist(), self.saliency_clips.tolist(), self.saliency_scores.tolist()
        window_at, clip_at = self.window_offsets.tolist(), self.saliency_offsets.tolist()
        annotators = self.n_annotators.tolist()
        lengths, durations = self.clip_lengths.tolist(), self.durations.tolist()
        text_index = self.text_index.tolist()
        records = []
        for i in indices.tolist():
            first, last = clip_at[i], clip_at[i + 1]
            records.append(
                QueryRecord(
                    qid=self.qids[i],
                    vid=self.vids[i],
                    text=texts[text_index[i]],
                    split=self.splits[i],
                    windows=tuple((start, end) for start, end in windows[window_at[i] : window_at[i + 1]]),
                    saliency_clips=tuple(clips[first:last]),
                    saliency_scores=tuple(tuple(row[: annotators[i]]) for row in scores[first:last]),
                    clip_length=lengths[i],
                    kind=self.kinds[i],
                    duration=durations[i],
                )
            )
        return records


def _named(codes: Array, names: list[str]) -> list[str]:
    # An object array shares one str among all queries of a name, which a list comprehension would too, but slower.
    return list(np.array([*names, None], object)[codes])
