"""Jobs in parallel processes: as many at once as asked, each on its GPU, stopped together, failures named.

A process does one job after another (`rdmf_pipelines.studies.worker`). One that dies costs the job that it had, and
another takes its place.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rdmf.store import InputError
from rdmf.store.cores import usable_cores
from rdmf_pipelines.children import environment
from rdmf_pipelines.report import clock
from rdmf_pipelines.studies.files import write_json
from rdmf_pipelines.studies.jobs import Job
from rdmf_pipelines.studies.worker import LOG

#: Seconds between looks at the processes, of silence before saying what runs, and before a stopped one is killed.
LOOK, SILENCE, PATIENCE = 0.1, 60.0, 10.0
#: What does jobs, told on standard input where their files are.
COMMAND = [sys.executable, "-m", "rdmf_pipelines.studies.worker"]


class Worker:
    """A process that does jobs one after another.

    Args:
        environment: its variables. log: where it says what it says before its first job.
    """

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=dict(environment),
                # Ctrl-C reaches a terminal's whole group; only the parent shall take it, and stop the others in order.
                start_new_session=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.asks, self.answers = self.process.stdin, self.process.stdout

    def give(self, described: Path) -> None:
        """Let it do a job; one that is dead answers that it is."""
        with contextlib.suppress(BrokenPipeError):
            self.asks.write(f"{described}\n".encode())
            self.asks.flush()

    def fileno(self) -> int:
        """What becomes readable when it answers or dies."""
        return self.answers.fileno()

    def answer(self) -> tuple[int, bool]:
        """The exit code of its job, and whether it can take another; once it is readable."""
        said = os.read(self.fileno(), 64).split()
        if said:
            return int(said[-1]), True
        return self.process.wait() or 1, False

    def end(self) -> None:
        """Ask it to stop, whatever it is at."""
        self.process.terminate()

    def wait(self, seconds: float) -> None:
        """Until it is gone; killed after so many seconds."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.asks, self.answers):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@dataclass
class Running:
    """A job that a worker is at."""

    job: Job
    begun: float = field(default_factory=time.monotonic)


def gpu_names(device: str) -> list[str]:
    """GPUs that jobs may use, as CUDA_VISIBLE_DEVICES calls them; none where training is to be on the CPU."""
    if device == "cpu":
        return []
    if device.startswith("cuda:"):
        raise InputError(
            f"train.device={device}: a study gives each job a GPU of its own; name those it may use by "
            f"CUDA_VISIBLE_DEVICES={device.removeprefix('cuda:')}"
        )
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen is not None:
        return [name.strip() for name in seen.split(",") if name.strip() not in ("", "-1")]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def parallel(gpus: Sequence[str]) -> int:
    """How many jobs run at once by default: one on each GPU, else on half the cores."""
    return len(gpus) or max(1, usable_cores() // 2)


def run_jobs(
    jobs: Sequence[Job],
    *,
    total: int,
    at_once: int,
    gpus: Sequence[str] = (),
    keep: str = "best",
    say: Callable[[str], None] = print,
    told: Callable[[Job], str] = lambda job: "",
    taken: Callable[[Job], bool] = lambda job: False,
) -> list[tuple[Job, str]]:
    """Run the jobs that are not done yet.

    Args:
        total: jobs of all studies, for the progress lines. at_once: processes.
        gpus: as `gpu_names`; processes beyond their number share them. "" is none: a process on the CPU.
        keep: as `rdmf_pipelines.studies.job.KEEP`. say: takes a line of progress.
        told: a finished job's result in short.
        taken: asked before a job is begun: True where it is done by now, for another job was the same.

    Returns:
        the jobs that failed, with the last line that each said.

    Raises:
        KeyboardInterrupt: stopped by the user; the processes are gone by then.
    """
    waiting, failed = list(jobs), []
    workers: dict[int, Worker] = {}
    running: dict[int, Running] = {}
    finished, begun, spoken = total - len(jobs), time.monotonic(), time.monotonic()
    try:
        while waiting or running:
            for slot in range(at_once):
                while slot not in running and (job := _next(waiting, running.values())) is not None:
                    if taken(job):
                        finished += 1
                        say(f"[{finished}/{total}] {job.name} · {told(job)}taken from another study")
                        continue
                    where = _prepare(job, at_once, keep)
                    if slot not in workers:
                        workers[slot] = Worker(_environment(slot, at_once, gpus), job.folder / LOG)
                    running[slot] = Running(job)
                    workers[slot].give(where)
            readable, _, _ = select.select([workers[slot] for slot in running], [], [], LOOK)
            for slot in [s for s in running if workers[s] in readable]:
                code, sound = workers[slot].answer()
                one = running.pop(slot)
                if not sound:
                    workers.pop(slot).wait(PATIENCE)
                finished += 1
                spent = clock(time.monotonic() - one.begun)
                if code:
                    failed.append((one.job, _last_line(one.job.folder / LOG, code)))
                    say(f"[{finished}/{total}] FAILED {one.job.name}: {failed[-1][1]}")
                else:
                    done = finished - (total - len(jobs))
                    left = (time.monotonic() - begun) / done * (total - finished)
                    rest = f"about {clock(left)} left" if total > finished else "all done"
                    say(f"[{finished}/{total}] {one.job.name} · {told(one.job)}{spent} · {rest}")
                spoken = time.monotonic()
            if running and time.monotonic() - spoken > SILENCE:
                say("running: " + "; ".join(f"{one.job.name}{_epoch(one.job)}" for one in running.values()))
                spoken = time.monotonic()
    finally:
        _stop(workers.values())
    return failed


def _next(waiting: list[Job], running: Iterable[Running]) -> Job | None:
    """The first job of those that wait, taken from them, that is not being done under another name; None for none."""
    busy = {one.job.identity for one in running}
    for place, job in enumerate(waiting):
        if job.identity not in busy:
            return waiting.pop(place)
    return None


def _prepare(job: Job, at_once: int, keep: str) -> Path:
    """Write the file that describes a job, beside an empty log."""
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
        "at_once": at_once,
    }
    (job.folder / LOG).write_bytes(b"")
    return write_json(job.folder / "job.json", described)


def _environment(slot: int, at_once: int, gpus: Sequence[str]) -> dict[str, str]:
    """Of a worker: its share of the cores, its GPU."""
    variables = {**environment(_threads(at_once)), "PYTHONUNBUFFERED": "1"}
    if gpus:
        variables["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    return variables


def _threads(at_once: int) -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, usable_cores() // at_once)
    return min(share, int(asked)) if asked.isdigit() and int(asked) > 0 else share


def _stop(workers: Iterable[Worker]) -> None:
    stopped = list(workers)
    for worker in stopped:
        worker.end()
    until = time.monotonic() + PATIENCE
    for worker in stopped:
        worker.wait(max(0.1, until - time.monotonic()))


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
