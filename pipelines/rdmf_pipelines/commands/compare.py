"""`rdmf compare`: several models on the same queries, in one table with paired tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rdmf_pipelines.studies.models import Group, RunInfo
    from rdmf_pipelines.studies.scoring import Scores


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Runs, or folders of runs. Those that differ by seed or fold are one model.")
    ],
    features: Annotated[
        list[Path] | None,
        typer.Option(help="Feature cache, if not where the runs were trained; repeatable, matched by file name."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the caches; default val, else test.")] = None,
    reading: Annotated[
        bool, typer.Option("--reading", help="Add every model with its moments read off its saliency.")
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write everything to this JSON file.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write everything to this CSV file.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the tables to this file.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Compare models with the first one: mean and spread over seeds, paired t-test and bootstrap interval over queries.

    Scores are kept in the run directories, so that the second comparison is quick.
    """
    from rdmf.evaluation.records import refuse_unwritable, write_text_atomically
    from rdmf.store import InputError
    from rdmf_pipelines.studies import layout
    from rdmf_pipelines.studies.files import write_json
    from rdmf_pipelines.studies.models import differing, find_runs, group_runs

    for path in (json, csv, markdown):
        if path is not None:
            refuse_unwritable(path)
    groups = group_runs(find_runs(runs))
    own = {run.features.name for group in groups for run in group.runs}
    if features and len(features) == 1 and len(own) > 1:
        raise InputError(
            f"--features gives {features[0].name} alone, and the runs were trained on {', '.join(sorted(own))}; "
            "give a cache of each name"
        )
    scores = [_scored(group, features or [], split, device) for group in groups]
    values = _values(groups, scores, reading, {"settings": differing(groups)})
    if json is not None:
        write_json(json, values)
    if csv is not None:
        write_text_atomically(csv, layout.as_csv(values))
    if markdown is not None:
        write_text_atomically(markdown, layout.markdown(values))
    layout.show(values)
    for label, settings in values["settings"].items():
        if settings:
            print(f"{label}: {', '.join(f'{name}={value}' for name, value in settings.items())}")


def _scored(group: Group, features: Sequence[Path], split: str | None, device: str) -> list[tuple[RunInfo, Scores]]:
    from rdmf_pipelines.studies.scoring import score_run

    out = []
    for run in group.runs:
        if sys.stderr.isatty():
            print(f"scoring {run.path}\033[K", end="\r", file=sys.stderr, flush=True)
        out.append((run, score_run(run.path, features=_cache_of(run, features), split=split, device=device)))
    if sys.stderr.isatty():
        print("\033[K", end="", file=sys.stderr)
    return out


def _cache_of(run: RunInfo, features: Sequence[Path]) -> Path | None:
    """The one given cache, or of several the one with the name of the run's own."""
    from rdmf.store import InputError

    if len(features) < 2:
        return features[0] if features else None
    for path in features:
        if path.name == run.features.name:
            return path
    given = ", ".join(path.name for path in features)
    raise InputError(f"{run.path} was trained on {run.features.name}; --features gives only {given}")


def _values(
    groups: Sequence[Group], scores: Sequence[list[tuple[RunInfo, Scores]]], reading: bool, notes: dict[str, Any]
) -> dict[str, Any]:
    """The table's values: every model on the queries of the first one."""
    from rdmf.store import InputError
    from rdmf_pipelines.studies.comparison import Queries, guess_row, stack
    from rdmf_pipelines.studies.layout import as_values
    from rdmf_pipelines.studies.scoring import score_guesses, scores_path

    names = _fold_names([found for _, found in scores[0]])
    folds = {names[found.about["truth"]]: found for _, found in reversed(scores[0])}
    folds = dict(sorted(folds.items(), key=lambda item: list(names.values()).index(item[0])))
    queries = Queries.of(folds)
    rows, read = [], []
    for group, found in zip(groups, scores):
        _refuse_other_queries(groups[0], scores[0], group, found)
        facts = _facts([part for _, part in found])
        runs = {(names[part.about["truth"]], run.seed): part for run, part in found}
        if len(runs) < len(found):
            raise InputError(
                f"{group.label}: two of its runs have one seed and answer the same queries; give one of them"
            )
        rows.append(stack(group.label, {place: part.decoder for place, part in runs.items()}, queries, facts))
        readable = {place: part.reading for place, part in runs.items() if part.reading is not None}
        if reading and readable:
            read.append(stack(f"{group.label}, read off", readable, queries, facts))
    guesses: dict[str, dict[str, Scores]] = {}
    for name, one in folds.items():
        split = one.about["key"]["split"]
        kept = scores_path(Path(one.about["run"]), split).with_name(f"guesses-{split}.npz")
        for guess, part in score_guesses(Path(one.about["features"]), split, kept).items():
            guesses.setdefault(guess, {})[name] = part
    rows += read + [guess_row(name, parts, queries) for name, parts in guesses.items()]
    return as_values(rows, queries, rows[0], {"folds": {name: len(f.qids) for name, f in folds.items()}, **notes})


def _fold_names(found: Sequence[Scores]) -> dict[str, str]:
    """{what is asked: name}, after the caches' file names; numbered where two caches have one name."""
    names: dict[str, str] = {}
    for scores in found:
        stem = Path(scores.about["features"]).stem
        taken = [name for name in names.values() if name == stem or name.startswith(f"{stem} #")]
        names.setdefault(scores.about["truth"], f"{stem} #{len(taken) + 1}" if taken else stem)
    return names


def _refuse_other_queries(
    first: Group,
    expected: Sequence[tuple[RunInfo, Scores]],
    group: Group,
    found: Sequence[tuple[RunInfo, Scores]],
) -> None:
    from rdmf.store import InputError

    known = {scores.about["truth"]: run for run, scores in expected}
    asked = {scores.about["truth"]: run for run, scores in found}
    for truth, run in asked.items():
        if truth not in known:
            raise InputError(
                f"{run.path} ({run.features}) answers other queries than {first.label} ({first.runs[0].features}); "
                "compare runs on the same dataset, split and folds"
            )
    for truth, run in known.items():
        if truth not in asked:
            raise InputError(f"{group.label} has no run on {run.features}, where {run.path} has; give it too")


def _facts(found: Sequence[Scores]) -> dict[str, Any]:
    import statistics

    seconds = [s.about["seconds per epoch"] for s in found if s.about.get("seconds per epoch") is not None]
    return {
        "parameters": found[0].about.get("parameters"),
        "seconds per epoch": round(statistics.median(seconds), 3) if seconds else None,
    }
