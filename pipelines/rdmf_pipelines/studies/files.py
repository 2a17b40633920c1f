"""Where the results of a study are, and writing its small files; none of it loads torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from rdmf.evaluation.records import write_text_atomically

#: Every score of every query; a line for each run; what was run.
ARRAYS, LINES, ABOUT = "per-query.npz", "results.csv", "study.json"


class Files(NamedTuple):
    """Where the results of a study are."""

    arrays: Path
    lines: Path
    about: Path

    @staticmethod
    def of(folder: Path) -> Files:
        """In the study's own folder."""
        return Files(folder / ARRAYS, folder / LINES, folder / ABOUT)

    @staticmethod
    def beside(page: Path, name: str) -> Files:
        """In the folder of a page's files, by the name of the study's folder."""
        place = page.with_suffix("") / name
        arrays, lines, about = (place.with_name(f"{name}{end}") for end in (".npz", ".csv", ".json"))
        return Files(arrays, lines, about)


def write_json(path: Path, values: Any) -> Path:
    """Indented, whole or not at all; NaN is refused (ValueError), for it is not JSON."""
    return write_text_atomically(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
