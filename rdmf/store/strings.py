"""Columns of strings as two flat arrays: all UTF-8 bytes end to end, and where each string begins.

HDF5's own variable-length strings cost a heap look-up each, and fixed-length ones cost the longest string for every
row; this form is as compact as the text itself and is read in two contiguous reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from rdmf.store.errors import InputError
from rdmf.store.records import Array


def encode_strings(strings: Sequence[str], what: str) -> tuple[Array, Array]:
    """(bytes, offsets): uint8 (B,) and int64 (N+1,), string i being bytes[offsets[i]:offsets[i+1]].

    Raises:
        InputError: a string that is not valid Unicode, such as a file name with undecodable bytes.
    """
    encoded = []
    for string in strings:
        try:
            encoded.append(string.encode("utf-8"))
        except UnicodeEncodeError:
            raise InputError(f"{what} {string!a} is not valid Unicode; rename it") from None
    offsets = offsets_of(np.fromiter(map(len, encoded), np.int64, len(encoded)))
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def decode_strings(data: Array, offsets: Array, *, errors: str = "strict") -> list[str]:
    """The inverse of `encode_strings`; `errors` is as for bytes.decode."""
    raw = data.tobytes()
    bounds = offsets.tolist()
    if raw.isascii():
        text = raw.decode("ascii")
        return [text[start:stop] for start, stop in itertools.pairwise(bounds)]
    return [raw[start:stop].decode("utf-8", errors) for start, stop in itertools.pairwise(bounds)]


def offsets_of(counts: Array) -> Array:
    """Lengths (N,) to int64 offsets (N+1,) beginning with 0."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
