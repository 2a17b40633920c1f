"""Where extraction runs: devices, shares and engines, from options and environment."""

from __future__ import annotations

import pytest

from rdmf.store.errors import InputError
from rdmf_pipelines import extractors
from rdmf_pipelines.extractors import devices_of, share_of


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(extractors, "_gpus", lambda: count)


def test_one_device_or_several(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 4)
    assert devices_of("auto") == ["auto"]
    assert devices_of("cpu, cpu") == ["cpu", "cpu"]
    assert devices_of("cuda:0,cuda:2") == ["cuda:0", "cuda:2"]
    assert devices_of("all") == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]


def test_all_gpus_where_there_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    with pytest.raises(InputError, match=r"^--device all: PyTorch sees no CUDA GPU here; use auto or cpu$"):
        devices_of("all")


@pytest.mark.parametrize(("count", "expected"), [(4, "cuda:1"), (1, "auto"), (0, "auto")])
def test_processes_of_one_machine_take_a_gpu_each(monkeypatch: pytest.MonkeyPatch, count: int, expected: str) -> None:
    """Where a task sees one GPU alone, Slurm has bound it to that."""
    gpus(monkeypatch, count)
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "5")
    assert devices_of("auto") == [expected]
    assert devices_of("cuda:0") == ["cuda:0"]


def test_the_share_is_that_of_the_option_or_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert share_of(None) is None
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert str(share_of(None)) == "1/2"
    assert str(share_of("0/4")) == "0/4"
    assert share_of("none") is None
