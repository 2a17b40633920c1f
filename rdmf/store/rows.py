"""Plain positioned reads of flat tables of rows, in one file or spread over several.

HDF5 says where a contiguous table lies; after that its bytes are read without HDF5. So an open cache holds no HDF5
handle: it survives a fork, several threads may read at once, and there is no lock for a network filesystem to refuse.
"""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rdmf.store.errors import InputError
from rdmf.store.open_files import OPEN
from rdmf.store.records import Array

BLOCK_BYTES = 1 << 24  # how much of a table is in memory at once while streaming
_MOST_OPEN_FILES = 64
_MOST_BYTES_A_READ = 1 << 30  # Linux gives at most 2 GiB a call


@dataclass(frozen=True)
class Extent:
    """Where a contiguous table lies in its file: byte offset (-1 where it is empty), type and shape."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Files:
    """Positioned reads from a list of files, of which only `most_open` stay open between reads.

    Args:
        paths: the files.
        blocks: for each its first bytes as they must be, or b"" where anything is taken. They hold the checksum of all
            the rest, so a file that has taken another one's name is noticed when it is opened.
    """

    def __init__(
        self, paths: Sequence[Path], *, blocks: Sequence[bytes] = (), most_open: int = _MOST_OPEN_FILES
    ) -> None:
        self.paths = list(paths)
        self._blocks = list(blocks) or [b""] * len(self.paths)
        self._open: OrderedDict[int, io.FileIO] = OrderedDict()
        self._lock = threading.Lock()
        self._most_open = most_open

    def adopt(self, number: int, file: io.FileIO) -> None:
        """Reads go on through this open file, whatever becomes of its name."""
        with self._lock:
            self._open[number] = file
        OPEN.opened(self, number)

    def read_into(self, number: int, offset: int, out: Array) -> None:
        """Fills a C-contiguous array from `offset` bytes into file `number`.

        Raises:
            InputError: the file is gone, unreadable, another one than it was, or shorter.
        """
        view = out.reshape(-1).view(np.uint8).data
        path = self.paths[number]
        try:
            file = self._file(number)
            done = 0
            while done < len(view):
                got = _read_at(file, offset + done, view[done : done + _MOST_BYTES_A_READ])
                if got == 0:
                    raise InputError(f"{path} ends early: it was truncated while open; copy it again")
                done += got
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error

    def read(self, number: int, extent: Extent) -> Array:
        """A whole table."""
        out: Array = np.empty(extent.shape, extent.dtype)
        if out.size:
            self.read_into(number, extent.offset, out)
        return out

    def close(self) -> None:
        """Closes what is open; a later read opens again."""
        with self._lock:
            self._open.clear()

    def let_go(self, number: int) -> None:
        """Closes one file; a later read opens it again."""
        with self._lock:
            self._open.pop(number, None)

    def holds(self, number: int) -> bool:
        """Whether one file is open."""
        return number in self._open

    def _file(self, number: int) -> io.FileIO:
        # An evicted file closes when the last reader that holds it lets go, never under another thread's read.
        with self._lock:
            file = self._open.pop(number, None)
            new = file is None
            if file is None:
                file = self._opened(number)
            self._open[number] = file
            while len(self._open) > self._most_open:
                self._open.popitem(last=False)
        if new:
            OPEN.opened(self, number)
        return file

    def _opened(self, number: int) -> io.FileIO:
        path, block = self.paths[number], self._blocks[number]
        file = io.FileIO(str(path), "r")
        if block and file.read(len(block)) != block:
            raise InputError(f"{path} was replaced by another cache while in use; start again")
        return file


def _read_at(file: io.FileIO, offset: int, view: memoryview) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(file.fileno(), [view], offset)
    # Where there are no positioned reads, a private handle keeps threads and forks apart.
    with io.FileIO(file.name, "r") as private:
        private.seek(offset)
        return private.readinto(view) or 0


class RowTable:
    """A table (N, width) whose rows lie in one or more files.

    Args:
        files: the files.
        offsets: byte offset of the table in each file, -1 where that file has none of it.
        runs: (K, 3) int64, one line a stretch of rows that lie together: [file number, first row in that file's
            table, first row here]; the third column begins at 0 and increases.
        n_rows: N.
        width: columns of the table.
        dtype: type of an element.
    """

    def __init__(
        self, files: Files, offsets: Sequence[int], runs: Array, *, n_rows: int, width: int, dtype: np.dtype[Any]
    ) -> None:
        self.shape = (n_rows, width)
        self.dtype = dtype
        self._files = files
        self._offsets = list(offsets)
        self._runs = runs

    def read(self, start: int | None = None, stop: int | None = None) -> Array:
        """Rows [start, stop) as (stop - start, width); Python's slice rules. One read per stretch."""
        first, last, _ = slice(start, stop).indices(self.shape[0])
        out: Array = np.empty((max(0, last - first), self.shape[1]), self.dtype)
        if not out.size:
            return out
        row_bytes = self.dtype.itemsize * self.shape[1]
        run = int(np.searchsorted(self._runs[:, 2], first, side="right")) - 1
        here = first
        while here < last:
            number, source, begin = (int(x) for x in self._runs[run])
            end = int(self._runs[run + 1, 2]) if run + 1 < len(self._runs) else self.shape[0]
            until = min(last, end)
            offset = self._offsets[number] + (source + here - begin) * row_bytes
            self._files.read_into(number, offset, out[here - first : until - first])
            here, run = until, run + 1
        return out


def groups(offsets: Array, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Items [first, last) of a ragged table in groups of about BLOCK_BYTES, always whole items.

    Args:
        offsets: (N+1,), where each item's rows begin.
        row_bytes: bytes of a row.
    """
    n_items, first = len(offsets) - 1, 0
    most_rows = max(1, BLOCK_BYTES // max(1, row_bytes))
    while first < n_items:
        last = int(np.searchsorted(offsets, offsets[first] + most_rows, side="right")) - 1
        last = min(n_items, max(last, first + 1))
        yield first, last
        first = last
