"""Signals at any moment of a cache's writing: they end it, HDF5 never meets them, and nothing half written stays."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
import store_samples as samples

from rdmf.store.held_signals import HELD, HeldSignals


class CameError(Exception):
    """What the handlers here raise."""


def came(which: int, frame: FrameType | None) -> None:
    raise CameError(which)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = [(which, signal.signal(which, came)) for which in HELD]
    yield
    for which, handler in before:
        signal.signal(which, handler)


@pytest.mark.parametrize("which", HELD)
def test_a_signal_waits_for_the_end(which: signal.Signals) -> None:
    reached: list[int] = []

    def work() -> None:
        with HeldSignals():
            signal.raise_signal(which)
            reached.append(1)

    with pytest.raises(CameError):
        work()
    assert reached == [1]
    assert signal.getsignal(which) is came


def test_a_signal_is_delivered_once_where_it_does_no_harm() -> None:
    with HeldSignals() as held:
        held.deliver()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(CameError):
            held.deliver()
        held.deliver()


def test_what_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with HeldSignals():
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_threads_leave_the_handlers_alone() -> None:
    seen: list[object] = []

    def work() -> None:
        with HeldSignals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [came]


def test_a_signal_at_every_write_of_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, usual = tmp_path / "cache.h5", os.pwrite
    at, writes = 0, 1

    def pwrite(handle: int, data: memoryview, offset: int) -> int:
        nonlocal writes
        writes += 1
        if writes == at:
            signal.raise_signal(signal.SIGTERM)
        return usual(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    dropped: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", dropped.append)
    while writes >= at:
        at, writes = at + 1, 0
        try:
            samples.sample_cache(path)
        except CameError:
            # A signal during the very last writes may come when the cache is whole already.
            assert list(tmp_path.iterdir()) in ([], [path])
        else:
            assert writes < at or at == 1
        path.unlink(missing_ok=True)
    assert at > 20
    assert dropped == []
