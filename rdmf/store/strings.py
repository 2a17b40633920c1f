"""Columns of strings as two flat arrays: all UTF-8 bytes end to end, and where each string begins.

HDF5's own variable-length strings cost a heap look-up each, and fixed-length ones cost the longest string for every
row; this form is as compact as the text itself and is read in two contiguous reads. Ten million sentences are 400 MB
so, and more than a gigabyte as Python's own strings: they are decoded one by one, when somebody looks at them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np

from rdmf.store.errors import InputError
from rdmf.store.ragged import offsets_of, take
from rdmf.store.records import Array

_STRINGS_A_BLOCK = 1 << 16


class Strings(Sequence[str]):
    """N strings in flat arrays; behaves as a list of str that cannot be changed.

    Attributes:
        data: uint8 (B,), the UTF-8 bytes of all, end to end.
        offsets: int64 (N+1,), string i being data[offsets[i]:offsets[i+1]].
    """

    __hash__ = None  # type: ignore[assignment]  # equal to lists, which have none either

    def __init__(self, data: Array, offsets: Array, *, errors: str = "strict") -> None:
        self.data, self.offsets = data, offsets
        self._errors = errors  # as for bytes.decode

    @staticmethod
    def of(strings: Iterable[str], what: str = "string") -> Strings:
        """Strings encoded.

        Args:
            what: how an error calls one of them.

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
        return Strings(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    @staticmethod
    def join(columns: Sequence[Strings]) -> Strings:
        """All strings of several columns, one after the other."""
        if len(columns) == 1:
            return columns[0]
        counts = [np.diff(column.offsets) for column in columns]
        return Strings(
            np.concatenate([np.zeros(0, np.uint8), *(column.data for column in columns)]),
            offsets_of(np.concatenate([np.zeros(0, np.int64), *counts])),
        )

    def take(self, items: Array | None) -> Strings:
        """The strings of these numbers, in the order given; None is all of them."""
        return self if items is None else Strings(*take(self.data, self.offsets, items), errors=self._errors)

    def raw(self, index: int) -> bytes:
        """The UTF-8 bytes of one string."""
        return self.data[int(self.offsets[index]) : int(self.offsets[index + 1])].tobytes()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            numbers = range(len(self))[index]
            if numbers.step == 1 and len(numbers):
                return self._decoded(numbers.start, numbers.stop)
            return [self.raw(i).decode("utf-8", self._errors) for i in numbers]
        return self.raw(range(len(self))[index]).decode("utf-8", self._errors)

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _STRINGS_A_BLOCK):
            yield from self._decoded(first, min(len(self), first + _STRINGS_A_BLOCK))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Strings):
            return np.array_equal(np.diff(self.offsets), np.diff(other.offsets)) and np.array_equal(
                self.data, other.data
            )
        if not isinstance(other, (list, tuple)):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    def __repr__(self) -> str:
        shown = self[:8]
        return repr(shown) if len(self) <= len(shown) else f"[{', '.join(map(repr, shown))}, ... {len(self)} strings]"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Strings, (self.data, self.offsets))

    def _decoded(self, first: int, last: int) -> list[str]:
        bounds = (self.offsets[first : last + 1] - self.offsets[first]).tolist()
        raw = self.data[int(self.offsets[first]) : int(self.offsets[last])].tobytes()
        if raw.isascii():
            text = raw.decode("ascii")
            return [text[start:stop] for start, stop in itertools.pairwise(bounds)]
        return [raw[start:stop].decode("utf-8", self._errors) for start, stop in itertools.pairwise(bounds)]
