"""Several runs on one output at once: the work is shared, the cache is one, and a run that dies is replaced."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from fault_tools import Ended, Extraction, content_hash, ended, names_like

from rdmf_extract.jobs import claim_name


def finish(*processes: subprocess.Popen[str]) -> list[Ended]:
    """Wait for all of them, reading what each prints meanwhile."""
    done: dict[int, Ended] = {}
    threads = [threading.Thread(target=lambda i=i, p=p: done.update({i: ended(p)})) for i, p in enumerate(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [done[i] for i in range(len(processes))]


def test_two_runs_at_once_share_the_work(extraction: Extraction, undisturbed: str) -> None:
    extraction.environment["RDMF_TEST_ENCODE_SECONDS"] = "0.05"
    one, other = finish(extraction.start(), extraction.start())
    assert (one.code, other.code) == (0, 0), one.err + other.err
    assert one.count("done") + other.count("done") == 8  # no video twice, none left out
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


@pytest.mark.long
def test_when_one_of_two_is_killed_the_other_does_all(extraction: Extraction, undisturbed: str) -> None:
    extraction.environment["RDMF_TEST_ENCODE_SECONDS"] = "0.05"
    one, other = extraction.start(), extraction.start()
    folder = extraction.out.with_suffix(".parts")
    while len(names_like(folder, "*.run")) < 2 and one.poll() is None:
        time.sleep(0.02)
    while not claimed_by(folder, one.pid) and one.poll() is None:
        time.sleep(0.02)
    one.kill()
    killed, survivor = finish(one, other)
    assert (killed.code, survivor.code) == (-signal.SIGKILL, 0), killed.err + survivor.err
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


def claimed_by(folder: Path, pid: int) -> list[str]:
    """Claims of a process."""
    found = []
    for name in names_like(folder, "video-*.claim"):
        try:
            found += [name] if json.loads((folder / name).read_text())["pid"] == pid else []
        except (OSError, ValueError):
            continue
    return found


def test_shards_in_any_order_and_the_last_one_makes_the_cache(extraction: Extraction, undisturbed: str) -> None:
    first = extraction.run("--shard=1/2")
    assert first.code == 0, first.err
    assert "shard 1/2 by --shard: 4 of 8 videos" in first.out
    assert "f.h5 is not made yet: other shards are at work" in first.out
    assert not extraction.out.exists()
    extraction.environment |= {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "0"}
    last = extraction.run()
    assert last.code == 0, last.err
    assert "shard 0/2 by SLURM_ARRAY_TASK_ID: 4 of 8 videos; --shard none does all" in last.out
    assert (first.count("done"), last.count("done")) == (4, 4)
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


@pytest.mark.long
def test_a_shard_that_died_is_made_up_for_without_shards(extraction: Extraction, undisturbed: str) -> None:
    assert extraction.run("--shard=1/2").code == 0
    done = extraction.run("--shard=none")
    assert done.code == 0, done.err
    assert 0 < done.count("done") < 8
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


@pytest.mark.long
def test_a_run_on_a_machine_that_went_away_is_waited_for_and_then_replaced(
    extraction: Extraction, undisturbed: str
) -> None:
    """Of another machine only the age of its file is known: its claims hold until that is over the limit."""
    extraction.environment |= {"RDMF_TEST_STALE_SECONDS": "6", "RDMF_TEST_BEAT_SECONDS": "1"}
    folder = extraction.out.with_suffix(".parts")
    folder.mkdir(parents=True)
    card = {"host": "elsewhere", "machine": "another", "pid": 1, "started": "0", "facts": {}}
    (folder / "elsewhere-1-00000000.run").write_text(json.dumps(card))
    (folder / f"{claim_name('v0')}.claim").write_text(json.dumps({"run": "elsewhere-1-00000000"}))
    (folder / "elsewhere-1-00000000-000000.h5.1-00000000.partial").write_text("half a part")
    began = time.time()
    done = extraction.run()
    assert done.code == 0, done.err
    assert time.time() - began > 6
    assert "waiting: other runs have the rest in hand (process 1 on elsewhere)" in done.err
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


@pytest.mark.long
def test_five_runs_at_once_three_of_them_killed(extraction: Extraction, undisturbed: str) -> None:
    extraction.environment["RDMF_TEST_ENCODE_SECONDS"] = "0.05"
    runs = [extraction.start() for _ in range(5)]
    folder = extraction.out.with_suffix(".parts")
    for victim in runs[:3]:
        while not claimed_by(folder, victim.pid) and victim.poll() is None and not extraction.out.exists():
            time.sleep(0.02)
        victim.kill()
    *_, fourth, fifth = finish(*runs)
    assert (fourth.code, fifth.code) == (0, 0), fourth.err + fifth.err
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


def test_several_devices_give_the_same_as_one(extraction: Extraction, undisturbed: str) -> None:
    done = extraction.run("--device=cpu,cpu")
    assert done.code == 0, done.err
    assert "encoders: one on each of cpu, cpu" in done.out
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


@pytest.mark.long
def test_ray_gives_the_same_as_one_process(extraction: Extraction, undisturbed: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'rdmf[ray]')")
    done = extraction.run("--engine=ray")
    assert done.code == 0, done.err
    assert "ray: 1 nodes" in done.out
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]
