"""Samples a second of the trainer in one process and in two that share each batch, beside those of published loops.

    python benchmarks/two_processes.py            two cores with nothing else to do, please

A made-up cache of QVHighlights' shape (`rdmf bench`), batches of 32, RDMF with 16 moment queries, a thread a process;
in bfloat16 with `--amp on`, for processors that multiply it: others take twenty times as long as without. Two processes
are `torchrun --nproc-per-node 2 -m rdmf_pipelines.cli train`, whose losses and weights are those of one. Turns
alternate; the first epoch of each run does not count. Times are those of the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rdmf_pipelines.benching.made_up import FULL, make_cache
from rdmf_pipelines.benching.settings import FEW, overrides_of
from rdmf_pipelines.benching.train_step import published_rates

EPOCHS = 4


def run(cache: Path, out: Path, processes: int, amp: str) -> list[float]:
    """Samples a second of the epochs of one run but the first."""
    settings = {**overrides_of("rdmf", quick=False, extra=FEW), "train.amp": amp, "train.epochs": EPOCHS}
    changes = [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    launch = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    )
    command = [sys.executable, *launch, "-m", "rdmf_pipelines.cli", "train", "--features", str(cache)]
    command += ["--preset", "qvhighlights", "--out", str(out), *changes]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, stdout=subprocess.DEVNULL)
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["samples_per_second"] for line in lines][1:]


def main() -> None:
    """A line a number of processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--amp", choices=("on", "off"), default="off")
    given = parser.parse_args()
    turns = given.turns
    found: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        cache = make_cache(Path(folder) / "noise.h5", FULL)
        for turn in range(turns):
            for count, rates in found.items():
                rates += run(cache, Path(folder) / f"{turn}-{count}", count, given.amp)
                print(
                    f"turn {turn + 1}, {count} process{'es' * (count > 1)}: {rates[-1]:.1f} samples a second",
                    flush=True,
                )
    print(f"load at the end {os.getloadavg()[0]:.1f}")
    for count, rates in found.items():
        middle = statistics.median(rates)
        times = ", ".join(f"{middle / known:.2f} x {name}'s loop" for name, known in published_rates().items())
        spread = f"{min(rates):.1f} to {max(rates):.1f}"
        print(f"processes {count}: {middle:.1f} samples a second ({spread}); {times}")


if __name__ == "__main__":
    main()
