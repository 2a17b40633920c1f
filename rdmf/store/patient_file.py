"""A file that HDF5 may write to a disk that is full.

HDF5 keeps what it could not write, tries again whenever something is closed, and may bring the process down when it
tries at its end. So it is never told: the first failure is kept, what follows goes nowhere, and the failure is raised
when HDF5 has closed the file and forgotten it. Nor does a file that is closed too early, by an exception in HDF5's own
closing, tell it so.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType


class PatientFile:
    """A new file for h5py's driver for Python's file objects.

    Attributes:
        failure: the first error of the system, or None. After it, what is read are zeros where nothing was written.
    """

    def __init__(self, path: Path) -> None:
        self.failure: OSError | None = None
        self._file = path.open("w+b", buffering=0)
        self._at = self._end = 0

    def __enter__(self) -> PatientFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError as failure:
            self.failure = self.failure or failure
        if self.failure is not None:
            raise self.failure

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Where the next bytes are read or written."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        return self._at

    def tell(self) -> int:
        """Where the next bytes are read or written."""
        return self._at

    def write(self, data: bytes | memoryview) -> int:
        """All of it, or what looks like it."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and self._usable():
            try:
                done += os.pwrite(self._file.fileno(), view[done:], self._at + done)
            except OSError as failure:
                self.failure = failure
        self._at += len(view)
        self._end = max(self._end, self._at)
        return len(view)

    def read(self, size: int = -1) -> bytes:
        """The next bytes, all that are left by default."""
        buffer = bytearray(self._end - self._at if size < 0 else size)
        return bytes(buffer[: self.readinto(memoryview(buffer))])

    def readinto(self, buffer: memoryview) -> int:
        """As many bytes as the buffer takes, up to the end."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._end - self._at))
        found = b""
        if not self._file.closed:
            try:
                found = os.pread(self._file.fileno(), count, self._at)
            except OSError as failure:
                self.failure = self.failure or failure
        view[:count] = found.ljust(count, b"\0")
        self._at += count
        return count

    def truncate(self, size: int | None = None) -> int:
        """Makes the file so long."""
        size = self._at if size is None else size
        if self._usable():
            try:
                self._file.truncate(size)
            except OSError as failure:
                self.failure = failure
        self._end = size
        return size

    def flush(self) -> None:
        """Nothing waits here."""

    def _usable(self) -> bool:
        return self.failure is None and not self._file.closed
