"""Dividing the work: whole, even, and the same everywhere; and what launchers say of a process."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdmf.store import InputError
from rdmf_extract.defaults import fewest_workers
from rdmf_extract.launch import detect_shard, granted_cores, local_processes, local_rank
from rdmf_extract.shards import Shard, costs, longest_first, share

NAMES = st.text(min_size=1, max_size=3)


@given(st.dictionaries(NAMES, st.floats(0, 1e6), max_size=30), st.integers(1, 7))
def test_shares_are_a_partition_and_even(work, count):
    shares = [share(work, Shard(i, count)) for i in range(count)]
    assert sorted(name for names in shares for name in names) == sorted(work)
    loads = [sum(work[name] for name in names) for names in shares]
    # No shard has more than another by more than its own last, cheapest piece.
    for names, load in zip(shares, loads):
        if names:
            assert load - work[names[-1]] <= min(loads) + 1e-6 * max(loads)


@given(st.dictionaries(NAMES, st.floats(0, 1e6), max_size=30), st.randoms(use_true_random=False))
def test_the_order_in_which_videos_are_found_does_not_matter(work, random):
    names = list(work)
    random.shuffle(names)
    shuffled = {name: work[name] for name in names}
    assert [share(work, Shard(i, 3)) for i in range(3)] == [share(shuffled, Shard(i, 3)) for i in range(3)]
    assert longest_first(work) == longest_first(shuffled)


def test_videos_without_a_cost_are_dealt_out_evenly_too():
    assert [len(share({str(i): 0.0 for i in range(10)}, Shard(i, 3))) for i in range(3)] == [4, 3, 3]


def test_a_video_costs_its_seconds_or_where_some_are_unknown_its_bytes(tmp_path):
    videos = {name: tmp_path / name for name in ("a", "b", "gone")}
    videos["a"].write_bytes(b"1" * 30)
    videos["b"].write_bytes(b"1" * 10)
    assert costs(videos, {"a": 5.0, "b": 60.0, "gone": 1.0}) == {"a": 5.0, "b": 60.0, "gone": 1.0}
    assert costs(videos, {"a": 5.0, "b": math.nan}) == {"a": 30.0, "b": 10.0, "gone": 0.0}
    assert costs({}, {}) == {}


def test_a_shard_is_written_i_of_n_from_zero():
    assert Shard.parse(" 3/8 ") == Shard(3, 8)
    assert str(Shard(3, 8)) == "3/8"
    for wrong in ("8/8", "1/0"):
        with pytest.raises(InputError, match=r"counted from 0, here 0/"):
            Shard.parse(wrong)
    for wrong in ("", "3", "a/b", "-1/4", "1/2/3"):
        with pytest.raises(InputError, match=r"expected i/n with i from 0 to n - 1, e\.g\. 0/4, or none"):
            Shard.parse(wrong)


def array(task: int, count: int, first: int = 0, step: int = 1) -> dict[str, str]:
    """What Slurm sets in a task of --array=FIRST-LAST:STEP."""
    return {
        "SLURM_ARRAY_TASK_ID": str(task),
        "SLURM_ARRAY_TASK_COUNT": str(count),
        "SLURM_ARRAY_TASK_MIN": str(first),
        "SLURM_ARRAY_TASK_MAX": str(first + (count - 1) * step),
        "SLURM_ARRAY_TASK_STEP": str(step),
        "SLURM_JOB_ID": "7",
    }


def step(rank: int, tasks: int) -> dict[str, str]:
    """What Slurm sets in a task of srun."""
    return {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": str(rank), "SLURM_NTASKS": str(tasks)}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (array(0, 8), "0/8"),
        (array(7, 8), "7/8"),
        (array(3, 4, first=1), "2/4"),
        (array(20, 3, first=10, step=5), "2/3"),
        (array(3, 1, first=3), None),
        ({k: v for k, v in array(5, 8).items() if not k.endswith("COUNT")}, "5/8"),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, "2/4"),
        (step(2, 4), "2/4"),
        (step(0, 1), None),
        ({"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, None),  # the batch script itself
        ({"RANK": "1", "WORLD_SIZE": "2"}, "1/2"),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({**step(0, 2), "RANK": "5", "WORLD_SIZE": "8"}, "5/8"),  # torchrun started by srun counts over all nodes
        ({**array(2, 3), **step(1, 4)}, "9/12"),
        ({"SLURM_NTASKS": "4"}, None),
        # A few tasks started again: no places in a row, so they share the work as they go.
        ({**array(3, 2, first=3), "SLURM_ARRAY_TASK_MAX": "7"}, None),
        ({**array(7, 2, first=3), "SLURM_ARRAY_TASK_MAX": "7"}, None),
    ],
)
def test_what_launchers_say(environment, expected):
    shard = detect_shard(environment)
    assert (None if shard is None else str(shard)) == expected


def test_where_it_was_found_is_said():
    assert detect_shard(array(1, 2)).source == "SLURM_ARRAY_TASK_ID"
    assert detect_shard({**array(1, 2), **step(0, 2)}).source == "SLURM_ARRAY_TASK_ID, SLURM_PROCID"
    assert detect_shard({"RANK": "0", "WORLD_SIZE": "2"}).source == "RANK"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK=one in the environment is no number"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, r"shard 2/2 \(RANK\) is none"),
        ({"SLURM_ARRAY_TASK_ID": "2"}, "neither SLURM_ARRAY_TASK_COUNT nor SLURM_ARRAY_TASK_MAX"),
    ],
)
def test_an_environment_that_contradicts_itself_is_one_clear_line(environment, message):
    with pytest.raises(InputError, match=message):
        detect_shard(environment)


def test_processes_of_one_machine_know_their_place():
    torchrun = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert (local_rank(torchrun), local_processes(torchrun)) == (1, 4)
    assert (local_rank({**step(5, 8), "SLURM_LOCALID": "2"}), local_processes(step(5, 8))) == (2, 1)
    assert (local_rank({}), local_processes({})) == (None, 1)
    assert local_rank({"SLURM_LOCALID": "0"}) is None  # a shell of Slurm's, one process


def test_a_task_takes_no_more_cores_than_it_was_given(monkeypatch):
    assert granted_cores({"SLURM_CPUS_PER_TASK": "8"}) == 8
    assert granted_cores({}) is None
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    assert fewest_workers() == 4
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    assert fewest_workers() == 32


def test_paths_are_not_read_for_costs_where_seconds_are_known():
    assert costs({"v": Path("nowhere")}, {"v": 3.0}) == {"v": 3.0}
