"""Signals that wait while HDF5 writes.

An exception that a signal handler raises inside HDF5's calls leaves the file half closed, and HDF5 goes on with it when
the process ends, long after the file is gone.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

#: Ctrl-C, what schedulers send before they kill, and what terminals send when they close.
HELD = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class HeldSignals:
    """Keeps these signals back; those without a handler in Python work as ever, as do threads, which get none."""

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._came: list[tuple[int, FrameType | None]] = []

    def __enter__(self) -> HeldSignals:
        if threading.current_thread() is threading.main_thread():
            for which in HELD:
                handler = signal.getsignal(which)
                if callable(handler):
                    self._handlers[which] = handler
                    signal.signal(which, self._hold)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for which, handler in self._handlers.items():
            signal.signal(which, handler)
        self.deliver()

    def deliver(self) -> None:
        """Hands over what has come: a place where an exception does no harm."""
        while self._came:
            which, frame = self._came.pop(0)
            self._handlers[which](which, frame)

    def _hold(self, which: int, frame: FrameType | None) -> None:
        self._came.append((which, frame))
