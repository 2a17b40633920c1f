"""A Slurm of this machine alone (`benchmarks/slurm_here.sh`), and the job scripts of docs/slurm in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fault_tools import DRIVER, HERE, LIMIT_SECONDS, Data

ROOT = HERE.parents[1]
SET_UP = ROOT / "benchmarks/slurm_here.sh"
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")


def lacking() -> list[str]:
    """The programs that are not on this machine."""
    folders = [*os.environ["PATH"].split(os.pathsep), "/usr/sbin", "/usr/local/sbin"]
    return [name for name in NEEDED if not any(os.access(Path(folder) / name, os.X_OK) for folder in folders)]


@dataclass(frozen=True)
class Slurm:
    """A running one.

    Attributes:
        settings: its slurm.conf. bin: a folder that holds an `rdmf`, first on the jobs' PATH. place: where jobs start
            and leave their logs.
    """

    settings: Path
    bin: Path
    place: Path

    def at(self, place: Path) -> Slurm:
        """The same, with jobs that start in another folder."""
        return Slurm(self.settings, self.bin, place)

    def submit(self, script: str, *arguments: str, options: tuple[str, ...] = (), **environment: str) -> str:
        """Queue a script of docs/slurm; returns the job's number."""
        command = ["sbatch", "--parsable", *options, str(ROOT / "docs/slurm" / script), *arguments]
        return self._call(*command, **environment).strip()

    def cancel(self, job: str) -> None:
        """As `scancel` does: SIGTERM, half a minute, SIGKILL."""
        self._call("scancel", job)

    def requeue(self, job: str) -> None:
        """End a job and queue it anew; Slurm would wait two minutes before it starts it."""
        self._call("scontrol", "requeue", job)
        self.until(lambda: self.state(job) == ["PENDING"])
        self._call("scontrol", "update", f"jobid={job}", "StartTime=now")

    def state(self, job: str) -> list[str]:
        """States of a job, or of an array's tasks; empty: all ended."""
        return self._call("squeue", "--noheader", "--array", "--states=all", "--format=%T", f"--jobs={job}").split()

    def wait(self, job: str) -> list[str]:
        """Until a job has ended; how its tasks did."""
        going = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}
        self.until(lambda: not going & set(self.state(job)))
        return self.state(job)

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for something; an error where it does not come."""
        limit = time.monotonic() + LIMIT_SECONDS
        while not true():
            assert time.monotonic() < limit, self.logs()
            time.sleep(0.05)

    def logs(self) -> str:
        """What all jobs that started here have printed."""
        return "".join(path.read_text() for path in sorted(self.place.glob("*.log")))

    def _call(self, *command: str, **environment: str) -> str:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "RDMF_TEST"))}
        known = {
            **inherited,
            "PATH": os.pathsep.join([str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)]),
            "OMP_NUM_THREADS": "1",
            "SLURM_CONF": str(self.settings),
            **environment,
        }
        done = subprocess.run(
            command, cwd=self.place, env=known, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def start(folder: Path, place: Path) -> Slurm:
    """Start one in `folder`, whose `rdmf` is that of the fault tests."""
    started = subprocess.run([str(SET_UP), "start", str(folder)], capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr
    binaries = folder / "bin"
    binaries.mkdir()
    rdmf = binaries / "rdmf"
    rdmf.write_text(f'#!/bin/bash\nexec {sys.executable} {DRIVER} "$@"\n')
    rdmf.chmod(0o755)
    return Slurm(folder / "slurm.conf", binaries, place)


def stop(folder: Path) -> None:
    """End it and all its jobs."""
    subprocess.run([str(SET_UP), "stop", str(folder)], capture_output=True, text=True, check=True)


def options_of(data: Data, out: Path) -> list[str]:
    """What `rdmf extract` is told; the device, so that eight tasks need not load PyTorch to look for one."""
    return [f"--manifest={data.manifest}", f"--videos={data.home}", f"--out={out}", "--workers=1", "--device=cpu"]
