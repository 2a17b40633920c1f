"""Epochs of the trainer in one process and in two that share each batch, by turns, each `rdmf train` of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rdmf.store.cores import usable_cores
from rdmf.store.errors import InputError
from rdmf.train.precision import multiplies_bfloat16
from rdmf_pipelines.benching.bench import Bench
from rdmf_pipelines.benching.settings import FEW, overrides_of, preset_of
from rdmf_pipelines.benching.sheet import entry
from rdmf_pipelines.benching.train_step import RATE, published_rates
from rdmf_pipelines.children import environment

GROUP, NAME = "training in two processes", "an epoch"
COUNTS = {1: "one process", 2: "two processes"}
#: The first epoch of each run pays for what is made once, and does not count.
EPOCHS, TURNS = 4, 5
#: Seconds until a run that was asked to stop is killed.
PATIENCE = 20.0
ABOUT = (
    "{queries} queries through `rdmf train`, batches of {batch}, a thread a process; two processes "
    "(`torchrun --nproc-per-node 2`) share each batch and end at the losses and weights of one, to rounding. Turns "
    "alternate. Times are those of the clock, with everything else that the machine does in them.{published}"
)
ABOUT_PUBLISHED = (
    " *Of NAME's loop*: samples a second as a multiple of those of the authors' own loop on one such core, or on two "
    "with two threads, on another day."
)


def measure(bench: Bench) -> None:
    """A line a number of processes and precision."""
    reason = _reason_against(bench)
    if reason:
        bench.sheet.notes[GROUP] = f"Not measured: {reason}."
        return
    known = {} if bench.quick or bench.features else _published()
    taken: dict[str, list[float]] = {}
    queries = 0
    for turn in range(1 if bench.quick else TURNS):
        for label, settings in _cases(quick=bench.quick).items():
            for count, called in COUNTS.items():
                case = f"{label}, {called}"
                bench.tell(f"{GROUP}: {case}, turn {turn + 1}")
                out = bench.folder / f"processes-{len(taken.setdefault(case, []))}-{case.replace(' ', '-')}"
                queries, seconds = _train(bench.cache, out, settings, count)
                taken[case] += seconds
    about = {"queries": f"{queries:,}", "batch": settings["train.batch"]}
    bench.sheet.about[GROUP] = ABOUT.format(**about, published=ABOUT_PUBLISHED if known else "")
    for case, seconds in taken.items():
        rate = queries / entry(GROUP, case, NAME, seconds).seconds
        more = {RATE: rate, **{field: rate / theirs for field, theirs in known.items()}}
        bench.add(entry(GROUP, case, NAME, seconds, more=more))


def _published() -> dict[str, float]:
    """{a column: samples a second} of published loops on one core, then of those measured on two."""
    one, two = published_rates(), published_rates(threads=2)
    return {
        **{f"of {name}'s loop": rate for name, rate in one.items()},
        **{f"of {name}'s loop on two threads": rate for name, rate in two.items()},
    }


def _reason_against(bench: Bench) -> str:
    if bench.on_gpu:
        return "this is for the cores of a CPU (`--device cpu`)"
    if "rdmf" not in bench.models:
        return "this is for RDMF (`--model rdmf`)"
    return "there is one core" if usable_cores() < 2 and not bench.quick else ""


def _cases(*, quick: bool) -> dict[str, dict[str, Any]]:
    """{label: settings}; bfloat16 where the processor multiplies it, for elsewhere it takes ten times as long."""
    extra: dict[str, Any] = {} if quick else FEW
    made = {**overrides_of("rdmf", quick=quick, extra=extra), "train.epochs": EPOCHS, "train.device": "cpu"}
    label = "rdmf" if quick else "rdmf, 16 moment queries"
    found = {label: made}
    if multiplies_bfloat16() and not quick:
        found[f"{label}, bfloat16"] = {**made, "train.amp": "on"}
    return found


def _train(cache: Path, out: Path, settings: dict[str, Any], count: int) -> tuple[int, list[float]]:
    """How many queries an epoch has, and the seconds of those that count.

    Raises:
        InputError: the run failed, with what it said last.
    """
    changes = [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
    command = [sys.executable, *several, "-m", "rdmf_pipelines.cli", "train", "--features", str(cache)]
    command += ["--preset", preset_of("rdmf"), "--out", str(out), *changes]
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment(threads=1), **pipes)
    try:
        _, said = process.communicate()
    except BaseException:
        process.terminate()  # torchrun ends its processes then; killed, it would leave them
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    if process.returncode:
        errors = [line for line in said.splitlines() if line.startswith("error: ")] or said.strip().splitlines()
        last = errors[-1].removeprefix("error: ") if errors else f"exit code {process.returncode}"
        raise InputError(f"{GROUP}: rdmf train in {COUNTS[count]} failed: {last}")
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    queries = json.loads((out / "summary.json").read_text(encoding="utf-8"))["train_queries"]
    return int(queries), [float(json.loads(line)["seconds"]) for line in lines][1:]
