"""What a process and all that it started hold in memory, sampled while they run."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

EVERY_SECONDS = 0.1


def tree(pid: int) -> list[int]:
    """A process and its descendants; on Linux only, elsewhere the process alone."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text(encoding="ascii").split())
        except (OSError, ValueError):  # it has ended meanwhile
            continue
    return found


def memory_bytes(pid: int) -> int:
    """Memory of a process and its descendants: each page once, shared among those that map it (PSS). 0: not known."""
    return sum(map(process_bytes, tree(pid)))


def process_bytes(pid: int) -> int:
    """Memory of one process, a page that several map counted by shares. 0: it has ended, or the system does not say."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


class Watch:
    """Samples a running process tree until it ends, in a thread.

    Attributes:
        peak_bytes: the most seen at once; 0 where the system does not tell.
        samples: (seconds since the start, bytes), in order.
    """

    def __init__(self, process: subprocess.Popen[str], *, every_seconds: float = EVERY_SECONDS) -> None:
        self._process, self._every_seconds = process, every_seconds
        self.samples: list[tuple[float, int]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    @property
    def peak_bytes(self) -> int:
        return max((held for _, held in self.samples), default=0)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        begun, pause = time.monotonic(), self._every_seconds
        while not self._ended.wait(pause):
            at = time.monotonic()
            if self._process.poll() is None:
                self.samples.append((at - begun, memory_bytes(self._process.pid)))
            # Counting the pages of a large process takes a while, during which it may have to wait.
            pause = max(self._every_seconds, 20 * (time.monotonic() - at))
