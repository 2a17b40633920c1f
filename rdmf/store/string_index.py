"""Finding strings among millions without a Python object for any: 64-bit hashes, sorted, and the bytes compared.

A dict of ten million sentences takes gigabytes; here it is 16 bytes a string, made in a few passes of numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rdmf.store.ragged import blocks, offsets_of, take
from rdmf.store.records import Array
from rdmf.store.strings import Strings

_BASE = 0x9E3779B97F4A7C15  # any odd number whose bits look random
_MIX = 0xD6E8FEB86659FD93
_MOST = 2**64 - 1


def hashes(strings: Strings) -> Array:
    """uint64 (N,), a polynomial in the bytes of each string, mixed. The same on every machine and in every run."""
    offsets = strings.offsets
    counts = np.diff(offsets)
    powers = np.full(int(counts.max(initial=0)) + 1, _BASE, np.uint64)
    powers[0] = 1
    np.cumprod(powers, out=powers)  # modulo 2^64
    out = np.empty(len(strings), np.uint64)
    for first, last in blocks(offsets):
        begin, end = int(offsets[first]), int(offsets[last])
        within = np.arange(begin, end) - np.repeat(offsets[first:last], counts[first:last])
        sums = np.zeros(end - begin + 1, np.uint64)
        np.cumsum((strings.data[begin:end].astype(np.uint64) + np.uint64(1)) * powers[within], out=sums[1:])
        out[first:last] = sums[offsets[first + 1 : last + 1] - begin] - sums[offsets[first:last] - begin]
    out ^= counts.astype(np.uint64) * np.uint64(_MIX)
    for _ in range(2):
        out ^= out >> np.uint64(32)
        out *= np.uint64(_MIX)
    return out ^ (out >> np.uint64(32))


def hash_of(raw: bytes) -> int:
    """`hashes` of one string, without numpy's overhead."""
    value = 0
    for byte in reversed(raw):
        value = value * _BASE + byte + 1 & _MOST
    value ^= len(raw) * _MIX & _MOST
    for _ in range(2):
        value = (value ^ value >> 32) * _MIX & _MOST
    return value ^ value >> 32


def first_of(strings: Strings) -> Array:
    """int64 (N,): for every string the number of the first one that equals it, its own where it is the first."""
    return first_of_all([lambda: strings])


def first_of_all(columns: Sequence[Callable[[], Strings]]) -> Array:
    """The same of several columns' strings, numbered one column after the other.

    Args:
        columns: functions that read a column; each is called twice, so that memory holds one column and not all.
    """
    hashed = np.concatenate([np.zeros(0, np.uint64), *(hashes(column()) for column in columns)])
    order = np.argsort(hashed, kind="stable")
    heads = np.arange(len(order))
    heads[1:][hashed[order[1:]] == hashed[order[:-1]]] = 0
    np.maximum.accumulate(heads, out=heads)
    first = np.empty(len(order), np.int64)
    first[order] = order[heads]
    del order, heads
    # Of one hash, so most likely equal: see.
    later = np.flatnonzero(first != np.arange(len(first)))
    like = np.union1d(later, first[later])
    some = _taken(columns, like)
    unlike = ~equal(some, np.searchsorted(like, later), some, np.searchsorted(like, first[later]))
    # Different strings of one hash: too rare to be quick about.
    for value in np.unique(hashed[later[unlike]]).tolist():
        known: dict[bytes, int] = {}
        for place in np.flatnonzero(hashed[like] == np.uint64(value)).tolist():
            first[like[place]] = known.setdefault(some.raw(place), int(like[place]))
    return first


def _taken(columns: Sequence[Callable[[], Strings]], numbers: Array) -> Strings:
    """Some strings of several columns, by ascending numbers that run through all of them."""
    if not len(numbers):
        return Strings.of([])
    taken, at = [], 0
    for column in columns:
        strings = column()
        here = numbers[np.searchsorted(numbers, at) : np.searchsorted(numbers, at + len(strings))]
        taken.append(strings.take(here - at))
        at += len(strings)
    return Strings.join(taken)


def equal(one: Strings, i: Array, other: Strings, j: Array) -> Array:
    """bool (K,): whether string i[k] of one column equals string j[k] of another."""
    lengths = one.offsets[i + 1] - one.offsets[i]
    same = lengths == other.offsets[j + 1] - other.offsets[j]
    pairs = np.flatnonzero(same)
    lengths = offsets_of(lengths[pairs])
    for first, last in blocks(lengths):
        chosen = pairs[first:last]
        here, bounds = take(one.data, one.offsets, i[chosen])
        there, _ = take(other.data, other.offsets, j[chosen])
        unlike = np.concatenate(([0], np.cumsum(here != there)))
        same[chosen] = unlike[bounds[1:]] == unlike[bounds[:-1]]
    return same


class StringIndex:
    """Where strings stand in a column. Building it reads all of them once; a look-up reads a few."""

    def __init__(self, strings: Strings) -> None:
        self._strings = strings
        hashed = hashes(strings)
        self._order = np.argsort(hashed, kind="stable")
        self._hashes = hashed[self._order]

    def find(self, wanted: Strings) -> Array:
        """int64 (K,): the number of each wanted string, of the first where it stands there twice; -1 where absent."""
        hashed = hashes(wanted)
        place = np.searchsorted(self._hashes, hashed)
        stop = np.searchsorted(self._hashes, hashed, side="right")
        found = np.full(len(wanted), -1, np.int64)
        looking = np.flatnonzero(place < stop)
        while len(looking):  # once, unless two different strings share a hash
            candidates = self._order[place[looking]]
            same = equal(wanted, looking, self._strings, candidates)
            found[looking[same]] = candidates[same]
            place[looking] += 1
            looking = looking[~same & (place[looking] < stop[looking])]
        return found

    def number(self, string: str) -> int:
        """The number of one string, of the first where it stands there twice, or -1."""
        try:
            raw = string.encode("utf-8")
        except UnicodeEncodeError:  # so no cache holds it
            return -1
        hashed = np.uint64(hash_of(raw))
        place = int(np.searchsorted(self._hashes, hashed))
        while place < len(self._hashes) and self._hashes[place] == hashed:
            number = int(self._order[place])
            if self._strings.raw(number) == raw:
                return number
            place += 1
        return -1
