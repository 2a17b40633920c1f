"""The whole run killed at any moment: the next one goes on, and the cache is that of a run that nobody disturbed."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from fault_tools import Extraction, content_hash, ended, names_like

from rdmf.store import open_cache, verify

HOW = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 130, signal.SIGHUP: 130}


def killed_at(extraction: Extraction, how: signal.Signals, when: float | str) -> bool:
    """Kill a run; False where it ended before.

    Args:
        when: so many seconds after its folder has appeared; or once a file of this pattern is there.
    """
    process = extraction.start()
    folder = extraction.out.with_suffix(".parts")
    while process.poll() is None and not folder.exists():
        time.sleep(0.01)
    began = time.monotonic()

    def come() -> bool:
        return bool(names_like(folder, when)) if isinstance(when, str) else time.monotonic() - began >= when

    while process.poll() is None and not come():
        time.sleep(0.001)
    if process.poll() is not None:
        assert ended(process).code == 0
        return False
    process.send_signal(how)
    done = ended(process)
    # Ended by itself meanwhile, or by a signal that found the interpreter already leaving.
    assert done.code in {0, HOW[how], -how}, done
    return True


def last_run(extraction: Extraction, undisturbed: str) -> None:
    """One run that nobody disturbs finds everything in order and leaves nothing but the cache."""
    done = extraction.run()
    assert done.code == 0, done.err
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]
    assert verify(extraction.out) == []


@pytest.mark.long
def test_four_kills(extraction: Extraction, undisturbed: str) -> None:
    extraction.environment["RDMF_TEST_ENCODE_SECONDS"] = "0.05"
    generator = random.Random(0)
    for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP):
        killed_at(extraction, how, generator.uniform(0.0, 1.0))
    last_run(extraction, undisturbed)


def test_sigterm_writes_what_is_done(extraction: Extraction) -> None:
    """Three videos are done, one not in a part yet, when the signal comes in the middle of the fourth."""
    extraction.environment["RDMF_TEST_ENCODE_SECONDS"] = "0.05"
    extraction.faults({"v4": {"do": "hang"}})  # the fourth by length
    process = extraction.start("--timeout=300")
    struck = extraction.out.parent.parent / "faults" / "v4-0.struck"
    while not struck.exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    done = ended(process)
    assert done.code == 130
    assert "what is done is kept" in done.err
    there = {vid for part in extraction.out.with_suffix(".parts").glob("*.h5") for vid in vids_of(part)}
    assert there == {"v0", "v2", "v7"}
    assert [name for name in extraction.left() if not name.endswith(".h5")] == ["f.parts"]


def vids_of(part: Path) -> list[str]:
    with open_cache(part) as cache:
        return cache.vids


@pytest.mark.long
def test_sixty_kills_at_random_moments(extraction: Extraction, undisturbed: str) -> None:
    """Over and over into one output folder, also while a part or the cache is written; anew when it is complete."""
    extraction.environment["RDMF_TEST_ENCODE_SECONDS"] = "0.02"
    generator = random.Random(0)
    kills = 0
    while kills < 60:
        seconds = generator.choice([0.5, 2.0]) * generator.random()
        moment = generator.choice([seconds, seconds, "*.partial", "merge.claim"])
        kills += killed_at(extraction, generator.choice(list(HOW)), moment)
        # Every kill leaves whole parts, at most one run's marks, and nothing that grows.
        left = extraction.left()
        assert sum(name.endswith(".run") for name in left) <= 1, left
        assert sum(name.endswith(".partial") for name in left) <= 2, left
        assert sum(name.endswith(".claim") for name in left) <= 10, left
        if extraction.out.exists():
            last_run(extraction, undisturbed)
            extraction.out.unlink()
    last_run(extraction, undisturbed)
