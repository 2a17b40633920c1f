"""Prediction for one video and one query as the video grows: seconds and peak memory, each in a process of its own."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from rdmf_pipelines.benching.bench import Bench
from rdmf_pipelines.benching.sheet import Entry, Sheet, entry, without_time

GROUP = "prediction over length"
LENGTHS = (75, 300, 1200, 5000, 10800, 20000)
TINY = (20, 40)
#: Three hours at a clip a second.
THREE_HOURS = 10800
WIDTH, WORDS = 768, 20
MEMORY = "peak MB"
#: Processor seconds after which a prediction is given up, its process with it.
PATIENCE = 300
ABOUT = (
    f"One video and one query of {WORDS} words, features {WIDTH} wide, fresh weights, published settings; each figure "
    "from a process of its own; above five seconds from a single prediction. *Peak MB*: the most that the prediction "
    "took beyond what the process held before it (model, and features in half precision). 10,800 clips are three hours "
    "at a clip a second."
)


def measure(bench: Bench) -> None:
    """A line a length, a column a model."""
    bench.sheet.about[GROUP] = ABOUT
    for length in TINY if bench.quick else LENGTHS:
        for name in bench.models[:2] if bench.quick else bench.models:
            bench.tell(f"{GROUP}: {name}, {case(length)}")
            bench.add(in_process(bench, name, length))
            bench.sheet.notes[GROUP] = note(bench.sheet)


def case(length: int) -> str:
    """The line's name."""
    return f"{length:,} clips"


def in_process(bench: Bench, name: str, length: int) -> Entry:
    """One figure, or why there is none."""
    limit = min(bench.memory_gb, 0.8 * available_gb())
    asked = {
        "model": name,
        "length": length,
        "quick": bench.quick,
        "device": str(bench.device),
        "seconds": 0.0 if bench.quick else bench.seconds,
        "limit": limit,
        "threads": torch.get_num_threads(),
        "patience": PATIENCE,
    }
    command = [sys.executable, "-m", "rdmf_pipelines.benching.length_process", json.dumps(asked)]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    # The same code as here, wherever this process found it.
    paths = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads, **paths}, check=False)
    if done.returncode == -signal.SIGXCPU:
        return without_time(GROUP, case(length), name, f"more than {PATIENCE} s")
    lines = done.stdout.strip().splitlines()
    told = json.loads(lines[-1]) if done.returncode == 0 and lines else {}
    if told.get("too much") or done.returncode == -signal.SIGKILL:  # so the system ends what takes too much
        return without_time(GROUP, case(length), name, f"needs more than {limit:.3g} GB")
    if not told:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return without_time(GROUP, case(length), name, f"failed: {said}")
    return entry(GROUP, case(length), name, told["seconds"], more={MEMORY: told["peak"] / 1e6})


def available_gb() -> float:
    """Memory that can still be had on this machine; infinite where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return math.inf
    return kilobytes * 1024 / 1e9


def points(sheet: Sheet) -> dict[str, list[tuple[int, Entry]]]:
    """{model: [(clips, figure), ...]} in order of length, of what was measured."""
    found: dict[str, list[tuple[int, Entry]]] = {}
    for one in sheet.entries:
        if one.group == GROUP and one.count:
            found.setdefault(one.name, []).append((int(one.case.split()[0].replace(",", "")), one))
    return {name: sorted(have, key=lambda point: point[0]) for name, have in found.items()}


def exponent(have: Sequence[tuple[int, Entry]]) -> float | None:
    """p of seconds ~ L^p between the two longest; None with fewer than two."""
    if len(have) < 2:
        return None
    (short, before), (long, after) = have[-2:]
    return math.log(after.seconds / before.seconds) / math.log(long / short)


def note(sheet: Sheet) -> str:
    """The exponents in words."""
    told = []
    for name, have in points(sheet).items():
        power = exponent(have)
        if power is not None:
            told.append(f"{name} {power:.2f} ({have[-2][0]:,} to {have[-1][0]:,})")
    return (
        f"Seconds grow as a power of the number of clips, between the two longest: {', '.join(told)}." if told else ""
    )
