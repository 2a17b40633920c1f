"""Charades-STA: 12,404 training and 3,720 test queries, one window each, on Charades' videos of about 30 s.

Two forms are read: the original text, `VIDEO START END##sentence` a line (with the videos' lengths from Charades'
own CSV files where those lie beside it), and JSON lines with durations.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from rdmf.store.errors import InputError
from rdmf.store.records import QueryRecord
from rdmf_pipelines.datasets.plan import Annotations
from rdmf_pipelines.datasets.repairs import Repairs
from rdmf_pipelines.datasets.rows import number, query_from_row
from rdmf_pipelines.datasets.source import Source
from rdmf_pipelines.datasets.text_files import csv_rows, json_lines, lines

LINE = re.compile(r"^(?P<vid>\S+)\s+(?P<start>\S+)\s+(?P<end>\S+?)\s*##(?P<text>.*)$")


def read(path: Path, split: str, annotations: Annotations, repairs: Repairs) -> None:
    """Read one annotation file of either form, told apart by its ending."""
    if path.suffix == ".txt":
        _read_text(path, split, annotations, repairs)
    else:
        for where, row in json_lines(path):
            query = query_from_row(row, where=where, split=split, repairs=repairs)
            if query is not None:
                annotations.add(query, where)


def _read_text(path: Path, split: str, annotations: Annotations, repairs: Repairs) -> None:
    """The original form. It has no query ids: "train-17" is line 17 of the training file."""
    durations = _lengths(path.parent)
    for where, line in lines(path):
        match = LINE.match(line)
        if match is None:
            raise InputError(f"{where}: expected 'VIDEO START END##sentence', got {line[:80]!r}")
        start = number(match["start"], "START", where)
        end = number(match["end"], "END", where)
        duration = durations.get(match["vid"], math.nan)
        if not match["text"].strip():
            raise InputError(f"{where}: no sentence after '##'")
        windows = repairs.windows([(start, end)], duration=duration, where=where)
        if windows is None:
            continue
        query = QueryRecord(
            qid=f"{split}-{where.rpartition(':')[2]}",
            vid=match["vid"],
            text=match["text"].strip(),
            split=split,
            windows=windows,
            duration=duration,
        )
        annotations.add(query, where)


def _lengths(folder: Path) -> dict[str, float]:
    """{vid: seconds} from Charades_v1_train.csv and Charades_v1_test.csv, as far as they are there."""
    durations = {}
    for path in sorted(folder.glob("Charades_v1_*.csv")):
        for where, row in csv_rows(path, required=(("id",), ("length",))):
            if "id" in row and "length" in row:
                durations[row["id"]] = number(row["length"], "'length'", where)
    return durations


SOURCE = Source(
    name="charades",
    title="Charades-STA",
    files={
        "train": ("charades_sta_train.txt", "charades_train_release.jsonl", "charades_sta_train.jsonl", "train.jsonl"),
        "test": ("charades_sta_test.txt", "charades_test_release.jsonl", "charades_sta_test.jsonl", "test.jsonl"),
    },
    annotations_from="the repository of its paper (TALL, by Jiyang Gao and others)",
    videos_from="the Charades videos (scaled to 480p are enough) from the Charades page of the Allen Institute for AI",
    licence="Charades: the Allen Institute for AI's licence, non-commercial use; Charades-STA: see its repository",
    read=read,
)
