"""What a study measured, as one set of arrays: gathered from its runs, kept in three files, read by every report.

OUT/per-query.npz   every score of every query, and what was noted of every run: what all tables and tests are made of
OUT/results.csv     a line for each run
OUT/study.json      what was run: table, rows, settings, commands, machines, dates

The same three stand beside a page of results (PAGE/NAME.npz, .csv and .json), so that it can be made anew without the
runs, and a study can go on from them (`rdmf_pipelines.studies.archive`).
"""

from __future__ import annotations

import csv
import io
import json
import statistics
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from rdmf.evaluation.records import write_text_atomically
from rdmf.files import read_json, write_atomically
from rdmf.store import InputError
from rdmf_pipelines.studies.comparison import Queries, Row, guess_row, stack
from rdmf_pipelines.studies.files import ABOUT, Files, write_json
from rdmf_pipelines.studies.jobs import Job, Study
from rdmf_pipelines.studies.layout import Values, as_values
from rdmf_pipelines.studies.scoring import METRICS, Scores, score_guesses

Floats = NDArray[np.float64]

#: Raised when these files change their form.
FORMAT = 2
#: What follows the label of a row whose moments were read off its saliency.
READ_OFF = ", read off"
GUESSES = ("query-blind", "text-only")
#: Sorts of devices.
KINDS = ("CPU", "GPU")


