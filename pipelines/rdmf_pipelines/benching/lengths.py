"""Prediction for one video and one query as the video grows: seconds and peak memory, each in a process of its own."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rdmf_pipelines.benching.bench import Bench
from rdmf_pipelines.benching.sheet import Entry, Sheet, entry, without_time
from rdmf_pipelines.children import environment

GROUP = "prediction over length"
LENGTHS = (75, 300, 1200, 5000, 10800, 20000)
TINY = (20, 40)
#: Lengths, from the longest down, that tell how seconds grow: below them what does not depend on length counts too.
LONGEST = 3
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
    variables = environment(torch.get_num_threads())
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
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
    """p of seconds ~ L^p, by least squares of the logs over the `LONGEST` longest; None with fewer than two."""
    if len(have) < 2:
        return None
    clips = np.log([length for length, _ in have[-LONGEST:]])
    seconds = np.log([one.seconds for _, one in have[-LONGEST:]])
    return float(np.polyfit(clips, seconds, 1)[0])


def note(sheet: Sheet) -> str:
    """The exponents in words."""
    told = []
    for name, have in points(sheet).items():
        power = exponent(have)
        if power is not None:
            told.append(f"{name} {power:.2f} ({have[-LONGEST:][0][0]:,} to {have[-1][0]:,})")
    return f"Seconds grow as a power of the number of clips: {', '.join(told)}." if told else ""
