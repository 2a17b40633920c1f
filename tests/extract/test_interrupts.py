"""Signals that end a run, at the worst moments too."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from rdmf_extract.interrupts import ENDING, sigterm_as_interrupt


def under_way(beginning: Callable[[], object]) -> None:
    """Something that takes ten seconds, if it is not interrupted."""
    with sigterm_as_interrupt():
        beginning()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            time.sleep(0.01)


class SignalledWhenDropped:
    """Its end is when the signal arrives; what is raised there Python drops."""

    def __init__(self, which: signal.Signals) -> None:
        self.which = which

    def __del__(self) -> None:
        signal.raise_signal(self.which)


@pytest.fixture(autouse=True)
def _as_in_a_terminal() -> Any:
    """A shell starts background jobs with Ctrl-C ignored, nohup those with SIGHUP ignored, and CI may well be one."""
    before = {which: signal.signal(which, signal.SIG_DFL) for which in ENDING}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for which, handler in before.items():
        signal.signal(which, handler)


@pytest.mark.parametrize("which", [signal.SIGINT, *ENDING])
def test_a_signal_that_arrives_while_an_object_ends_is_not_lost(
    which: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt):
        under_way(lambda: SignalledWhenDropped(which))
    assert sys.unraisablehook is hook
    assert "Traceback" not in capsys.readouterr().err


def test_other_dropped_exceptions_are_told_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: told.append(dropped.exc_type))

    class Broken:
        def __del__(self) -> None:
            raise ValueError("broken")

    with sigterm_as_interrupt():
        Broken()
    assert told == [ValueError]


@pytest.mark.parametrize("which", ENDING)
def test_a_signal_ends_what_runs_and_the_handlers_come_back(which: signal.Signals) -> None:
    before = signal.getsignal(which)
    with pytest.raises(KeyboardInterrupt):
        under_way(lambda: signal.raise_signal(which))
    assert signal.getsignal(which) is before
