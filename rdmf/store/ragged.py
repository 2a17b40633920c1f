"""Ragged data as flat arrays: item i owns the elements from offsets[i] to offsets[i+1]."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rdmf.store.records import Array

ELEMENTS_A_BLOCK = 1 << 18  # moving or hashing an element needs some 30 bytes beside it


def offsets_of(counts: Array) -> Array:
    """Lengths (N,) to int64 offsets (N+1,) beginning with 0."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def take(data: Array, offsets: Array, items: Array | None) -> tuple[Array, Array]:
    """(data, offsets) of some items, in the order given; None is all of them.

    Args:
        data: (M, ...), all elements.
        offsets: int64 (N+1,).
        items: int64 (K,) numbers of items.
    """
    if items is None:
        return data, offsets
    starts = offsets[items]
    counts = offsets[items + 1] - starts
    taken = offsets_of(counts)
    out = np.empty((int(taken[-1]), *data.shape[1:]), data.dtype)
    for first, last in blocks(taken):
        begin, end = int(taken[first]), int(taken[last])
        if end - begin == int(starts[last - 1] + counts[last - 1] - starts[first]) and _adjoin(
            starts, counts, first, last
        ):
            out[begin:end] = data[int(starts[first]) : int(starts[first]) + end - begin]
            continue
        moves = np.repeat(starts[first:last] - taken[first:last], counts[first:last])
        out[begin:end] = data[moves + np.arange(begin, end)]
    return out, taken


def blocks(offsets: Array, most: int | None = None) -> Iterator[tuple[int, int]]:
    """Items [first, last) in groups of at most `most` elements, or of one item that has more; always whole items."""
    n_items, first = len(offsets) - 1, 0
    most = ELEMENTS_A_BLOCK if most is None else most
    while first < n_items:
        last = int(np.searchsorted(offsets, offsets[first] + most, side="right")) - 1
        last = min(n_items, max(last, first + 1))
        yield first, last
        first = last


def first_seen(codes: Array) -> Array:
    """The distinct values of an integer array in order of first appearance."""
    values, places = np.unique(codes, return_index=True)
    return values[np.argsort(places)]


def _adjoin(starts: Array, counts: Array, first: int, last: int) -> bool:
    """Whether items follow one another without a gap, so that they are one slice."""
    return bool((starts[first + 1 : last] == starts[first : last - 1] + counts[first : last - 1]).all())
