"""A plan: every study of the results page in one YAML file, with what makes the files that it needs.

files:                             # made by their commands where they are absent
  features/a.h5: rdmf features import ...
  results/rule.json: python benchmarks/salads50_rule.py ... --json results/rule.json
studies:
  - out: results/a-models          # all but out, features and table may be left out
    title: Fifty videos
    features: [features/a.h5]
    table: models
    rows: [rdmf, qd-detr]
    preset: a
    set: {train.epochs: 30}
    seeds: 5
    seed: 0
    split: test
    headline: true                 # also in the README
rules: [results/rule.json]
notes: docs/results-notes.md
out: docs/results.md
readme: README.md
"""

from __future__ import annotations

import difflib
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from rdmf.store import InputError
from rdmf_pipelines.studies.jobs import Study, make_study
from rdmf_pipelines.studies.synthetic import SMALL
from rdmf_pipelines.studies.tables import find_table

STUDY_KEYS = {
    "out": str,
    "features": list,
    "table": str,
    "title": str,
    "rows": list,
    "preset": str,
    "set": dict,
    "seeds": int,
    "seed": int,
    "split": str,
    "headline": bool,
}
PLAN_KEYS = {"files": dict, "studies": list, "rules": list, "notes": str, "out": str, "readme": str}
#: The short version: so many rows of so many studies, in this folder.
SHORT_ROWS, SHORT_STUDIES = 2, 3
SHORT_FOLDER = Path("results/short")


@dataclass(frozen=True)
class PlannedStudy:
    """One study of a plan; `make` reads its caches."""

    out: Path
    features: tuple[Path, ...]
    table: str
    title: str = ""
    rows: tuple[str, ...] = ()
    preset: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    seeds: int = 3
    seed: int = 0
    split: str | None = None
    headline: bool = False

    def make(self) -> Study:
        """The study, for `rdmf ablate` to run.

        Raises:
            InputError: as `make_study`.
        """
        return make_study(
            find_table(self.table).chosen(list(self.rows)),
            self.features,
            seeds=range(self.seed, self.seed + self.seeds),
            out=self.out,
            preset=self.preset,
            overrides=self.settings,
            split=self.split,
        )

    def shortfall(self, rows: Collection[str], seeds: Collection[int]) -> str | None:
        """What a finished study of these rows and seeds lacks of what is planned, in words; None where nothing."""
        wanted = [row.label for row in find_table(self.table).chosen(list(self.rows)).rows]
        lacking = [label for label in wanted if label not in rows]
        short = [s for s in range(self.seed, self.seed + self.seeds) if s not in seeds]
        said = [f"no row {', '.join(lacking)}"] if lacking else []
        said += [f"{self.seeds - len(short)} of {self.seeds} seeds"] if short else []
        return f"{self.out}: {'; '.join(said)}" if said else None


