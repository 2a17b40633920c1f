"""Annotation files of an import: the QVHighlights JSON-lines form, splits told by the files' names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rdmf.store.errors import InputError
from rdmf.store.records import QueryRecord
from rdmf_pipelines.datasets.plan import Annotations
from rdmf_pipelines.datasets.repairs import Repairs
from rdmf_pipelines.datasets.rows import extra_fields, query_from_row
from rdmf_pipelines.datasets.text_files import json_lines, split_of

Scalar = str | int | float | bool


def read_queries(
    files: Sequence[Path],
    *,
    split: str | None,
    split_by_stem: bool,
    clip_length_seconds: float,
    repairs: Repairs,
) -> tuple[list[QueryRecord], dict[str, Any], list[str]]:
    """All queries of all files.

    Args:
        split: name for every row; None: the row's own `split`, or else the file's name tells.
        split_by_stem: a file's whole stem is its split ("fold1_train"), whatever its rows say.
        clip_length_seconds: seconds per clip of `relevant_clip_ids`.
        repairs: counts odd windows.

    Returns:
        queries: in file order.
        extras: {split: {field: [value of each query, None where absent]}} of the fields with a single value that a
            query's record has no place for, such as "fold" or "domain".
        left_out: names of such fields with more than a single value, which are not kept.

    Raises:
        InputError: a file missing, empty or malformed; no split named; a qid used twice in a split.
    """
    annotations = Annotations()
    extras: dict[tuple[str, str], dict[str, Any]] = {}
    left_out: set[str] = set()
    for file in files:
        file_split = file.stem if split_by_stem else split or split_of(file)
        before = len(annotations.queries)
        for where, row in json_lines(file):
            row_split = file_split if split_by_stem or split else row.get("split") or file_split
            if not isinstance(row_split, str):
                raise InputError(
                    f"{where}: neither the row nor the file's name tells a split (train, val, test); name it with "
                    "--split, or use whole file names with --split-names stem"
                )
            query = query_from_row(
                row,
                where=where,
                split=row_split,
                repairs=repairs,
                default_qid=f"{file.stem}-{where.rpartition(':')[2]}",
                clip_length_seconds=clip_length_seconds,
            )
            if query is not None:
                annotations.add(query, where)
                more = extra_fields(row)
                kept = {name: value for name, value in more.items() if isinstance(value, Scalar)}
                extras[row_split, str(query.qid)] = kept
                left_out.update(name for name, value in more.items() if isinstance(value, list | dict))
        if len(annotations.queries) == before:
            raise InputError(f"{file}: no usable query in it ({repairs.sentence()})")
    return annotations.queries, _columns(annotations.queries, extras), sorted(left_out)


def _columns(queries: list[QueryRecord], extras: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for split in dict.fromkeys(query.split for query in queries):
        rows = [extras[split, str(query.qid)] for query in queries if query.split == split]
        names = sorted({name for row in rows for name in row})
        if names:
            columns[split] = {name: [row.get(name) for row in rows] for name in names}
    return columns
