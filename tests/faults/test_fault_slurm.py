"""The job scripts of docs/slurm in a real Slurm of two nodes on this machine: divided, cancelled, queued again."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fault_slurm
import pytest
from fault_slurm import Slurm, options_of
from fault_tools import Data, Extraction, content_hash, make_data, names_like, render

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(fault_slurm.lacking()), reason=f"no {', '.join(fault_slurm.lacking())} on this machine"),
]
VIDEOS = 24
#: Slow enough to be met in the middle.
SLOWLY = {"RDMF_TEST_ENCODE_SECONDS": "0.5"}
EPOCHS = 12
#: As small as a model can be.
TINY = (
    "model.hidden=16 fusion.blocks=1 fusion.scales=2 fusion.heads=2 fusion.steps=2 decoder.queries=8 "
    "decoder.segments=2 decoder.runs=2 decoder.levels=[0,-1] decoder.layers=1 decoder.heads=2 "
    "train.batch=8 train.patience=0"
)


@pytest.fixture(scope="module")
def running() -> Iterator[Slurm]:
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a short path: it holds a socket
    try:
        yield fault_slurm.start(folder, folder)
    finally:
        fault_slurm.stop(folder)
        shutil.rmtree(folder)


@pytest.fixture
def slurm(running: Slurm, tmp_path: Path) -> Slurm:
    return running.at(tmp_path)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Three videos a task."""
    home = tmp_path_factory.mktemp("many")
    return make_data(home, {f"v{i}": render(home / f"v{i}.mp4", frames=10 + i % 9, seed=i) for i in range(VIDEOS)})


@pytest.fixture(scope="module")
def alone(many: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that one process makes."""
    run = Extraction(many, tmp_path_factory.mktemp("alone") / "f.h5")
    assert run.run().code == 0
    return run.out


def is_whole(out: Path, alone: Path) -> None:
    """The cache is that of one process, and nothing lies beside it."""
    assert content_hash(out) == content_hash(alone)
    assert [path.name for path in out.parent.rglob("*")] == [out.name]


def shares(logs: str, variable: str) -> dict[str, int]:
    """{share: videos} of what the tasks said."""
    return {i: int(n) for i, n in re.findall(rf"shard (\d/\d) by {variable}: (\d+) of {VIDEOS} videos", logs)}


@pytest.mark.parametrize(
    ("script", "variable"), [("extract-array", "SLURM_ARRAY_TASK_ID"), ("extract-srun", "SLURM_PROCID")]
)
def test_eight_tasks_of_a_real_slurm_make_the_cache_of_one_process(
    script: str, variable: str, slurm: Slurm, many: Data, alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "f.h5"
    job = slurm.submit(f"{script}.sbatch", *options_of(many, out))
    assert set(slurm.wait(job)) == {"COMPLETED"}, slurm.logs()
    divided = shares(slurm.logs(), variable)
    assert sorted(divided) == [f"{i}/8" for i in range(8)]
    assert sum(divided.values()) == VIDEOS
    assert max(divided.values()) - min(divided.values()) <= 1
    is_whole(out, alone)


@pytest.mark.parametrize(("script", "again"), [("extract-array", ("--array=0",)), ("extract-srun", ())])
def test_a_cancelled_job_of_a_real_slurm_goes_on_where_it_stopped(
    script: str, again: tuple[str, ...], slurm: Slurm, many: Data, alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "f.h5"
    job = slurm.submit(f"{script}.sbatch", *options_of(many, out), **SLOWLY)
    slurm.until(lambda: in_the_middle(out))
    slurm.cancel(job)
    assert "CANCELLED" in slurm.wait(job)
    assert not out.exists()
    assert "interrupted; what is done is kept" in slurm.logs()
    for log in tmp_path.glob("*.log"):
        log.unlink()
    job = slurm.submit(f"{script}.sbatch", *options_of(many, out), options=again)
    assert set(slurm.wait(job)) == {"COMPLETED"}, slurm.logs()
    there = sum(map(int, re.findall(r"(\d+) were there", slurm.logs())))
    assert 0 < there < VIDEOS
    is_whole(out, alone)


def in_the_middle(out: Path) -> bool:
    """A task has written its sentences and two of its three videos."""
    return bool(names_like(out.with_suffix(".parts"), "*-000001.h5"))


@pytest.mark.parametrize("script", ["extract-array", "extract-srun"])
def test_a_task_that_a_real_slurm_queues_again_loses_nothing(
    script: str, slurm: Slurm, many: Data, alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "f.h5"
    job = slurm.submit(f"{script}.sbatch", *options_of(many, out), **SLOWLY)
    slurm.until(lambda: in_the_middle(out))
    slurm.requeue(f"{job}_3" if script == "extract-array" else job)
    assert set(slurm.wait(job)) == {"COMPLETED"}, slurm.logs()
    assert "interrupted; what is done is kept" in slurm.logs()
    is_whole(out, alone)


def test_training_by_torchrun_in_a_real_slurm_is_cancelled_and_goes_on(
    slurm: Slurm, alone: Path, tmp_path: Path
) -> None:
    settings = [f"--set={one}" for one in [*TINY.split(), f"train.epochs={EPOCHS}", "train.device=cpu"]]

    def train(folder: str, *more: str) -> str:
        command = [f"--features={alone}", "--preset=default", f"--out={tmp_path / folder}", *settings, *more]
        return slurm.submit("train-torchrun.sbatch", *command, options=("--nodes=2", "--gpus-per-node=1"))

    def epochs(folder: str) -> int:
        lines = tmp_path / folder / "metrics.jsonl"
        return len(lines.read_text().splitlines()) if lines.exists() else 0

    job = train("whole")
    assert slurm.wait(job) == ["COMPLETED"], slurm.logs()
    job = train("parts")
    slurm.until(lambda: epochs("parts") >= 2)
    slurm.cancel(job)
    slurm.wait(job)
    assert 2 <= epochs("parts") < EPOCHS
    job = train("parts", "--resume")
    assert slurm.wait(job) == ["COMPLETED"], slurm.logs()
    assert json.loads((tmp_path / "parts/summary.json").read_text())["epochs"] == EPOCHS
    weights = [(tmp_path / folder / "last.safetensors").read_bytes() for folder in ("whole", "parts")]
    assert weights[0] == weights[1]
