"""Runs that were never trained, so that the tests of what is made of runs need no training; and a job's stand-in."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from rdmf.config import Config
from rdmf.content import content_of
from rdmf.store import open_cache
from rdmf_pipelines.studies.files import write_json
from rdmf_pipelines.studies.job import KEEP
from rdmf_pipelines.studies.jobs import DONE
from rdmf_pipelines.studies.scoring import SCORING, Scores, score_guesses, scores_path
from rdmf_pipelines.studies.synthetic import SMALL
from rdmf_pipelines.studies.synthetic import write_synthetic_cache as make_cache
from rdmf_pipelines.studies.worker import serve

__all__ = [
    "FAKE_JOB",
    "FOLDS",
    "MACHINE",
    "ONE",
    "SMALL_RUN",
    "STUDY",
    "TINY",
    "TWO",
    "fake_run",
    "make_cache",
    "ran",
    "rdmf",
]

#: As small as a model can be.
TINY: dict[str, Any] = {**SMALL, "decoder.queries": 24, "decoder.runs": 2, "decoder.levels": [0.0, -1.0], "lr": 3e-3}
MACHINE = {"processor": "an abacus", "cores": 1, "gpu": None, "torch": "2", "python": "3"}
#: Takes the place of `rdmf_pipelines.studies.runner.COMMAND`.
FAKE_JOB = [sys.executable, __file__]
FOLDS = ("--features", "fold1.h5", "--features", "fold2.h5")
SMALL_RUN = ("--set", "model.hidden=16", "--set", "epochs=2", "--set", "train.device=cpu")
ONE = ("ablate", "--features", "fold1.h5", "--table", "components", "--row", "full", *SMALL_RUN, "--seeds", "1")
TWO = (*ONE, "--row", "without IoU head")
#: 2 rows, 2 folds.
STUDY = ("ablate", *FOLDS, "--table", "components", "--row", "full", "--row", "without IoU head", *SMALL_RUN)


def rdmf(*arguments: object) -> int:
    """The exit code of a command line."""
    import pytest  # not where this file takes a worker's place

    from rdmf_pipelines.cli import main

    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def ran(place: Path) -> list[list[str]]:
    """(folder, GPU, threads, process) of each job that was run."""
    diary = place / "diary"
    return [line.split("|") for line in diary.read_text().splitlines()] if diary.exists() else []


def fake_run(
    path: Path,
    cache: Path,
    *,
    seed: int = 0,
    shift: float = 0.0,
    read: bool = True,
    overrides: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    """A run directory as it is left when the weights were deleted: settings, and scores that rise with `shift`.

    Args:
        read: also scores read off. overrides: settings over TINY; or all settings as `config`.
    """
    config = config or Config().updated({**TINY, **(overrides or {})}).to_dict()
    with open_cache(cache) as opened:
        fingerprint, content = opened.fingerprint, content_of(opened)
    saved = {"schema": 1, "config": config, "seed": seed, "fingerprint": fingerprint, "features": str(cache)}
    write_json(path / "config.json", {**saved, "video_dim": 6, "text_dim": 5})
    guess = score_guesses(cache, None, cache.with_suffix(".guesses.npz"))["query-blind"]
    rng = np.random.default_rng([seed, int(1000 * shift)])
    values = np.round(rng.random(guess.decoder.shape) * 0.5 + shift, 3)
    values[:4] = values[:4] > 0.35
    settings = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]
    key = {"scoring": SCORING, "weights": "gone", "config": settings, "cache": content, "split": "test"}
    about = {"key": key, "truth": guess.about["truth"], "reading": {"level": 0.5}, "parameters": 12345}
    facts = {"seed": seed, "epochs": 3, "seconds per epoch": 1.5 + seed}
    scores = Scores({**about, **facts}, guess.qids, guess.types, values, values / 2 if read else None)
    scores.save(scores_path(path, "test"))
    return path


def do_job(file: str) -> int:
    """A job done without training. What it does besides is said by the environment:

    FAIL: ends with this error. DIE: dies with this traceback. HANG: waits so many seconds first. FAKE_GPU: the name of
    the GPU that it says it ran on. DIARY: notes in this file that it ran.
    """
    path = Path(file)
    job = json.loads(path.read_text(encoding="utf-8"))
    if diary := os.environ.get("DIARY"):
        with Path(diary).open("a", encoding="utf-8") as told:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            told.write(f"{job['folder']}|{visible}|{os.environ['OMP_NUM_THREADS']}|{os.getpid()}\n")
    time.sleep(float(os.environ.get("HANG", "0")))
    if (wrong := os.environ.get("FAIL")) and wrong in job["folder"]:
        print(f"all is well so far\nerror: {wrong} went wrong", file=sys.stderr)
        return 2
    if (wrong := os.environ.get("DIE")) and wrong in job["folder"]:
        raise RuntimeError(f"{wrong} broke the device")
    # Better without anything the ablations switch off, so that the tables have something to show.
    changed = sum(part.startswith(("diffusion.", "score.", "fusion.")) for part in job["arguments"])
    shift = 0.3 - 0.1 * min(changed, 2) + 0.01 * int(job["seed"])
    folder = fake_run(Path(job["folder"]), Path(job["features"]), seed=job["seed"], shift=shift, config=job["config"])
    for name in set(KEEP["none"]) - set(KEEP[job["keep"]]):
        (folder / name).write_bytes(b"weights that nobody reads")
    noted = {name: job[name] for name in ("config", "seed", "content", "split", "command", "at_once")}
    machine = {**MACHINE, "gpu": os.environ.get("FAKE_GPU")}
    write_json(folder / DONE, {**noted, "machine": machine, "code": "c0de", "finished": "2026-01-02T03:04:05+00:00"})
    return 0


if __name__ == "__main__":
    raise SystemExit(serve(do_job))
