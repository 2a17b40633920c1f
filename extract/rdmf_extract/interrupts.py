"""Signals that end a run in good order."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Seconds after which a signal that Python dropped is sent again.
AGAIN_SECONDS = 0.05
#: What schedulers send before they kill, and terminals when they close.
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class EndingError(KeyboardInterrupt):
    """One of these signals came.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the run as Ctrl-C does, with parts written (where this is the main thread).

    What is ignored, as SIGHUP is under nohup, stays so. Where a signal arrives while Python cleans up after an object,
    Python drops the interrupt with a traceback; instead the signal is sent again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: object) -> None:
        raise EndingError(signum)

    taken = [which for which in ENDING if signal.getsignal(which) is not signal.SIG_IGN]
    before = [(which, signal.signal(which, interrupt)) for which in taken]
    usual = sys.unraisablehook
    sys.unraisablehook = _sending_again(usual)
    try:
        yield
    finally:
        sys.unraisablehook = usual
        for which, handler in before:
            signal.signal(which, handler)


def _sending_again(usual: Callable[[Any], object]) -> Callable[[Any], object]:
    """A hook for exceptions that Python drops: interrupts are asked for once more, all others are told as usual."""

    def hook(dropped: Any) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            usual(dropped)
            return
        number = dropped.exc_value.number if isinstance(dropped.exc_value, EndingError) else signal.SIGINT
        again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()

    return hook
