"""Runs that another study beside this one has finished: most tables hold the full model among their rows."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rdmf.files import read_json
from rdmf.store import InputError
from rdmf_pipelines.studies.files import write_json
from rdmf_pipelines.studies.job import KEEP
from rdmf_pipelines.studies.jobs import DONE, Job, Study
from rdmf_pipelines.studies.worker import LOG


def take_over(study: Study, code: str, keep: str) -> int:
    """Take what finished runs there are of the study's jobs; returns how many."""
    return sum(take(job, code, keep) for job in study.jobs if job.done() is None)


def take(job: Job, code: str, keep: str) -> bool:
    """Take a finished run of the same settings, seed, features and code from `OUT/../*/runs`; whether there was one.

    Files are linked where the file system can, for weights are large; whatever is written anew replaces a link.

    Args:
        keep: as `rdmf_pipelines.studies.job.KEEP`: a run that holds less is not taken.
    """
    source = None if (job.folder / "config.json").exists() else _equal(job, code, keep)
    if source is None:
        return False
    # Whole or not at all: a folder half taken would be neither begun nor done.
    partial = job.folder.with_name(f".{job.folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    # A log is written on: a link to it would write into the other study's.
    shutil.copytree(source, partial, copy_function=_link, ignore=shutil.ignore_patterns(LOG))
    write_json(partial / DONE, {**read_json(partial / DONE), "taken from": str(source)})
    shutil.rmtree(job.folder, ignore_errors=True)  # without config.json it holds no run
    partial.rename(job.folder)
    return True


def _equal(job: Job, code: str, keep: str) -> Path | None:
    for note in sorted(job.out.parent.glob(f"*/runs/*/{job.fold.name}/seed-{job.seed}/{DONE}")):
        if job.out in note.parents:
            continue
        try:
            saved = read_json(note)
            same = saved["content"] == job.fold.content and saved["split"] == job.fold.split and saved["code"] == code
        except (InputError, KeyError, TypeError):
            continue
        whole = all((note.parent / name).is_file() for name in set(KEEP["none"]) - set(KEEP[keep]))
        if same and whole and job.agrees(saved) and job.scores_in(note.parent) is not None:
            return note.parent
    return None


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
