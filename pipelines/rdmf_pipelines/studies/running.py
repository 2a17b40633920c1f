"""Running what is missing of studies, all their jobs in one line, and writing their results."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Sequence

import numpy as np

from rdmf.files import read_json
from rdmf.store import InputError
from rdmf_pipelines.studies import provenance
from rdmf_pipelines.studies.files import ABOUT
from rdmf_pipelines.studies.jobs import Job, Study
from rdmf_pipelines.studies.results import collect
from rdmf_pipelines.studies.reuse import take, take_over
from rdmf_pipelines.studies.runner import gpu_names, parallel, run_jobs
from rdmf_pipelines.studies.scoring import METRICS, SCORING, score_run
from rdmf_pipelines.studies.sheet import write_sheet


def run_studies(studies: Sequence[Study], *, jobs: int | None = None, keep: str = "best", redo: bool = False) -> int:
    """Run what is missing of some studies and write their results; returns the exit code.

    Args:
        jobs: at once; default: one on each GPU, else on half the cores. keep: as `rdmf_pipelines.studies.job.KEEP`.
        redo: discard what was made otherwise.

    Raises:
        InputError: an `out` holds runs made otherwise (without `redo`), or cannot be written.
        KeyboardInterrupt: stopped; the results of what is finished are written.
    """
    for study in studies:
        _refuse_foreign(study, redo)
    code = provenance.code()
    taken = [take_over(study, code, keep) for study in studies]
    _score_anew([job for study in studies for job in study.jobs])
    waiting = {study.out: [job for job in study.jobs if job.done() is None] for study in studies}
    left = [job for some in waiting.values() for job in some]
    devices = {str(job.config["train"]["device"]) for job in left}
    gpus = list(dict.fromkeys(name for device in sorted(devices) for name in gpu_names(device)))
    at_once = min(jobs or parallel(gpus), max(1, len(left)))
    on = f" on {len(gpus)} GPU{'s' * (len(gpus) > 1)}" if gpus else ""
    for study, found in zip(studies, taken):
        _introduce(study, f"{len(study.jobs) - len(waiting[study.out])} done, {at_once} at once{on}", found)
    interrupted, failed = False, []
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        failed = run_jobs(
            left,
            total=sum(len(study.jobs) for study in studies),
            at_once=at_once,
            gpus=gpus,
            keep=keep,
            say=_say,
            told=told,
            taken=lambda job: take(job, code, keep),
        )
    except KeyboardInterrupt:
        interrupted = True
    finally:
        signal.signal(signal.SIGTERM, before)
    there, wanted = 0, 0
    for study in studies:
        results = collect(study)
        there, wanted = there + len(results.runs), wanted + len(study.jobs)
        if results.runs:
            write_sheet(results, study.out)
            print(f"\n{study.out / 'table.md'}, {study.out / 'plot.png'}, {study.out / 'results.csv'}")
    if interrupted:
        print(f"stopped: {there} of {wanted} runs are done; the same command goes on", flush=True)
        raise KeyboardInterrupt
    for job, said in failed:
        print(f"failed: {job.name}: {said}", file=sys.stderr)
    return 1 if failed else 0


def _score_anew(jobs: Sequence[Job]) -> None:
    """Score runs again that an earlier rdmf scored otherwise; those whose weights were not kept stay as they are."""
    found = []
    for job in jobs:
        scores = job.scores() if (job.folder / "best.safetensors").is_file() else None
        if scores is not None and scores.about.get("key", {}).get("scoring") != SCORING:
            found.append(job)
    if found:
        _say(f"scored anew, for an earlier rdmf scored them otherwise: {len(found)} of the finished runs")
    for job in found:
        device = str(job.config["train"]["device"])
        score_run(job.folder, features=job.fold.features, split=job.fold.split, device=device)


def _introduce(study: Study, state: str, taken: int) -> None:
    """What is to be run, and where."""
    folds, seeds = len(study.folds), len(study.seeds)
    print(
        f"{study.table.title}: {len(study.jobs)} runs ({len(study.table.rows)} rows, {folds} "
        f"{'fold' if folds == 1 else 'folds'}, {seeds} {'seed' if seeds == 1 else 'seeds'}), {state}, in {study.out}",
        flush=True,
    )
    if taken:
        print(f"{taken} of them taken from other studies in {study.out.parent}")
    for label, other in study.same.items():
        print(f"left out: {label}, which is the same as {other} under these settings")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, flush=True)


def told(job: Job) -> str:
    """ "R1@0.5 61.2, mIoU 50.3 · " of a finished job."""
    scores = job.scores()
    if scores is None:
        return ""
    shown = []
    for name in ("R1@0.5", "mIoU", "saliency mAP"):
        values = scores.decoder[METRICS.index(name)]
        if np.isfinite(values).any():
            shown.append(f"{name} {100 * np.nanmean(values):.1f}")
    return ", ".join(shown) + " · "


def _refuse_foreign(study: Study, redo: bool) -> None:
    """What lies in OUT must be of this study."""
    if study.out.exists() and not study.out.is_dir():
        raise InputError(f"{study.out} is a file; choose another --out")
    if (study.out / ABOUT).is_file():
        about = read_json(study.out / ABOUT)
        held = about.get("table") if isinstance(about, dict) else None
        if held != study.table.name:
            raise InputError(f"{study.out} holds the table {held}; choose another --out")
    for job in study.jobs:
        why = job.stale()
        if why is None:
            continue
        if not redo:
            raise InputError(f"{job.folder} was made otherwise: {why}; choose another --out, or discard it with --redo")
        shutil.rmtree(job.folder)
    study.out.mkdir(parents=True, exist_ok=True)
