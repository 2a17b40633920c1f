"""Runs that another study beside this one has finished: most tables hold the full model among their rows."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rdmf.files import read_json
from rdmf.store import InputError
from rdmf_pipelines.studies.files import write_json
from rdmf_pipelines.studies.jobs import DONE, Job, Study


def take_over(study: Study, code: str) -> int:
    """Take what finished runs there are of the study's jobs; returns how many."""
    return sum(take(job, code) for job in study.jobs if job.done() is None)


def take(job: Job, code: str) -> bool:
    """Take a finished run of the same settings, seed, features and code from `OUT/../*/runs`; whether there was one.

    Files are linked where the file system can, for weights are large; whatever is written anew replaces a link.
    """
    source = None if (job.folder / "config.json").exists() else _equal(job, code)
    if source is None:
        return False
    shutil.copytree(source, job.folder, copy_function=_link, dirs_exist_ok=True)
    done = read_json(job.folder / DONE)
    (job.folder / DONE).unlink()
    write_json(job.folder / DONE, {**done, "taken from": str(source)})
    return True


def _equal(job: Job, code: str) -> Path | None:
    for note in sorted(job.out.parent.glob(f"*/runs/*/{job.fold.name}/seed-{job.seed}/{DONE}")):
        if job.out in note.parents:
            continue
        try:
            saved = read_json(note)
            same = saved["content"] == job.fold.content and saved["split"] == job.fold.split and saved["code"] == code
        except (InputError, KeyError, TypeError):
            continue
        if same and job.agrees(saved) and job.scores_in(note.parent) is not None:
            return note.parent
    return None


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
