"""A process that does jobs one after another, so that torch is loaded, and a GPU made ready, once for many of them.

    python -m rdmf_pipelines.studies.worker

Standard input brings the paths of jobs' files (`rdmf_pipelines.studies.job`), a line each; standard output answers each
with an exit code. What a job prints goes into LOG beside its file. An error that nobody foresaw ends the process: a
device in an unknown state is no place for the next job.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

LOG = "log.txt"


def serve(do: Callable[[str], int]) -> int:
    """Do jobs as they come until standard input ends; returns 0."""
    _end_with_the_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    for line in sys.stdin:
        path = line.removesuffix("\n")
        with (Path(path).parent / LOG).open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        code = do(path)
        sys.stdout.flush()
        sys.stderr.flush()
        _let_go()
        print(code, file=answers, flush=True)
    return 0


def _let_go() -> None:
    """Give back what the last job held, the memory of a GPU above all: others share it."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _end_with_the_parent() -> None:
    """Stop when whoever started this is gone: an orphan would train on beside the job that takes its place."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(143)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    from rdmf_pipelines.studies.job import main

    raise SystemExit(serve(main))
