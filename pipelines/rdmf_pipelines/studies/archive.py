"""Runs that are gone, out of what stands beside a page: their scores and notes are all that a study needs of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rdmf.store import InputError
from rdmf_pipelines.studies.files import Files, write_json
from rdmf_pipelines.studies.jobs import DONE, Study
from rdmf_pipelines.studies.results import Results
from rdmf_pipelines.studies.scoring import Scores, scores_path


def find(page: Path, name: str) -> Results | None:
    """The results of a study that a page was made of; None where there are none beside it.

    Raises:
        InputError: damaged.
    """
    files = Files.beside(page, name)
    return Results.read(files) if files.about.is_file() and files.arrays.is_file() else None


def restore(study: Study, kept: Results | None) -> tuple[int, list[Path]]:
    """Make the run directories of a study's jobs that are not begun, as `--keep none` leaves them.

    Only runs of the same settings, seed, features and split are taken. Their notes say by which code they were made.

    Returns:
        how many; and of each that was left only because its features hold other numbers the cache, once for each.
    """
    if kept is None or kept.about["table"] != study.table.name:
        return 0, []
    notes = {(note["row"], note["fold"], note["seed"]): note for note in kept.notes}
    restored, others = 0, []
    for job in study.jobs:
        note = notes.get((job.row.label, job.fold.name, job.seed))
        if note is None or (job.folder / DONE).exists() or (job.folder / "config.json").exists():
            continue
        done = note["done"]
        if done["split"] != job.fold.split or not job.agrees(done):
            continue
        if done["content"] != job.fold.content:
            others.append(job.fold.features)
            continue
        _scores(kept, note).save(scores_path(job.folder, job.fold.split))
        write_json(job.folder / DONE, done)
        restored += 1
    return restored, others


def _scores(kept: Results, note: dict[str, object]) -> Scores:
    """One run's scores."""
    row, seed = kept.labels.index(str(note["row"])), kept.about["seeds"].index(note["seed"])
    queries = kept.queries.fold(kept.queries.folds.index(str(note["fold"])))
    decoder, reading = (values[row, seed][:, queries] for values in (kept.decoder, kept.reading))
    about = note["scores"]
    if not isinstance(about, dict):
        raise InputError(f"{kept.about['out']}: the notes of its runs are damaged")
    return Scores(
        about,
        [qid for _, qid in kept.queries.ids[queries]],
        kept.queries.types[queries].tolist(),
        decoder,
        reading if np.isfinite(reading).any() else None,
    )
