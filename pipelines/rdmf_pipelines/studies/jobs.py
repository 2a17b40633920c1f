"""A study as a list of jobs: one training and evaluation for every row, fold and seed; and which of them are done."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rdmf.config import Config, load_config, presets
from rdmf.content import content_of
from rdmf.files import read_json
from rdmf.store import InputError, open_cache
from rdmf_pipelines.presets import dataset_of, preset_for
from rdmf_pipelines.studies.models import INDIFFERENT, concerns
from rdmf_pipelines.studies.scoring import Scores, default_split, scores_path
from rdmf_pipelines.studies.tables import Table, TableRow

#: Written into a run's directory when its scores are.
DONE = "done.json"


@dataclass(frozen=True)
class Fold:
    """One feature cache of a study: its name in tables, its path, what it holds, the split that is scored."""

    name: str
    features: Path
    content: str
    split: str
    dataset: str | None


@dataclass(frozen=True)
class Job:
    """One training and evaluation.

    Attributes:
        row, fold, seed: its place in the study. folder: its run directory.
        preset: the settings it starts from, by name. overrides: those it changes.
        config: the settings that result, {"section": {"field": value}}.
    """

    row: TableRow
    fold: Fold
    seed: int
    folder: Path
    preset: str
    overrides: dict[str, Any]
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """How progress and errors call it."""
        return f"{self.row.label} · {self.fold.name} · seed {self.seed}"

    @cached_property
    def identity(self) -> str:
        """Equal for jobs that make the same run, whatever study they belong to."""
        return json.dumps([_indifferent(self.config), self.seed, self.fold.content, self.fold.split], sort_keys=True)

    @property
    def out(self) -> Path:
        """The study's folder."""
        return self.folder.parents[3]

    def arguments(self) -> list[str]:
        """Of `rdmf train`, to make this run by hand."""
        model = ["--model", self.row.model] if self.row.model != "rdmf" else []
        changes = [part for name, value in self.overrides.items() for part in ("--set", f"{name}={_yaml(value)}")]
        return [
            *("--features", str(self.fold.features), *model, "--preset", self.preset, *changes),
            *("--seed", str(self.seed), "--out", str(self.folder), "--resume"),
        ]

    def command(self) -> str:
        """The `rdmf train` command line, for a shell."""
        return shlex.join(["rdmf", "train", *self.arguments()])

    def stale(self) -> str | None:
        """Why what lies in the folder is no part of this job; None where it is, or where nothing lies there."""
        for name in (DONE, "config.json"):
            if (self.folder / name).is_file():
                saved = read_json(self.folder / name)
                difference = self._difference(saved if isinstance(saved, dict) else {})
                # Runs that were begun by an older rdmf do not say what their cache held.
                held = saved.get("content", None if name == DONE else self.fold.content)
                if difference is None and held != self.fold.content:
                    difference = f"{self.fold.features} has changed since"
                if difference is not None:
                    return difference
        return None

    def agrees(self, saved: Mapping[str, Any]) -> bool:
        """Whether a run's config.json or done.json tells of the same settings and seed."""
        return self._difference(saved) is None

    def _difference(self, saved: Mapping[str, Any]) -> str | None:
        try:
            found = Config.of_run(saved["config"]).to_dict()
        except (InputError, KeyError, TypeError):
            return "by another rdmf"
        difference = _first_difference(_indifferent(found), _indifferent(self.config))
        if difference is None and saved.get("seed") != self.seed:
            return f"seed was {saved.get('seed')}, now {self.seed}"
        return difference

    def done(self) -> dict[str, Any] | None:
        """What was noted when it was finished; None where it is not."""
        if not (self.folder / DONE).is_file() or self.scores() is None:
            return None
        saved = read_json(self.folder / DONE)
        return saved if isinstance(saved, dict) and saved.get("split") == self.fold.split else None

    def scores(self) -> Scores | None:
        """Its scores, where it is finished."""
        return self.scores_in(self.folder)

    def scores_in(self, folder: Path) -> Scores | None:
        """The scores of this job's split that a run directory holds."""
        return Scores.load(scores_path(folder, self.fold.split))


