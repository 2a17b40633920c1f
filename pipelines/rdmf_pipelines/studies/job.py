"""One job of a study: train, score, note that it is done, tidy up. `rdmf_pipelines.studies.worker` does many of them.

A job's file holds "arguments" (of `rdmf train`), "command", "folder", "features", "split", "config", "seed", "content",
"keep" and "at_once".
"""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import Any

#: What is left of a finished run's weights: everything, the best ones, or none.
KEEP = {
    "all": (),
    "best": ("resume.pt", "last.safetensors"),
    "none": ("resume.pt", "last.safetensors", "best.safetensors"),
}


def main(path: str) -> int:
    """Do the job that a file describes; returns the exit code of `rdmf train`."""
    job: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    from rdmf_pipelines.cli import main as rdmf

    trained = _trained(Path(job["folder"]))
    try:
        rdmf(["train", *job["arguments"]])
    except SystemExit as stop:
        if stop.code:
            return int(stop.code)
    return finish(job, trained)


def _trained(folder: Path) -> dict[str, Any]:
    """What was noted of the training of a run that is finished and only to be scored: machine, code and date."""
    from rdmf.files import read_json
    from rdmf.train.run_directory import finished
    from rdmf_pipelines.studies.jobs import DONE

    saved = read_json(folder / DONE) if finished(folder) and (folder / DONE).is_file() else None
    names = ("machine", "code", "finished", "at_once")
    return {name: saved[name] for name in names if name in saved} if isinstance(saved, dict) else {}


def finish(job: dict[str, Any], trained: dict[str, Any] | None = None) -> int:
    """Score a trained run and note that it is done.

    Args:
        trained: what holds of its training, where that was not now.
    """
    from rdmf.store import InputError
    from rdmf_pipelines.studies.files import write_json
    from rdmf_pipelines.studies.jobs import DONE
    from rdmf_pipelines.studies.provenance import code, machine
    from rdmf_pipelines.studies.scoring import score_run

    folder, device = Path(job["folder"]), str(job["config"]["train"]["device"])
    try:
        score_run(folder, features=Path(job["features"]), split=job["split"], device=device)
    except InputError as error:
        print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    told = {name: job[name] for name in ("config", "seed", "content", "split", "command", "at_once")}
    finished = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    now = {"machine": machine(device), "code": code(), "finished": finished}
    write_json(folder / DONE, {**told, **now, **(trained or {})})
    for name in KEEP[job["keep"]]:
        (folder / name).unlink(missing_ok=True)
    return 0