@dataclass(frozen=True)
class Plan:
    """What a plan file says; paths are relative to the working directory."""

    path: Path
    studies: tuple[PlannedStudy, ...]
    files: dict[Path, list[str]] = field(default_factory=dict)
    rules: tuple[Path, ...] = ()
    notes: Path | None = None
    out: Path = Path("docs/results.md")
    readme: Path | None = None

    @staticmethod
    def read(path: Path) -> Plan:
        """Read and check a plan; opens none of the files that it names.

        Raises:
            InputError: not there, not YAML, an unknown key or table, a value of another kind, one folder twice.
        """
        values = _read(path)
        values = _check(values, PLAN_KEYS, f"{path}")
        studies = []
        for number, entry in enumerate(values.get("studies") or [], start=1):
            where = f"{path}, study {number}"
            if not isinstance(entry, dict):
                raise InputError(f"{where}: expected keys such as out, features and table")
            entry = _check(entry, STUDY_KEYS, where)
            for key in ("out", "features", "table"):
                if not entry.get(key):
                    raise InputError(f"{where}: '{key}' is missing")
            find_table(entry["table"]).chosen([str(name) for name in entry.get("rows", [])])
            if entry.get("seeds", 1) < 1:
                raise InputError(f"{where}: seeds: {entry['seeds']}; at least 1")
            studies.append(
                PlannedStudy(
                    out=Path(entry["out"]),
                    features=tuple(Path(str(name)) for name in entry["features"]),
                    table=entry["table"],
                    title=entry.get("title", ""),
                    rows=tuple(str(name) for name in entry.get("rows", [])),
                    preset=entry.get("preset"),
                    settings=dict(entry.get("set", {})),
                    seeds=entry.get("seeds", 3),
                    seed=entry.get("seed", 0),
                    split=entry.get("split"),
                    headline=entry.get("headline", False),
                )
            )
        if not studies:
            raise InputError(f"{path}: no studies in it")
        for name, count in Counter(study.out.name for study in studies).items():
            if count > 1:
                raise InputError(f"{path}: {count} studies write {name}, which names their files; rename one's out")
        return Plan(
            path,
            tuple(studies),
            {Path(str(name)): _words(command, f"{path}: {name}") for name, command in values.get("files", {}).items()},
            tuple(Path(str(name)) for name in values.get("rules") or []),
            Path(values["notes"]) if values.get("notes") else None,
            Path(values.get("out", "docs/results.md")),
            Path(values["readme"]) if values.get("readme") else None,
        )

    def short(self, folder: Path = SHORT_FOLDER) -> Plan:
        """The same with little of everything, on caches that are made up: a seed, an epoch, few rows, few studies.

        One study of models, one of variants and one sweep, as far as the plan has them; two folds where it has folds.
        """
        kinds: dict[str, PlannedStudy] = {}
        for study in self.studies:
            table = find_table(study.table)
            kinds.setdefault("models" if table.reading else "sweep" if table.axis else "variants", study)
        studies = []
        for study in list(kinds.values())[:SHORT_STUDIES]:
            table = find_table(study.table).chosen(list(study.rows))
            others = [row.slug for row in table.rows if row.label != table.reference and row.preset is None]
            first = next(row.slug for row in table.rows if row.label == table.reference)
            folds = 2 if len(study.features) > 1 and table.reading else 1
            studies.append(
                replace(
                    study,
                    out=folder / study.out.name,
                    title=f"Made up, in place of {study.title or study.out.name}",
                    features=tuple(folder / "features" / f"made-up-{i + 1}.h5" for i in range(folds)),
                    rows=(first, *others[: SHORT_ROWS - 1]),
                    preset=None,
                    settings=dict(SMALL),
                    seeds=1,
                    split=None,
                )
            )
        return replace(
            self,
            studies=tuple(studies),
            files={},
            rules=(),
            notes=self.notes if self.notes and self.notes.is_file() else None,
            out=folder / "docs" / self.out.name,
            readme=folder / "README.md" if self.readme else None,
        )


def _words(command: object, where: str) -> list[str]:
    try:
        return shlex.split(str(command))
    except ValueError as error:
        raise InputError(f"{where}: cannot read the command that makes it ({error})") from None


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"no plan at {path}; give one with --plan, or results with --results")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected keys such as studies, found {type(values).__name__}")
    return values


def _check(values: Mapping[str, Any], known: Mapping[str, type], where: str) -> dict[str, Any]:
    """The values, without those left empty."""
    for key, value in values.items():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else f"; known are {', '.join(known)}"
            raise InputError(f"{where}: unknown key '{key}'{hint}")
        kind = known[key]
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            names = {
                str: "a text",
                list: "a list",
                dict: "names with values",
                int: "a whole number",
                bool: "true or false",
            }
            raise InputError(f"{where}: {key}: {value!r} should be {names[kind]}")
    return {key: value for key, value in values.items() if value is not None}


def missing_files(plan: Plan) -> Sequence[Path]:
    """What the plan needs and is not there, in the order in which the plan makes it; what it cannot make last."""
    needed = [path for study in plan.studies for path in study.features] + list(plan.rules)
    absent = [path for path in plan.files if not path.exists()]
    return absent + [path for path in dict.fromkeys(needed) if not path.exists() and path not in plan.files]
