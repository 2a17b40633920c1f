"""Jobs in parallel processes: as many at once as asked, each on its GPU, stopped together, failures named."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rdmf_pipelines.report import clock
from rdmf_pipelines.studies.files import write_json
from rdmf_pipelines.studies.jobs import Job

#: Seconds between looks at the processes, of silence before saying what runs, and before a stopped one is killed.
LOOK, SILENCE, PATIENCE = 0.1, 60.0, 10.0
LOG = "log.txt"
#: What does one job, given the file that describes it.
COMMAND = [sys.executable, "-m", "rdmf_pipelines.studies.job"]


@dataclass
class Running:
    """A job's process."""

    job: Job
    slot: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    begun: float


def gpu_names(device: str) -> list[str]:
    """GPUs that jobs may use, as CUDA_VISIBLE_DEVICES calls them; none where training is to be on the CPU."""
    if device == "cpu":
        return []
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen is not None:
        return [name.strip() for name in seen.split(",") if name.strip() not in ("", "-1")]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def parallel(gpus: Sequence[str]) -> int:
    """How many jobs run at once by default: one on each GPU, else on half the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return len(gpus) or max(1, cores // 2)


def run_jobs(
    jobs: Sequence[Job],
    *,
    total: int,
    at_once: int,
    gpus: Sequence[str] = (),
    keep: str = "best",
    say: Callable[[str], None] = print,
    told: Callable[[Job], str] = lambda job: "",
) -> list[tuple[Job, str]]:
    """Run the jobs that are not done yet.

    Args:
        total: jobs of the whole study, for the progress lines. at_once: processes. gpus: as `gpu_names`.
        keep: as `rdmf_pipelines.studies.job.KEEP`. say: takes a line of progress.
        told: a finished job's result in short.

    Returns:
        the jobs that failed, with the last line that each said.

    Raises:
        KeyboardInterrupt: stopped by the user; the processes are gone by then.
    """
    waiting, failed = list(jobs), []
    running: list[Running] = []
    finished, begun, spoken = total - len(jobs), time.monotonic(), time.monotonic()
    free = list(range(at_once))
    try:
        while waiting or running:
            while waiting and free:
                running.append(_start(waiting.pop(0), free.pop(0), at_once, gpus, keep))
            time.sleep(LOOK)
            for one in [r for r in running if r.process.poll() is not None]:
                running.remove(one)
                free.append(one.slot)
                one.log.close()
                finished += 1
                spent = clock(time.monotonic() - one.begun)
                if one.process.returncode:
                    failed.append((one.job, _last_line(one.job.folder / LOG, one.process.returncode)))
                    say(f"[{finished}/{total}] FAILED {one.job.name}: {failed[-1][1]}")
                else:
                    done = finished - (total - len(jobs))
                    left = (time.monotonic() - begun) / done * (total - finished)
                    rest = f"about {clock(left)} left" if total > finished else "all done"
                    say(f"[{finished}/{total}] {one.job.name} · {told(one.job)}{spent} · {rest}")
                spoken = time.monotonic()
            if running and time.monotonic() - spoken > SILENCE:
                say("running: " + "; ".join(f"{r.job.name}{_epoch(r.job)}" for r in running))
                spoken = time.monotonic()
    finally:
        _stop(running)
    return failed


def _start(job: Job, slot: int, at_once: int, gpus: Sequence[str], keep: str) -> Running:
    job.folder.mkdir(parents=True, exist_ok=True)
    described: dict[str, Any] = {
        "arguments": job.arguments(),
        "command": job.command(),
        "folder": str(job.folder),
        "features": str(job.fold.features),
        "split": job.fold.split,
        "content": job.fold.content,
        "config": job.config,
        "seed": job.seed,
        "keep": keep,
    }
    write_json(job.folder / "job.json", described)
    environment = {**os.environ, "OMP_NUM_THREADS": str(_threads(at_once)), "PYTHONUNBUFFERED": "1"}
    # Where the packages lie beside the tests rather than installed, the process must find them too.
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    log = (job.folder / LOG).open("wb")
    process = subprocess.Popen(
        [*COMMAND, str(job.folder / "job.json")],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        # Ctrl-C reaches a terminal's whole group; only the parent shall take it, and stop the others in order.
        start_new_session=True,
    )
    return Running(job, slot, process, log, time.monotonic())


def _threads(at_once: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, cores // at_once)
    return min(share, int(asked)) if asked.isdigit() and int(asked) > 0 else share


def _stop(running: Sequence[Running]) -> None:
    for one in running:
        one.process.terminate()
    until = time.monotonic() + PATIENCE
    for one in running:
        try:
            one.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()
        one.log.close()


def _last_line(path: Path, code: int) -> str:
    """What the job said last, an error line first of all."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    said = (errors or lines or ["it said nothing"])[-1]
    return f"{said.removeprefix('error: ')[:300]} (exit code {code}, {path})"


def _epoch(job: Job) -> str:
    """ " (epoch 7/30)" of a job that runs."""
    try:
        done = (job.folder / "metrics.jsonl").read_text(encoding="utf-8").count("\n")
    except OSError:
        done = 0
    return f" (epoch {done}/{job.config['train']['epochs']})"
