"""Signals that end a run in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: What schedulers send before they kill, and terminals when they close.
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the run as Ctrl-C does, with parts written (where this is the main thread).

    What is ignored, as SIGHUP is under nohup, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt(f"signal {signum}")

    taken = [which for which in ENDING if signal.getsignal(which) is not signal.SIG_IGN]
    before = [(which, signal.signal(which, interrupt)) for which in taken]
    try:
        yield
    finally:
        for which, handler in before:
            signal.signal(which, handler)
