"""A training that was interrupted, anywhere and however rudely, ends as if it had not been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rdmf.train import train

ROOT = Path(__file__).resolve().parents[2]

#: Dropout and a running average, for their states must survive too; a hold-out, for the choice of the best must.
OPTIONS = {"epochs": 4, "dropout": 0.2, "input_dropout": 0.2, "ema": 0.9, "holdout": 0.25}

#: Runs in a process of its own: trains, and kills itself at the n-th call of a function.
VICTIM = """
import json, os, signal, sys
import torch
import rdmf.files as files
import rdmf.train.loop as loop
import rdmf.train.losses as losses
import rdmf.train.state as state
torch.set_num_threads(1)
features, out, overrides, where, call = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4], int(sys.argv[5])
calls = 0

def dying(function):
    def wrapped(*args, **options):
        global calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return wrapped

if where == "batch":
    losses.total_loss = dying(losses.total_loss)
elif where == "resume state":
    state.save_resume = dying(state.save_resume)
elif where == "file":
    files.os.fsync = dying(os.fsync)
loop.train(features, out, overrides=overrides, quiet=True)
"""


def outcome(run: Path) -> tuple[bytes, bytes, list[dict[str, Any]]]:
    """Weights, and everything of the metrics that does not measure time."""
    told = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for epoch in told:
        del epoch["seconds"], epoch["processor_seconds"], epoch["samples_per_second"]
    return (run / "best.safetensors").read_bytes(), (run / "last.safetensors").read_bytes(), told


@pytest.fixture(scope="module")
def overrides(tiny: dict[str, Any]) -> dict[str, Any]:
    return {**tiny, **OPTIONS}


@pytest.fixture(scope="module")
def whole(cache_path: Path, overrides: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    return train(cache_path, tmp_path_factory.mktemp("whole") / "run", overrides=overrides, quiet=True)


@pytest.mark.parametrize(
    "stops", [pytest.param([1], marks=pytest.mark.long), [2], pytest.param([1, 2, 3], marks=pytest.mark.long)]
)
def test_stopping_between_epochs(
    stops: list[int], cache_path: Path, overrides: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for stop in stops:
        train(cache_path, out, overrides=overrides, quiet=True, resume=True, stop_after=stop)
        assert len((out / "metrics.jsonl").read_text().splitlines()) == stop
    train(cache_path, out, overrides=overrides, quiet=True, resume=True)
    assert outcome(out) == outcome(whole)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize(
    ("where", "call", "finished"),
    [
        ("batch", 8, 1),  # 5 batches an epoch: in the middle of the second
        pytest.param("file", 9, 1, marks=pytest.mark.long),  # while a file is being written
        # the second epoch's weights are written, the state to go on from is not
        pytest.param("resume state", 2, 1, marks=pytest.mark.long),
        pytest.param("batch", 2, 0, marks=pytest.mark.long),  # before anything could be saved
    ],
)
def test_killed(
    where: str,
    call: int,
    finished: int,
    cache_path: Path,
    overrides: dict[str, Any],
    whole: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", VICTIM, str(cache_path), str(out), json.dumps(overrides), where, str(call)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len((out / "metrics.jsonl").read_text().splitlines()) == finished
    assert (where == "file") == bool(list(out.glob(".*.partial")))
    train(cache_path, out, overrides=overrides, quiet=True, resume=True)
    assert outcome(out) == outcome(whole)
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in whole.iterdir())


@pytest.mark.long
def test_resume_with_nothing_there_starts(
    cache_path: Path, overrides: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    run = train(cache_path, tmp_path / "new" / "run", overrides=overrides, quiet=True, resume=True)
    assert outcome(run) == outcome(whole)
