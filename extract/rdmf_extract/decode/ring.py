"""Frames from one process to another through a piece of shared memory: slots of one frame each, used in turn."""

from __future__ import annotations

import mmap
import os
import sys
import tempfile

import numpy as np
from numpy.typing import NDArray

_MEMORY_FOLDER = "/dev/shm" if sys.platform == "linux" and os.access("/dev/shm", os.W_OK) else None


def shared_memory(n_bytes: int) -> int:
    """A file descriptor of `n_bytes` of memory that other processes may map: /dev/shm, or a temporary file.

    All of it is reserved now. Containers often have a /dev/shm of 64 MB, and a process that writes to a page that is
    not there is ended by SIGBUS; so where it does not fit, an ordinary temporary file is used.

    Raises:
        OSError: it fits nowhere.
    """
    folders = [_MEMORY_FOLDER, None] if _MEMORY_FOLDER else [None]
    for folder in folders:
        with tempfile.TemporaryFile(dir=folder) as file:
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, n_bytes)
                else:
                    file.truncate(n_bytes)
            except OSError:
                if folder is folders[-1]:
                    raise
                continue
            return os.dup(file.fileno())
    raise AssertionError("unreachable")


class FrameRing:
    """`slots` frames of (side, side, 3) uint8 in memory that two processes map.

    The memory belongs to an unnamed file, so the system frees it when both processes are gone, however they ended;
    nothing is left behind by a kill. Which slots hold frames is agreed on by messages, not here.
    """

    def __init__(self, fd: int, side: int, slots: int) -> None:
        self.fd, self.slots = fd, slots
        self._map = mmap.mmap(fd, side * side * 3 * slots)
        self._frames: NDArray[np.uint8] = np.ndarray((slots, side, side, 3), np.uint8, self._map)

    @classmethod
    def create(cls, side: int, slots: int) -> FrameRing:
        return cls(shared_memory(side * side * 3 * slots), side, slots)

    def write(self, index: int, frame: NDArray[np.uint8]) -> None:
        """Put frame number `index` of a video into its slot."""
        self._frames[index % self.slots] = frame

    def read(self, index: int) -> NDArray[np.uint8]:
        """A copy of frame number `index`; its slot may be written again afterwards."""
        return self._frames[index % self.slots].copy()

    def close(self) -> None:
        del self._frames
        self._map.close()
        os.close(self.fd)