@dataclass(frozen=True)
class Study:
    """What `rdmf ablate` is asked for.

    Attributes:
        table: rows. folds: caches. seeds: of every row and fold. out: folder of runs and results.
        preset: the dataset's settings, by name; None: what each cache's notes say. overrides: the user's settings.
        split: what is scored, where it was named.
        jobs: every row, fold and seed, rows of the first seed first. same: {label: label of the row it equals}.
    """

    table: Table
    folds: tuple[Fold, ...]
    seeds: tuple[int, ...]
    out: Path
    preset: str | None
    overrides: dict[str, Any]
    split: str | None = None
    jobs: tuple[Job, ...] = ()
    same: dict[str, str] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """Of `rdmf ablate`, to repeat the study."""
        caches = [part for fold in self.folds for part in ("--features", str(fold.features))]
        preset = ["--preset", self.preset] if self.preset else []
        changes = [part for name, value in self.overrides.items() for part in ("--set", f"{name}={_yaml(value)}")]
        seeds = ["--seeds", str(len(self.seeds)), *(["--seed", str(self.seeds[0])] if self.seeds[0] else [])]
        rows = [part for name in self.table.asked for part in ("--row", name)]
        split = ["--split", self.split] if self.split else []
        table = ["--table", self.table.name, *rows]
        return [*caches, *table, *preset, *changes, *split, *seeds, "--out", str(self.out)]

    def command(self) -> str:
        """The `rdmf ablate` command line, for a shell."""
        return shlex.join(["rdmf", "ablate", *self.arguments()])


def make_study(
    table: Table,
    features: Sequence[Path],
    *,
    seeds: Sequence[int],
    out: Path,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    split: str | None = None,
) -> Study:
    """Everything that is to be run. Reads the caches' headers and checks every row's settings.

    Raises:
        InputError: a cache that cannot be read, two of one name, settings that cannot be, rows that do not fit.
    """
    folds = tuple(_fold(path, split) for path in features)
    names = [fold.name for fold in folds]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two caches are called {name}; folds need file names of their own")
    given = dict(overrides or {})
    load_config(preset, None, given)  # refuses unknown names before anything else
    if "model.name" in _full_names(given):
        raise InputError("--set model.name: a table's rows choose their models; use `rdmf train --model` for one run")
    study = Study(table, folds, tuple(seeds), out, preset, given, split)
    rows, same = _distinct(study)
    # Settings are the same for every seed, and take their time to work out and check.
    first = [_job(study, row, fold, 0) for fold in folds for row in rows]
    jobs = tuple(
        replace(job, seed=seed, folder=_folder(study, job.row, job.fold, seed)) for seed in seeds for job in first
    )
    return replace(study, table=replace(table, rows=tuple(rows)), jobs=jobs, same=same)


def _fold(path: Path, split: str | None) -> Fold:
    with open_cache(path) as cache:
        chosen = split or default_split(cache)
        cache.select(chosen)
        if "train" not in cache.splits:
            raise InputError(f"{path}: no split 'train' to learn from; there are {', '.join(cache.splits)}")
        return Fold(path.stem, path, content_of(cache), chosen, dataset_of(cache.provenance.notes))


def _distinct(study: Study) -> tuple[list[TableRow], dict[str, str]]:
    """The rows that differ under the study's settings, and which others each left-out row equals."""
    same: dict[str, str] = {}
    known: dict[str, str] = {}
    reference = next(row for row in study.table.rows if row.label == study.table.reference)
    for row in (reference, *study.table.rows):
        config = json.dumps([_job(study, row, fold, 0).config for fold in study.folds], sort_keys=True)
        if known.setdefault(config, row.label) != row.label:
            same[row.label] = known[config]
    rows = [row for row in study.table.rows if row.label not in same]
    return rows, same


def _job(study: Study, row: TableRow, fold: Fold, seed: int) -> Job:
    dataset = study.preset or fold.dataset
    if row.preset:  # at the dataset's size and budget where there is such a preset
        preset = f"{dataset}-{row.preset}" if f"{dataset}-{row.preset}" in presets() else row.preset
    elif row.model == "rdmf" and study.preset:
        preset = study.preset  # also one that is no dataset's, such as paper
    else:
        preset = preset_for(dataset, row.model) or "default"
    name = {"model.name": row.model} if row.model != "rdmf" else {}
    # A row's own settings are what the row is; the user's hold for every row.
    overrides = {**_full_names(study.overrides), **row.settings}
    config = load_config(preset, None, {**overrides, **name}).to_dict()
    return Job(row, fold, seed, _folder(study, row, fold, seed), preset, overrides, config)


def _folder(study: Study, row: TableRow, fold: Fold, seed: int) -> Path:
    return study.out / "runs" / row.slug / fold.name / f"seed-{seed}"


def _full_names(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """{"section.field": value}, so that "epochs" and "train.epochs" are known for the same."""
    from rdmf.config import settings

    full = {}
    for name, value in overrides.items():
        found = [known for known in settings() if name in (known, known.partition(".")[2])]
        full[found[0] if found else name] = value
    return full


def _indifferent(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by full name, without those of the machine and those of other models."""
    flat = {f"{section}.{name}": value for section, part in config.items() for name, value in part.items()}
    model = str(flat.get("model.name", "rdmf"))
    return {name: value for name, value in flat.items() if name not in INDIFFERENT and concerns(name, model)}


def _first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            return f"{name} was {old.get(name)!r}, now {new.get(name)!r}"
    return None


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
