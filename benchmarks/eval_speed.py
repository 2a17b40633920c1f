"""How long `rdmf eval --predictions` takes, from starting the process to its end, on one core.

    python benchmarks/eval_speed.py [--predictions P.jsonl --annotations A.jsonl] [--repeat 7]

By default it scores QD-DETR's published predictions for the 1,550 queries of QVHighlights val, for which the official
script needs 7 to 10 s on one core (by the shared reference's own measurement). Prints wall and processor seconds of the
whole process, best and median of the repeats, and the share of it that is scoring rather than starting and reading.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
OFFICIAL_SECONDS = (7, 10)


def processor_seconds() -> float:
    """User and system time of the child processes so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=Path, default=DATA / "predictions" / "qd_detr_val.jsonl")
    parser.add_argument(
        "--annotations", type=Path, default=DATA / "annotations" / "qvhighlights" / "highlight_val_release.jsonl"
    )
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()

    # One core for the child too: numpy's thread pools and the scheduler both.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "rdmf_pipelines.cli", "eval", "--predictions", str(options.predictions)]
        command += ["--annotations", str(options.annotations), "--json", str(Path(folder) / "scores.json")]
        wall, processor = [], []
        for _ in range(options.repeat + 1):
            before, start = processor_seconds(), time.perf_counter()
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
            wall.append(time.perf_counter() - start)
            processor.append(processor_seconds() - before)
    wall, processor = wall[1:], processor[1:]  # the first run fills the file and byte-code caches

    from rdmf.evaluation import evaluate, read_jsonl

    predictions, annotations = read_jsonl(options.predictions), read_jsonl(options.annotations)
    start = time.process_time()
    evaluate(predictions, annotations)
    scoring = time.process_time() - start

    print(f"whole process, wall:      best {min(wall):.2f} s, median {statistics.median(wall):.2f} s")
    print(f"whole process, processor: best {min(processor):.2f} s, median {statistics.median(processor):.2f} s")
    print(f"of which scoring:         {scoring:.2f} s")
    low, high = OFFICIAL_SECONDS
    print(f"official script:          {low} to {high} s, at least {low / min(processor):.0f} times as long")


if __name__ == "__main__":
    main()