@dataclass(frozen=True)
class Results:
    """The measurements of one study.

    Attributes:
        about: what was run, as study.json has it.
        runs: a dict for each run, as results.csv has them.
        queries: the Q queries of all folds.
        decoder, reading: (rows, seeds, M, Q) shares by METRICS; NaN where nothing was measured.
        guesses: {name: (M, Q)}.
        notes: of each run its "row", "fold" and "seed", what was noted when it was "done", and "scores", what those say
            of themselves.
    """

    about: dict[str, Any]
    runs: list[dict[str, Any]]
    queries: Queries
    decoder: Floats
    reading: Floats
    guesses: dict[str, Floats]
    notes: list[dict[str, Any]]

    @property
    def labels(self) -> list[str]:
        """Of the rows."""
        return [row["label"] for row in self.about["rows"]]

    @property
    def missing(self) -> list[str]:
        """Names of the runs that are not there."""
        return list(self.about["missing"])

    def row(self, label: str, *, read: bool = False) -> Row:
        """One row, from the decoder or read off, with the seeds of which every fold is measured.

        A mean over some of the folds stands beside means over all of them for another thing than it is.
        """
        number = self.labels.index(label)
        values = (self.reading if read else self.decoder)[number]
        seeds = tuple(self.about["seeds"])
        folds = np.split(np.isfinite(values).any(1), self.queries.bounds[1:-1], axis=1)  # each (seeds, its queries)
        measured = [s for s in range(len(seeds)) if all(fold[s].any() for fold in folds)]
        kept = values[measured] if measured else values[:1]
        name = label + READ_OFF if read else label
        return Row(name, tuple(seeds[s] for s in measured), kept, self._facts(label))

    def _facts(self, label: str) -> dict[str, Any]:
        mine = [run for run in self.runs if run["row"] == label]
        counts = {int(run["parameters"]) for run in mine if run["parameters"] not in ("", None)}
        return {
            "parameters": max(counts) if counts else None,
            "seconds per epoch": {
                kind: round(statistics.median(float(run["seconds per epoch"]) for run in some), 3)
                for kind in KINDS
                if (some := [run for run in mine if run["seconds per epoch"] and self.kind(run) == kind])
            },
        }

    def kind(self, run: Mapping[str, Any]) -> str:
        """What sort of device a run was made on, of KINDS: their seconds must not be mixed."""
        return "GPU" if run["device"] in {told.get("gpu") for told in self.about["machines"]} else "CPU"

    def rows(self, *, reading: bool | None = None) -> list[Row]:
        """Every measured row, then (by default where the table asks for them) those read off, then the guesses."""
        reading = self.about["reading"] if reading is None else reading
        rows = [self.row(label) for label in self.labels]
        if reading:
            rows += [self.row(label, read=True) for label in self.labels]
        rows = [row for row in rows if row.seeds]
        return rows + [Row(name, (), values[None]) for name, values in self.guesses.items()]

    def values(self, extra: Sequence[Row] = ()) -> Values:
        """The comparison that the tables show, against the table's reference.

        Args:
            extra: further rows on the same queries, such as a rule without learning.
        """
        rows = [*self.rows(), *extra]
        if not self.runs:
            raise InputError(f"{self.about['out']}: no run of this study is finished")
        reference = next((row for row in rows if row.label == self.about["reference"]), rows[0])
        return as_values(rows, self.queries, reference)

    def save(self, files: Files) -> None:
        """Write the three files."""
        texts = {
            "folds": self.queries.folds,
            "qid": [qid for _, qid in self.queries.ids],
            "type": self.queries.types.tolist(),
            "guess_names": list(self.guesses),
            "notes": self.notes,
        }
        arrays: dict[str, Any] = {
            "metrics": np.array(METRICS),
            "bounds": np.array(self.queries.bounds),
            "guesses": np.stack(list(self.guesses.values())).astype(np.float32)
            if self.guesses
            else np.zeros((0, len(METRICS), len(self.queries)), np.float32),
            "decoder": self.decoder.astype(np.float32),
            "reading": self.reading.astype(np.float32),
            **{name: np.frombuffer(json.dumps(value).encode(), np.uint8) for name, value in texts.items()},
        }

        def write(partial: Path) -> None:
            with partial.open("wb") as file:
                np.savez_compressed(file, **arrays)

        write_atomically(files.arrays, write)
        write_text_atomically(files.lines, _csv(self.runs))
        write_json(files.about, self.about)

    @staticmethod
    def load(folder: Path) -> Results:
        """What a study's folder holds.

        Raises:
            InputError: no results there, damaged, or of another form.
        """
        if not (folder / ABOUT).is_file():
            raise InputError(
                f"{folder} holds no results of a study (no {ABOUT}); make them with rdmf ablate --out {folder}"
            )
        results = Results.read(Files.of(folder))
        return replace(results, about={**results.about, "out": str(folder)})

    @staticmethod
    def read(files: Files) -> Results:
        """What `save` wrote.

        Raises:
            InputError: not there, damaged, or of another form.
        """
        about = read_json(files.about)
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise InputError(f"{files.about}: not in form {FORMAT}; make it anew with rdmf ablate")
        try:
            with np.load(files.arrays, allow_pickle=False) as saved:
                if tuple(saved["metrics"].tolist()) != METRICS:
                    raise InputError(f"{files.arrays}: other metrics than this rdmf's; make it anew with rdmf ablate")
                folds, qids, types, names, notes = (
                    json.loads(saved[name].tobytes()) for name in ("folds", "qid", "type", "guess_names", "notes")
                )
                bounds = saved["bounds"].tolist()
                ids = [(folds[f], q) for f in range(len(folds)) for q in qids[bounds[f] : bounds[f + 1]]]
                guesses = dict(zip(names, saved["guesses"].astype(np.float64)))
                decoder, reading = saved["decoder"].astype(np.float64), saved["reading"].astype(np.float64)
            with files.lines.open(encoding="utf-8", newline="") as file:
                runs: list[dict[str, Any]] = list(csv.DictReader(file))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise InputError(
                f"{files.about.parent}: its results are damaged ({error}); the same rdmf ablate writes them anew"
            ) from None
        queries = Queries(tuple(folds), tuple(bounds), tuple(ids), np.array(types, dtype=np.str_))
        return Results(about, runs, queries, decoder, reading, guesses, notes)


