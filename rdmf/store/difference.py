"""How two caches differ: "do my features match theirs?", video by video, without holding either in memory."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rdmf.store.cache import Cache, open_cache
from rdmf.store.fingerprint import differing_fields
from rdmf.store.records import Array
from rdmf.store.string_index import StringIndex
from rdmf.store.strings import Strings


@dataclass(frozen=True)
class ItemDifference:
    """How the features (L, d) of one video or sentence differ between two caches.

    Attributes:
        name: the video's name or the sentence.
        least_cosine, mean_cosine: over the rows; of a row that is zero in both 1, in one of them 0.
        largest: the largest absolute difference of a feature.
        seconds: the largest difference of a row's start or end in seconds; 0 for sentences.
    """

    name: str
    least_cosine: float
    mean_cosine: float
    largest: float
    seconds: float = 0.0

    @property
    def same(self) -> bool:
        """Whether no feature and no time differs at all."""
        return self.largest == 0 and self.seconds == 0


@dataclass(frozen=True)
class Items:
    """How the videos, or the sentences, of two caches differ.

    Attributes:
        only_here, only_there: names of those that the other one lacks.
        shapes: (name, shape here, shape there) of those that cannot be compared, for their shapes differ.
        compared, identical: how many could be, and how many of them are the same in every bit that counts.
        least_cosine, mean_cosine, largest, seconds: over all that were compared (the mean is over their means).
        worst: those that differ most, by least cosine, then by largest difference.
    """

    only_here: Strings
    only_there: Strings
    shapes: list[tuple[str, tuple[int, int], tuple[int, int]]]
    compared: int
    identical: int
    least_cosine: float
    mean_cosine: float
    largest: float
    seconds: float
    worst: list[ItemDifference]

    def agree(self, tolerance: float) -> bool:
        """Whether both caches have the same items, and these agree."""
        return not len(self.only_here) + len(self.only_there) and self.shared_agree(tolerance)

    def shared_agree(self, tolerance: float) -> bool:
        """Whether the items that both have are of the same shapes, and nothing differs by more than this."""
        return not self.shapes and max(self.largest, self.seconds) <= tolerance


@dataclass(frozen=True)
class Difference:
    """How two caches differ: settings (one line each), videos, sentences."""

    settings: list[str]
    videos: Items
    texts: Items


def difference(here: str | Path, there: str | Path, *, worst: int = 10) -> Difference:
    """Compares the features of two caches, by name of video and by sentence; order and parts do not matter.

    Args:
        worst: how many of the most different items to name.

    Raises:
        InputError: as `open_cache`, or a file that cannot be read to its end.
    """
    with open_cache(here) as one, open_cache(there) as other:
        return Difference(
            settings=differing_fields(one.provenance, other.provenance),
            videos=_items(one.vids, other.vids, lambda i, j: (one.video(i), other.video(j)), worst),
            texts=_items(one.texts, other.texts, lambda i, j: (_text(one, i), _text(other, j)), worst),
        )


_Rows = tuple[Array, Array]  # features (L, d) and times (L, 2)


def _text(cache: Cache, index: int) -> _Rows:
    return cache.text(index), np.zeros((0, 2))


def _items(here: Strings, there: Strings, read: Callable[[int, int], tuple[_Rows, _Rows]], worst: int) -> Items:
    numbers = StringIndex(there).find(here)
    alone = np.ones(len(there), bool)
    alone[numbers[numbers >= 0]] = False
    shapes: list[tuple[str, tuple[int, int], tuple[int, int]]] = []
    heap: list[tuple[tuple[float, float, int], ItemDifference]] = []
    compared = identical = 0
    least, total, largest, seconds = 1.0, 0.0, 0.0, 0.0
    for i, j in _pairs(numbers):
        one, other = read(i, j)
        if one[0].shape != other[0].shape:
            shapes.append((here[i], one[0].shape, other[0].shape))
            continue
        item = _compared(here[i], one, other)
        compared += 1
        identical += item.same
        least, largest = min(least, item.least_cosine), max(largest, item.largest)
        total, seconds = total + item.mean_cosine, max(seconds, item.seconds)
        if not item.same:
            # The smallest of the heap is the least different of the worst; the number settles ties.
            entry = ((-item.least_cosine, max(item.largest, item.seconds), -i), item)
            (heapq.heappush if len(heap) < worst else heapq.heappushpop)(heap, entry)
    return Items(
        only_here=here.take(np.flatnonzero(numbers < 0)),
        only_there=there.take(np.flatnonzero(alone)),
        shapes=shapes,
        compared=compared,
        identical=identical,
        least_cosine=least,
        mean_cosine=total / compared if compared else 1.0,
        largest=largest,
        seconds=seconds,
        worst=[item for _, item in sorted(heap, reverse=True)],
    )


def _pairs(numbers: Array) -> Iterator[tuple[int, int]]:
    for i in np.flatnonzero(numbers >= 0).tolist():
        yield i, int(numbers[i])


def _compared(name: str, here: _Rows, there: _Rows) -> ItemDifference:
    a, b = here[0].astype(np.float64), there[0].astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = np.where(norms > 0, (a * b).sum(axis=1) / norms, both_zero)
    # Equal rows have cosine 1, which rounding may miss by a bit in the last place.
    cosines = np.where((a == b).all(axis=1), 1.0, np.minimum(cosines, 1.0))
    return ItemDifference(
        name=name,
        least_cosine=float(cosines.min(initial=1.0)),
        mean_cosine=float(cosines.mean()) if len(cosines) else 1.0,
        largest=float(np.abs(a - b).max(initial=0.0)),
        seconds=float(np.abs(here[1] - there[1]).max(initial=0.0)),
    )
