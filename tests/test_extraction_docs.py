"""docs/extraction.md names tests that exist; the job scripts of docs/slurm do what they say, with a Slurm of paper."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rdmf_pipelines.cli import _command

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/extraction.md"
SCRIPTS = sorted((ROOT / "docs/slurm").glob("*.sbatch"))


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 25
    assert named <= defined, sorted(named - defined)


def test_every_fault_that_is_tested_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for path in (ROOT / "tests/faults").glob("test_*.py"):
        assert any(f"`{name}`" in page for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)), (
            path.name
        )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_job_scripts_are_sound_and_their_examples_parse(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/bin/bash\n")
    command = "train" if "train" in script.name else "extract"
    example = re.search(rf"^#   sbatch docs/slurm/{re.escape(script.name)} (.+)$", text, re.MULTILINE)
    default = re.search(r"\|\| set -- (.+)$", text, re.MULTILINE)
    assert example is not None
    assert default is not None
    for options in (example[1], default[1]):
        _command(command).make_context(f"rdmf {command}", shlex.split(options))


def tools(folder: Path, **scripts: str) -> dict[str, str]:
    """Commands of these names that print what they were started with; the environment to run with."""
    folder.mkdir()
    for name, body in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder)}


def run(script: str, *arguments: str, environment: dict[str, str]) -> list[str]:
    command = ["bash", str(ROOT / "docs/slurm" / script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_task_of_the_array_becomes_rdmf_itself(tmp_path: Path) -> None:
    """Slurm's signal goes to the script's process."""
    environment = tools(tmp_path / "bin", rdmf='echo "$$ rdmf $*"')
    (line,) = run("extract-array.sbatch", "--manifest", "my own.jsonl", environment=environment)
    assert line.endswith("rdmf extract --manifest my own.jsonl")
    assert run("extract-array.sbatch", environment=environment)[0].endswith("rdmf extract --dataset charades")


def test_the_tasks_of_the_srun_all_get_the_command(tmp_path: Path) -> None:
    srun = 'while [[ "$1" == --* ]]; do shift; done\nfor i in 0 1; do SLURM_PROCID=$i SLURM_NTASKS=2 "$@"; done'
    environment = tools(tmp_path / "bin", rdmf='echo "$SLURM_PROCID/$SLURM_NTASKS rdmf $*"', srun=srun)
    environment["SLURM_CPUS_PER_TASK"] = "8"
    assert run("extract-srun.sbatch", "--out", "f.h5", environment=environment) == [
        "0/2 rdmf extract --out f.h5",
        "1/2 rdmf extract --out f.h5",
    ]


def test_torchrun_gets_the_jobs_nodes_and_gpus(tmp_path: Path) -> None:
    srun, torchrun = 'echo "$1"; shift; "$@"', 'printf "%s\\n" "$@"'
    environment = tools(tmp_path / "bin", scontrol="echo node3; echo node4", srun=srun, torchrun=torchrun)
    environment |= {"SLURM_JOB_NODELIST": "node[3-4]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "7"}
    environment |= {"SLURM_GPUS_PER_NODE": "a100:4", "SLURM_CPUS_PER_TASK": "32"}
    printed = run("train-torchrun.sbatch", "--features", "f.h5", environment=environment)
    assert printed[:3] == ["--cpus-per-task=32", "--nnodes=2", "--nproc-per-node=4"]
    assert "--rdzv-endpoint=node3:20007" in printed
    assert printed[-5:] == ["-m", "rdmf_pipelines.cli", "train", "--features", "f.h5"]
    environment["SLURM_RESTART_COUNT"] = "1"
    assert run("train-torchrun.sbatch", "--features", "f.h5", environment=environment)[-1] == "--resume"


def test_the_module_that_torchrun_starts_is_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rdmf_pipelines.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("rdmf ")
