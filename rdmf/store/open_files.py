"""How many files this process holds open for reading caches: the ones opened longest ago give way to new ones.

An open cache keeps its file, so that it stays what it is when another takes its name; a process with a thousand caches
must not run out of handles over that. A file that was let go is opened again when it is read.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdmf.store.rows import Files

_MOST = 256
_SHARE = 4  # of all the files that the system lets a process hold open


class OpenFiles:
    """Which files of which `Files` are open."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[int, int], weakref.ref[Files]] = OrderedDict()
        self._lock = threading.Lock()

    def opened(self, files: Files, number: int) -> None:
        """Notes that one was opened; lets go of those that are too many."""
        with self._lock:
            self._open.pop((id(files), number), None)
            self._open[(id(files), number)] = weakref.ref(files)
            away = []
            if len(self._open) > _most():
                self._forget_closed()
            while len(self._open) > _most():
                (_, which), reference = self._open.popitem(last=False)
                away.append((reference(), which))
        # Outside of the lock: the other way round, a reader holds its own files' lock when it comes here.
        for other, which in away:
            if other is not None:
                other.let_go(which)

    def _forget_closed(self) -> None:
        for key, reference in list(self._open.items()):
            files = reference()
            if files is None or not files.holds(key[1]):
                del self._open[key]


def _most() -> int:
    try:
        import resource
    except ImportError:  # not a POSIX system
        return _MOST
    return max(4, min(_MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE))


OPEN = OpenFiles()
if hasattr(os, "register_at_fork"):
    # Another thread may hold the lock while this one forks; the child has that thread no longer.
    os.register_at_fork(after_in_child=lambda: setattr(OPEN, "_lock", threading.Lock()))
