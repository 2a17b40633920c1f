"""`rdmf ablate`: a table of variants, each trained with several seeds, on one cache or on folds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rdmf_pipelines.studies.jobs import Study


def ablate(
    features: Annotated[list[Path] | None, typer.Option(help="Feature cache; several are folds.")] = None,
    table: Annotated[str | None, typer.Option(help="Which table; --list shows them.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds of every row and fold.")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="The first of them.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Trainings at once; default: one on each GPU, else on half the cores.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of runs and results; default results/CACHE-TABLE.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting for every row, name=value; repeatable.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="The dataset's settings by name; published models take PRESET-MODEL, else their own."),
    ] = None,
    row: Annotated[list[str] | None, typer.Option(help="Only this row of the table; repeatable.")] = None,
    split: Annotated[str | None, typer.Option(help="Split to score; default val, else test.")] = None,
    keep: Annotated[
        str, typer.Option(help="What to keep of finished runs: all, best (the best weights) or none (scores only).")
    ] = "best",
    redo: Annotated[bool, typer.Option("--redo", help="Discard runs in --out that were made otherwise.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be run, and stop.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show the tables and their rows, and stop.")] = False,
) -> None:
    """Train and evaluate every row of a table, and write OUT/table.md, results.csv, plot.png and per-query.npz.

    Goes on where it was stopped: the same command does only what is missing. Exit code 1 if a run failed.
    """
    from rdmf.config import parse_overrides
    from rdmf.store import InputError
    from rdmf_pipelines.studies.job import KEEP
    from rdmf_pipelines.studies.jobs import make_study
    from rdmf_pipelines.studies.running import run_studies
    from rdmf_pipelines.studies.tables import find_table

    if list_:
        _show_tables(table)
        return
    if not features or table is None:
        raise InputError("say which cache and which table: rdmf ablate --features features/NAME.h5 --table components")
    if keep not in KEEP:
        raise InputError(f"--keep {keep}: one of {', '.join(KEEP)}")
    study = make_study(
        find_table(table).chosen(row or []),
        features,
        seeds=range(seed, seed + seeds),
        out=out or _default_out(features, table),
        preset=preset,
        overrides=parse_overrides(set_ or []),
        split=split,
    )
    if dry_run:
        _show_jobs(study)
        return
    raise typer.Exit(run_studies([study], jobs=jobs, keep=keep, redo=redo))


def _default_out(features: list[Path], table: str) -> Path:
    stems = [path.stem for path in features]
    alike = 0
    while all(len(stem) > alike and stem[alike] == stems[0][alike] for stem in stems):
        alike += 1
    name = stems[0][:alike].rstrip("-_0123456789").removesuffix("-fold") if len(stems) > 1 else stems[0]
    return Path("results") / f"{name or 'folds'}-{table}"


def _show_tables(name: str | None) -> None:
    from rdmf_pipelines.studies.tables import TABLES, find_table

    for table in [find_table(name)] if name else TABLES.values():
        print(f"{table.name}: {table.title}")
        for row in table.rows:
            settings: dict[str, Any] = dict(row.settings)
            made = [f"--model {row.model}"] if row.model != "rdmf" else []
            made += [f"--preset {row.preset}"] if row.preset else []
            made += [f"{key}={value}" for key, value in settings.items()]
            mark = "  (reference)" if row.label == table.reference else ""
            print(f"  {row.slug:<34} {row.label:<34} {' '.join(made)}{mark}".rstrip())
        print()


def _show_jobs(study: Study) -> None:
    for label, other in study.same.items():
        print(f"# left out: {label}, which is the same as {other} under these settings")
    for job in study.jobs:
        state = "  # done" if job.done() is not None else ""
        print(f"{job.command()}{state}")
    done = sum(job.done() is not None for job in study.jobs)
    print(f"# {len(study.jobs)} runs, {done} done; each is then scored on the split '{study.folds[0].split}'")
