"""Selections of caches as the tables of one file: column by column, codes renumbered, names that recur kept once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import numpy as np

from rdmf.store.ragged import first_seen, offsets_of, take
from rdmf.store.record_tables import Arrays, StringColumns
from rdmf.store.records import Array
from rdmf.store.selection import Selection
from rdmf.store.string_index import first_of
from rdmf.store.strings import Strings

_VIDEO = ("duration", "annotated_duration", "recovered", "padded", "sha256")
_QUERY = ("qid_int", "qid_is_text", "clip_length", "duration", "n_annotators")


class Joined:
    """The tables of a file that holds what several selections take, in their order.

    Args:
        selections: no video is in two of them; a sentence is taken from one of them only.
        text_places: for each, int64 (T,), the number in the file of every sentence of its cache, -1 where it has none.
    """

    def __init__(self, selections: Sequence[Selection], text_places: Sequence[Array]) -> None:
        self.selections = list(selections)
        self._text_places = list(text_places)

    @cached_property
    def row_counts(self) -> Array:
        """int64 (V,), rows of each video."""
        return _joined(s.counts("video/row_offsets", s.videos) for s in self.selections)

    @cached_property
    def token_counts(self) -> Array:
        """int64 (T,), tokens of each sentence."""
        return _joined(s.counts("text/token_offsets", s.texts) for s in self.selections)

    @cached_property
    def vids(self) -> Strings:
        """The videos' names."""
        return Strings.join([s.strings("video/vid", s.videos) for s in self.selections])

    def tables(self) -> tuple[Arrays, StringColumns]:
        """All small tables but those of the queries and failures, each made when it is called for."""
        arrays: dict[str, Callable[[], Array]] = {"video/row_offsets": lambda: offsets_of(self.row_counts)}
        for name in _VIDEO:
            arrays[f"video/{name}"] = self._videos(f"video/{name}")
        arrays["video/decoder_code"] = lambda: self._codes("video/decoder", "videos")
        arrays["text/token_offsets"] = lambda: offsets_of(self.token_counts)
        arrays["text/sha256"] = lambda: _joined(s.column("text/sha256", s.texts) for s in self.selections)
        strings: dict[str, Callable[[], Strings]] = {
            "video/vid": lambda: self.vids,
            "video/decoder_name": lambda: Strings.of(self._names("video/decoder", "videos")[0]),
            "text/text": lambda: Strings.join([s.strings("text/text", s.texts) for s in self.selections]),
        }
        return arrays, strings

    def query_tables(self) -> tuple[Arrays, StringColumns]:
        """The tables of the queries, each made when it is called for."""
        arrays: dict[str, Callable[[], Array]] = {f"query/{name}": self._queries(f"query/{name}") for name in _QUERY}
        arrays["query/vid_code"] = self.vid_codes
        arrays["query/text_index"] = self._text_index
        arrays["query/split_code"] = lambda: self._codes("query/split", "queries")
        arrays["query/kind_code"] = lambda: self._codes("query/kind", "queries")
        arrays["query/window_offsets"] = self._offsets("query/window_offsets")
        arrays["query/windows"] = self._ragged("query/windows", "query/window_offsets")
        arrays["query/saliency_offsets"] = self._offsets("query/saliency_offsets")
        arrays["query/saliency_clips"] = self._ragged("query/saliency_clips", "query/saliency_offsets")
        arrays["query/saliency_scores"] = self._ragged("query/saliency_scores", "query/saliency_offsets")
        strings: dict[str, Callable[[], Strings]] = {
            "query/qid": lambda: Strings.join([s.strings("query/qid", s.queries) for s in self.selections]),
            "query/absent_vid": lambda: self._absent[1],
            "query/split_name": lambda: Strings.of(self._names("query/split", "queries")[0]),
            "query/kind_name": lambda: Strings.of(self._names("query/kind", "queries")[0]),
        }
        return arrays, strings

    def vid_codes(self) -> Array:
        """int64 (Q,), as `query/vid_code`."""
        codes, at = [], 0
        for selection, places in zip(self.selections, self._absent[0], strict=True):
            old = selection.column("query/vid_code", selection.queries)
            n_videos = selection.cache.n_videos
            if selection.videos is None:
                new, n_taken = old + at, n_videos
            else:
                n_taken = len(selection.videos)
                new = at + np.searchsorted(selection.videos, old)
            away = old >= n_videos
            new[away] = places[old[away] - n_videos]
            codes.append(new)
            at += n_taken
        return _joined(codes)

    def repeated_query(self) -> tuple[int | str, str] | None:
        """(id, split) of a query id that stands in a split twice, or None."""
        splits = self._codes("query/split", "queries")
        is_text = self._queries("query/qid_is_text")()
        ids = self._queries("query/qid_int")()
        names = None
        if is_text.any():
            names = self.query_tables()[1]["query/qid"]()
            ids = np.where(is_text, first_of(names), ids)
        order = np.lexsort((ids, is_text, splits))
        same = np.ones(max(0, len(order) - 1), bool)
        for key in (splits, is_text, ids):
            ordered = key[order]
            same &= ordered[1:] == ordered[:-1]
        if not same.any():
            return None
        number = int(order[1:][same].min())
        return (
            names[number] if names is not None and is_text[number] else int(ids[number]),
            self._names("query/split", "queries")[0][int(splits[number])],
        )

    @cached_property
    def _absent(self) -> tuple[list[Array], Strings]:
        """For each selection the codes of the videos without features that its cache names, and the names left."""
        columns = [s.strings("query/absent_vid", None) for s in self.selections]
        used = [self._used_absent(s, len(column)) for s, column in zip(self.selections, columns, strict=True)]
        n_videos = len(self.vids)
        names = Strings.join([self.vids, *(column.take(u) for column, u in zip(columns, used, strict=True))])
        first = first_of(names) if len(names) > n_videos else np.arange(n_videos)
        # Present after all in another selection, or the first of its name: numbered in order of appearance.
        new = (first == np.arange(len(first))) & (first >= n_videos)
        codes = np.where(first < n_videos, first, (n_videos + np.cumsum(new) - 1)[first])[n_videos:]
        places, at = [], 0
        for column, taken in zip(columns, used, strict=True):
            place = np.full(len(column), -1, np.int64)
            place[taken] = codes[at : at + len(taken)]
            places.append(place)
            at += len(taken)
        return places, names.take(np.flatnonzero(new))

    @staticmethod
    def _used_absent(selection: Selection, n_absent: int) -> Array:
        if selection.queries is None or not n_absent:
            return np.arange(n_absent)
        codes = selection.column("query/vid_code", selection.queries) - selection.cache.n_videos
        return first_seen(codes[codes >= 0])

    def _names(self, column: str, of: str) -> tuple[list[str], list[Array]]:
        """Distinct names of a coded column in order of first appearance, and each selection's codes among them."""
        known: dict[str, int] = {}
        maps = []
        for selection in self.selections:
            names = list(selection.strings(f"{column}_name", None))
            items = getattr(selection, of)
            codes = range(len(names)) if items is None else first_seen(selection.column(f"{column}_code", items))
            new = np.full(len(names), -1, np.int32)
            for code in codes:
                new[code] = known.setdefault(names[code], len(known))
            maps.append(new)
        return list(known), maps

    def _codes(self, column: str, of: str) -> Array:
        _, maps = self._names(column, of)
        pairs = zip(self.selections, maps, strict=True)
        return _joined(new[s.column(f"{column}_code", getattr(s, of))] for s, new in pairs)

    def _text_index(self) -> Array:
        pairs = zip(self.selections, self._text_places, strict=True)
        return _joined(place[s.column("query/text_index", s.queries)] for s, place in pairs)

    def _videos(self, name: str) -> Callable[[], Array]:
        return lambda: _joined(s.column(name, s.videos) for s in self.selections)

    def _queries(self, name: str) -> Callable[[], Array]:
        return lambda: _joined(s.column(name, s.queries) for s in self.selections)

    def _offsets(self, name: str) -> Callable[[], Array]:
        return lambda: offsets_of(_joined(s.counts(name, s.queries) for s in self.selections))

    def _ragged(self, name: str, offsets: str) -> Callable[[], Array]:
        def pieces() -> list[Array]:
            return [take(s.column(name, None), s.column(offsets, None), s.queries)[0] for s in self.selections]

        return lambda: _joined(_widened(pieces()) if name == "query/saliency_scores" else pieces())


def _joined(pieces: Iterable[Array]) -> Array:
    """Pieces (N, ...) one after the other."""
    listed = list(pieces)
    return listed[0] if len(listed) == 1 else np.concatenate(listed)


def _widened(pieces: list[Array]) -> list[Array]:
    """Pieces (N, A) of as many columns as the widest has, filled up with NaN."""
    most = max(piece.shape[1] for piece in pieces)
    missing = [np.full((len(piece), most - piece.shape[1]), np.nan, piece.dtype) for piece in pieces]
    return [np.hstack(pair) if pair[1].shape[1] else pair[0] for pair in zip(pieces, missing, strict=True)]