def collect(study: Study) -> Results:
    """The finished runs of a study, with what can be guessed without the video.

    Raises:
        InputError: a cache that cannot be read any more, or runs on the same fold that answer other queries.
    """
    guesses: dict[str, dict[str, Scores]] = {}
    for fold in study.folds:
        kept = study.out / "guesses" / f"{fold.name}-{fold.split}.npz"
        for name, found in score_guesses(fold.features, fold.split, kept).items():
            guesses.setdefault(name, {})[fold.name] = found
    queries = Queries.of(guesses[GUESSES[0]])
    labels = [row.label for row in study.table.rows]
    decoder: dict[str, dict[tuple[str, int], Floats]] = {label: {} for label in labels}
    reading: dict[str, dict[tuple[str, int], Floats]] = {label: {} for label in labels}
    runs, missing = [], []
    notes: list[dict[str, Any]] = []
    for job in study.jobs:
        done, scores = job.done(), job.scores()
        if done is None or scores is None:
            missing.append(job.name)
            continue
        if scores.about["truth"] != guesses[GUESSES[0]][job.fold.name].about["truth"]:
            raise InputError(f"{job.folder}: scored on other queries than {job.fold.features} holds; use --redo")
        place = job.fold.name, job.seed
        decoder[job.row.label][place] = scores.decoder
        if scores.reading is not None:
            reading[job.row.label][place] = scores.reading
        runs.append(_line(job, scores, done))
        which = {"row": job.row.label, "fold": job.fold.name, "seed": job.seed}
        notes.append({**which, "done": done, "scores": scores.about})
    return Results(
        _about(study, missing, [note["done"] for note in notes]),
        runs,
        queries,
        np.stack([_stacked(decoder[label], study, queries) for label in labels]),
        np.stack([_stacked(reading[label], study, queries) for label in labels]),
        {name: guess_row(name, parts, queries).values[0] for name, parts in guesses.items()},
        notes,
    )


def _stacked(runs: Mapping[tuple[str, int], Floats], study: Study, queries: Queries) -> Floats:
    """(S, M, Q), every seed of the study, run or not."""
    whole = np.full((len(study.seeds), len(METRICS), len(queries)), np.nan)
    if runs:
        row = stack("", runs, queries)
        for number, seed in enumerate(row.seeds):
            whole[study.seeds.index(seed)] = row.values[number]
    return whole


def _about(study: Study, missing: list[str], notes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = []
    for row in study.table.rows:
        job = next(job for job in study.jobs if job.row.label == row.label)
        rows.append(
            {"label": row.label, "settings": row.settings, "model": row.model, "preset": job.preset, "x": row.x}
        )
    machines = {json.dumps(note["machine"], sort_keys=True) for note in notes}
    return {
        "format": FORMAT,
        "table": study.table.name,
        "title": study.table.title,
        "axis": study.table.axis,
        "reference": study.table.reference,
        "reading": study.table.reading,
        "rows": rows,
        "same": study.same,
        "folds": [{"name": f.name, "features": str(f.features), "split": f.split} for f in study.folds],
        "seeds": list(study.seeds),
        "preset": study.preset,
        "settings": study.overrides,
        "command": study.command(),
        "runs": len(study.jobs),
        "missing": missing,
        "machines": [json.loads(text) for text in sorted(machines)],
        "code": sorted({str(note["code"]) for note in notes}),
        "finished": max((str(note["finished"]) for note in notes), default=None),
        "out": str(study.out),
    }


def _line(job: Job, scores: Scores, done: Mapping[str, Any]) -> dict[str, Any]:
    about = scores.about
    line: dict[str, Any] = {
        "row": job.row.label,
        "fold": job.fold.name,
        "seed": job.seed,
        "split": job.fold.split,
        "queries": len(scores.qids),
    }
    for prefix, values in (("", scores.decoder), ("read off: ", scores.reading)):
        for name in METRICS:
            found = values[METRICS.index(name)] if values is not None else np.array([np.nan])
            line[prefix + name] = round(100 * float(np.nanmean(found)), 3) if np.isfinite(found).any() else None
    level = about.get("reading", {}).get("level")
    facts = {name: about.get(name) for name in ("parameters", "epochs", "seconds per epoch", "seconds")}
    gpu = done["machine"].get("gpu") or done["machine"].get("processor")
    told = {
        "device": gpu,
        "at once": done.get("at_once"),
        "code": done["code"],
        "finished": done["finished"],
        "command": job.command(),
    }
    return {**line, "level": level, **facts, **told}


def _csv(runs: Sequence[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    names = list(runs[0]) if runs else ["row", "fold", "seed"]
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if value is None else value for name, value in run.items()} for run in runs)
    return file.getvalue()
