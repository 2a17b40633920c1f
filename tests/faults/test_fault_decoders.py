"""Decoders that crash, hang, or are killed: each costs one video at most, and nothing at all the next time."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from fault_tools import Extraction, content_hash, ended

from rdmf.store import open_cache


def test_a_crash_that_does_not_come_again_changes_nothing(extraction: Extraction, undisturbed: str) -> None:
    """A segmentation fault, and two kills as the system does them where memory runs out."""
    extraction.faults({"v0": {"do": "segfault", "times": 1, "at": 3}, "v2": {"do": "kill", "times": 2}})
    done = extraction.run()
    assert done.code == 0, done.err
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


@pytest.mark.long
def test_files_that_always_crash_or_hang_cost_themselves_and_are_named(
    extraction: Extraction, undisturbed: str
) -> None:
    extraction.faults({"v0": {"do": "segfault", "at": 3}, "v4": {"do": "hang", "at": 2}})
    done = extraction.run("--timeout=20")
    assert done.code == 1
    failed = done.failures()
    assert failed.keys() == {"v0", "v4"}
    assert "signal 11" in failed["v0"]
    assert failed["v4"] == "the decoder gave no sign of life for 4 s and was stopped"
    with open_cache(extraction.out) as cache:
        assert cache.vids == ["v1", "v2", "v3", "v5", "v6", "v7"]
        assert {failure.vid: failure.reason for failure in cache.failures} == failed
    extraction.faults({})
    assert extraction.run("--retry-failed").code == 0
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


@pytest.mark.long
def test_where_only_decord_crashes_pyav_takes_over(extraction: Extraction) -> None:
    extraction.faults({"v0": {"do": "segfault", "at": 3, "to": "decord"}})
    done = extraction.run()
    assert done.code == 0, done.err
    assert "PyAV took over" in done.out
    assert "signal 11" in done.out
    with open_cache(extraction.out) as cache:
        decoders = dict(zip(cache.vids, cache.decoders, strict=True))
    assert decoders["v0"].startswith("pyav")
    assert decoders["v1"].startswith("decord")


@pytest.mark.long
def test_a_file_that_crashes_is_not_tried_again_by_itself(extraction: Extraction) -> None:
    extraction.faults({"v0": {"do": "abort"}})
    assert "signal 6" in extraction.run().failures()["v0"]
    extraction.faults({})
    again = extraction.run()
    assert (again.code, again.count("done")) == (1, 0)
    assert again.failures().keys() == {"v0"}


@pytest.mark.long
def test_memory_that_runs_out_costs_its_video_once(extraction: Extraction, undisturbed: str) -> None:
    """RLIMIT_AS in the decoder; and a video whose decoder is killed time and again, as the system does."""
    extraction.faults({"v1": {"do": "memory", "at": 1}, "v5": {"do": "kill"}})
    done = extraction.run()
    assert done.code == 1
    assert done.failures().keys() == {"v1", "v5"}
    assert re.search("memory|crashed", done.failures()["v1"])
    assert "signal 9" in done.failures()["v5"]
    extraction.faults({})
    again = extraction.run()  # no flag: memory is no fault of the files
    assert again.code == 0, again.err
    assert again.count("done") == 2
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the decoder process in /proc")
def test_a_decoder_killed_from_outside_changes_nothing(extraction: Extraction, undisturbed: str) -> None:
    extraction.environment["RDMF_TEST_ENCODE_SECONDS"] = "0.05"
    process = extraction.start()
    killed = 0
    while process.poll() is None and killed < 3:  # a fourth might hit the same video, which PyAV would get then
        for child in children(process.pid):
            os.kill(child, signal.SIGKILL)
            killed += 1
        time.sleep(0.2)
    done = ended(process)
    assert killed > 0
    assert done.code == 0, done.err
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


def children(pid: int) -> list[int]:
    """Decoder processes of a run."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found
