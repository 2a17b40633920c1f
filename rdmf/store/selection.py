"""What is taken of a cache into another one, and its rows in blocks, each checked before it is passed on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rdmf.store.cache import Cache
from rdmf.store.errors import InputError
from rdmf.store.ragged import offsets_of
from rdmf.store.records import Array
from rdmf.store.rows import groups
from rdmf.store.strings import Strings
from rdmf.store.tables import TextFacts, VideoFacts


@dataclass(frozen=True)
class Selection:
    """Some of a cache's videos, sentences and queries: int64 numbers in ascending order, or None for all of them.

    Queries may ask only about videos that are taken, or that have no features.
    """

    cache: Cache
    videos: Array | None = None
    texts: Array | None = None
    queries: Array | None = None

    def column(self, name: str, items: Array | None) -> Array:
        """The entries of some items in one of the cache's tables; the file is closed afterwards."""
        values = self.cache.columns.array(name)
        self.cache.close()
        return values if items is None else values[items]

    def strings(self, name: str, items: Array | None) -> Strings:
        """The same of a column of strings."""
        column = self.cache.columns.strings(name).take(items)
        self.cache.close()
        return column

    def counts(self, name: str, items: Array | None) -> Array:
        """int64 (N,): how many elements each of some items owns, by a table of offsets."""
        counts = np.diff(self.column(name, None))
        return counts if items is None else counts[items]

    def stretches(self, name: str, items: Array | None) -> Array:
        """int64 (K, 2): rows [first, last) of the flat table that the items own, neighbours joined, none empty."""
        offsets = self.column(name, None)
        if items is None:
            ends = np.array([[offsets[0], offsets[-1]]], np.int64)
            return ends[ends[:, 0] < ends[:, 1]]
        return joined(offsets[items], offsets[items + 1])

    def video_blocks(self) -> Iterator[tuple[Array, Array]]:
        """(features, times) of the videos taken, in blocks.

        Raises:
            InputError: a video's bytes do not match its checksum.
        """
        cache, facts = self.cache, VideoFacts(self.cache.columns)
        for items, pieces in self._grouped("video/row_offsets", self.videos, cache.d_video):
            features = _stacked([cache.video_rows(*piece) for piece in pieces])
            times = _stacked([cache.times_rows(*piece) for piece in pieces])
            for number, first, last in items:
                if not facts.sound(number, features[first:last], times[first:last]):
                    raise InputError(f"{cache.path}: video '{facts.vids[number]}' is damaged; extract that part again")
            yield features, times
        cache.close()

    def token_blocks(self) -> Iterator[Array]:
        """Token rows of the sentences taken, in blocks.

        Raises:
            InputError: a sentence's bytes do not match its checksum.
        """
        cache, facts = self.cache, TextFacts(self.cache.columns)
        for items, pieces in self._grouped("text/token_offsets", self.texts, cache.d_text):
            tokens = _stacked([cache.text_rows(*piece) for piece in pieces])
            for number, first, last in items:
                if not facts.sound(number, tokens[first:last]):
                    text = facts.texts[number][:60]
                    raise InputError(f"{cache.path}: text '{text}' is damaged; extract that part again")
            yield tokens
        cache.close()

    def _grouped(
        self, name: str, taken: Array | None, width: int
    ) -> Iterator[tuple[list[tuple[int, int, int]], list[tuple[int, int]]]]:
        """Items in groups of about a block: (number, first row, last row within the block) of each, and the stretches
        of rows to read."""
        offsets = self.cache.columns.array(name)
        numbers = np.arange(len(offsets) - 1) if taken is None else taken
        bounds = offsets_of(np.diff(offsets)[numbers])
        for first, last in groups(bounds, width * self.cache.feature_dtype.itemsize):
            chosen = numbers[first:last]
            within = (bounds[first : last + 1] - bounds[first]).tolist()
            pieces = joined(offsets[chosen], offsets[chosen + 1])
            items = list(zip(chosen.tolist(), within[:-1], within[1:], strict=True))
            yield items, [(a, b) for a, b in pieces.tolist()]


def joined(starts: Array, stops: Array) -> Array:
    """int64 (K, 2): stretches [start, stop) in ascending order, neighbours joined, empty ones dropped."""
    some = starts < stops
    starts, stops = starts[some], stops[some]
    apart = np.ones(len(starts) + 1, bool)
    apart[1:-1] = starts[1:] != stops[:-1]
    return np.stack([starts[apart[:-1]], stops[apart[1:]]], axis=1)


def _stacked(pieces: list[Array]) -> Array:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
