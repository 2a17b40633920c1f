"""Two processes train as one: the same gradients, weights, metrics; one writer; one voice where something is wrong."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_worker import one_step
from safetensors.torch import load_file

from rdmf.store import InputError
from rdmf.train import train
from rdmf.train.distributed import Ranks, join

Done = subprocess.CompletedProcess[str]
ROOT = Path(__file__).resolve().parents[2]
#: Every loss is exact over processes that is a function of gathered outputs; see `rdmf.train.distributed`.
EXACT = ("rdmf", "moment-detr", "univtg")


def together(scenario: str, folder: Path, told: dict[str, Any], size: int = 2) -> list[Done]:
    """Run `rank_worker.py` in `size` processes; they must end by themselves."""
    (folder / "told.json").write_text(json.dumps(told, default=str))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "pipelines"), os.environ.get("PYTHONPATH", "")])
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    worker = [sys.executable, str(Path(__file__).with_name("rank_worker.py")), scenario, str(folder)]
    running = [
        subprocess.Popen(
            worker,
            env={**os.environ, **shared, "PYTHONPATH": paths, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        said = [process.communicate(timeout=300) for process in running]
    finally:
        for process in running:
            process.kill()
    return [
        subprocess.CompletedProcess(worker, process.returncode, out, err)
        for process, (out, err) in zip(running, said, strict=True)
    ]


def all_went_well(done: list[Done]) -> None:
    assert [d.returncode for d in done] == [0] * len(done), "\n".join(d.stderr for d in done)


def settings_of(name: str, tiny: dict[str, Any]) -> dict[str, Any]:
    own = {} if name == "rdmf" else {f"{name.replace('-', '_')}.heads": 2, f"{name.replace('-', '_')}.feedforward": 32}
    more = {"univtg.drop_path": 0.0} if name == "univtg" else {}
    return {**tiny, "model.name": name, **own, **more, "clip_norm": 0.0}


@pytest.mark.long
def test_two_processes_step_as_one(cache_path: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    """A batch of 7 over 2 processes: one has 4 rows, the other 3 and one that counts for nothing."""
    models = {name: settings_of(name, tiny) for name in (*EXACT, "qd-detr", "cg-detr")}
    all_went_well(together("steps", tmp_path, {"cache": cache_path, "models": models}))
    first, second = (torch.load(tmp_path / f"steps-{rank}.pt") for rank in range(2))
    for name, settings in models.items():
        alone = one_step(cache_path, settings, Ranks())
        for key, value in first[name].items():
            if name != "cg-detr" or key.startswith("weight"):  # each process has its own rows' losses there
                assert value.equal(second[name][key]), (name, key)
            if name in EXACT:
                torch.testing.assert_close(value, alone[key], rtol=1e-4, atol=1e-5, msg=f"{name}: {key}")
            assert torch.isfinite(value).all()


def outcome(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_like(run: Path, other: Path) -> None:
    """Equal to rounding, which the optimiser's division by small gradients makes larger than it was."""
    for one, two in zip(outcome(run), outcome(other), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)
        assert one["losses"] == pytest.approx(two["losses"], rel=5e-3, abs=1e-4)
        assert one["lr"] == two["lr"]
    ours, theirs = (load_file(r / "last.safetensors") for r in (run, other))
    assert ours.keys() == theirs.keys()
    apart = torch.cat([(ours[k] - theirs[k]).flatten() for k in ours])
    size = torch.cat([v.flatten() for v in ours.values()])
    assert float(apart.norm() / size.norm()) < 1e-3


@pytest.mark.long
def test_a_run_of_two_processes_and_back(cache_path: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    """Whole; begun by one and ended by two; begun by two and ended by one."""
    overrides = {**tiny, "batch": 7, "holdout": 0.25, "ema": 0.9}
    options: dict[str, Any] = {"overrides": overrides, "quiet": True}
    alone = train(cache_path, tmp_path / "alone", **options)
    begun = train(cache_path, tmp_path / "begun", **options, stop_after=1)
    runs = [
        {"out": "whole", "options": options},
        {"out": "begun", "options": {**options, "resume": True}},
        {"out": "left", "options": {**options, "stop_after": 1}},
        {"out": "lively", "options": {**options, "overrides": {**overrides, "dropout": 0.3, "warp": 0.2}}},
    ]
    all_went_well(together("train", tmp_path, {"cache": cache_path, "runs": runs}))
    left = train(cache_path, tmp_path / "left", **options, resume=True)
    for run in (tmp_path / "whole", begun, left):
        assert sorted(p.name for p in run.iterdir()) == sorted(p.name for p in alone.iterdir())
        assert_like(run, alone)
    assert outcome(tmp_path / "lively")[-1]["loss"] < outcome(tmp_path / "lively")[0]["loss"] * 1.2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["train", "--features", "FOLDER/gone-RANK.h5"], "process 1: ", id="a cache that one has not"),
        pytest.param(["train", "--features", "CACHE", "--set", "lr=-1"], "train.lr=-1", id="a setting out of range"),
        pytest.param(
            ["train", "--features", "CACHE", "--set", "lr=1e6", "--set", "device=cpu"], "diverged", id="a divergence"
        ),
    ],
)
@pytest.mark.long
def test_what_is_wrong_is_said_once_and_ends_all(
    arguments: list[str], says: str, cache_path: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copy(cache_path, tmp_path / "gone-0.h5")
    given = [a.replace("CACHE", str(cache_path)).replace("FOLDER", str(tmp_path)) for a in arguments]
    given += ["--out", str(tmp_path / "run"), "--quiet"]
    small = {k: v for k, v in tiny.items() if k not in ("lr", "train.device")}
    for name, value in small.items():
        given += ["--set", f"{name}={json.dumps(value)}"]
    first, second = together("command", tmp_path, {"cache": cache_path, "arguments": given})
    assert (first.returncode, second.returncode) == (2, 2), first.stderr + second.stderr
    assert says in first.stderr
    assert first.stderr.count("error:") == 1
    assert "error:" not in second.stderr
    assert "Traceback" not in first.stderr + second.stderr


def test_one_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    ranks = Ranks()
    x = torch.arange(5)
    assert ranks.rows(x) is x
    assert ranks.whole([x], 5)[0] is x
    assert ranks.summed(x) is x
    assert ranks.tell("word") == "word"
    assert ranks.collect(1) == [1]
    with pytest.raises(InputError, match="wrong"), ranks.together():
        raise InputError("wrong")
    assert join().size == 1


@pytest.mark.parametrize(("size", "count"), [(2, 7), (3, 8), (4, 5), (4, 1), (2, 2)])
def test_rows_are_shared_out_in_order(size: int, count: int) -> None:
    which = torch.arange(100, 100 + count)
    shares = [Ranks(rank, size).rows(which) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    assert torch.cat(shares)[:count].equal(which)


def test_one_gpu_for_all_is_refused() -> None:
    with pytest.raises(InputError, match="2 processes on one GPU"):
        Ranks(0, 2).device("cuda:0")
    assert Ranks(1, 2).device("cpu") == torch.device("cpu")
