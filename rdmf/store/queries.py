"""The queries of a cache, read by column."""

from __future__ import annotations

import itertools
from functools import cached_property

import numpy as np

from rdmf.store.layout import Columns
from rdmf.store.ragged import take
from rdmf.store.records import Array, QueryRecord
from rdmf.store.strings import Strings


class Names:
    """The videos' names and the sentences of a cache, each read at first use; the cache and its queries share them."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    @cached_property
    def vids(self) -> Strings:
        """Names of the videos that have features."""
        return self._columns.strings("video/vid")

    @cached_property
    def texts(self) -> Strings:
        """The distinct sentences."""
        return self._columns.strings("text/text")


class QueryTable:
    """The queries of a cache by column, each read at first use. Q queries, W windows, S scored clips, A annotators.

    All columns are in one order; `splits` and the other lists of str are decoded only when asked for.
    """

    def __init__(self, columns: Columns, names: Names, n_videos: int) -> None:
        self._columns = columns
        self._names = names
        self._n_videos = n_videos

    def __len__(self) -> int:
        return self._columns.shape("query/text_index")[0]

    @cached_property
    def qids(self) -> list[int | str]:
        """The datasets' own ids, int or str as they were given."""
        return self.ids(np.arange(len(self)))

    @cached_property
    def _int_ids(self) -> Array:
        return self._columns.array("query/qid_int")

    @cached_property
    def _id_is_text(self) -> Array:
        return self._columns.array("query/qid_is_text")

    @cached_property
    def _text_ids(self) -> Strings:
        return self._columns.strings("query/qid")

    @cached_property
    def _vid_codes(self) -> Array:
        return self._columns.array("query/vid_code")

    @cached_property
    def absent_vids(self) -> list[str]:
        """Names of videos that are asked about but have no features."""
        return list(self._columns.strings("query/absent_vid"))

    @cached_property
    def vids(self) -> list[str]:
        """Name of each query's video."""
        return _named(self._vid_codes, [*self._names.vids, *self.absent_vids])

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
        return list(self._columns.strings("query/split_name"))

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
        return list(self._columns.strings("query/kind_name"))

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

    def records(self, indices: Array) -> list[QueryRecord]:
        """The queries at these indices as records."""
        windows, window_at = take(self.windows, self.window_offsets, indices)
        clips, clip_at = take(self.saliency_clips, self.saliency_offsets, indices)
        scores, _ = take(self.saliency_scores, self.saliency_offsets, indices)
        pairs, rows = windows.tolist(), scores.tolist()
        columns = zip(
            self.ids(indices),
            self.names(indices),
            self._names.texts.take(self.text_index[indices]),
            self.split_codes[indices].tolist(),
            itertools.pairwise(window_at.tolist()),
            itertools.pairwise(clip_at.tolist()),
            self.n_annotators[indices].tolist(),
            self.clip_lengths[indices].tolist(),
            self.kind_codes[indices].tolist(),
            self.durations[indices].tolist(),
        )
        return [
            QueryRecord(
                qid=qid,
                vid=vid,
                text=text,
                split=self.split_names[split],
                windows=tuple((start, end) for start, end in pairs[window_first:window_last]),
                saliency_clips=tuple(clips[clip_first:clip_last].tolist()),
                saliency_scores=tuple(tuple(row[:annotators]) for row in rows[clip_first:clip_last]),
                clip_length=length,
                kind=self.kind_names[kind],
                duration=duration,
            )
            for (
                qid,
                vid,
                text,
                split,
                (window_first, window_last),
                (clip_first, clip_last),
                annotators,
                length,
                kind,
                duration,
            ) in columns
        ]

    def ids(self, indices: Array) -> list[int | str]:
        """The datasets' own ids of some queries."""
        ids: list[int | str] = self._int_ids[indices].tolist()
        for i in np.flatnonzero(self._id_is_text[indices]).tolist():
            ids[i] = self._text_ids[int(indices[i])]
        return ids

    def names(self, indices: Array) -> list[str]:
        """The videos' names of some queries."""
        codes, absent = self._vid_codes[indices], self.absent_vids
        present = codes < self._n_videos
        names = iter(self._names.vids.take(codes[present]))
        return [next(names) if here else absent[code - self._n_videos] for code, here in zip(codes.tolist(), present)]


def _named(codes: Array, names: list[str]) -> list[str]:
    # An object array shares one str among all queries of a name, which a list comprehension would too, but slower.
    return list(np.array([*names, None], object)[codes])
