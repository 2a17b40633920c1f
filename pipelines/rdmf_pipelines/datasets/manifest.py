"""One's own videos and sentences: JSON lines (the QVHighlights form is accepted as it is) or CSV.

Columns: `vid` (a file's name under --videos, ending optional) or `video` (a path, relative to --videos), `query`;
optional `start` and `end` or `relevant_windows`, `split`, `type`, `qid`, `duration`, saliency as in QVHighlights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rdmf.store.errors import InputError
from rdmf_pipelines.datasets.find_videos import VideoIndex
from rdmf_pipelines.datasets.plan import Annotations, DatasetPlan, locate
from rdmf_pipelines.datasets.repairs import Repairs
from rdmf_pipelines.datasets.rows import query_from_row
from rdmf_pipelines.datasets.text_files import csv_rows, json_lines, split_of

DEFAULT_SPLIT = "all"
CSV_COLUMNS_OF_JSON = ("relevant_windows", "relevant_clip_ids", "saliency_scores")


def load_manifest(
    files: Sequence[Path], videos: Path, *, split: str | None = None, name: str | None = None
) -> DatasetPlan:
    """Read one or several manifests and find their videos.

    A row's split is its own `split`; else `split`; else what the file's name tells (train.jsonl, fold1_test.jsonl);
    else "all". A row without `qid` gets "FILE-LINE".

    Raises:
        InputError: a file or folder missing, empty or malformed (file and line named), a window that ends before it
            starts or lies outside its video, no annotated video found.
    """
    index = VideoIndex(videos)
    annotations, repairs = Annotations(), Repairs(refuse=True)
    paths: dict[str, str] = {}  # vid: path as the manifest writes it
    remarks = []
    for file in files:
        file_split = split or split_of(file)
        before = len(annotations.queries)
        unnamed = 0
        for where, row in manifest_rows(file):
            row_split = row.get("split") or file_split
            if row_split is not None and not isinstance(row_split, str):
                raise InputError(f"{where}: 'split' must be a word, got {row_split!r}")
            unnamed += row_split is None
            _settle_path(row, where, paths)
            query = query_from_row(
                row,
                where=where,
                split=row_split or DEFAULT_SPLIT,
                repairs=repairs,
                default_qid=f"{file.stem}-{where.rpartition(':')[2]}",
            )
            assert query is not None  # a refusing `repairs` drops nothing
            annotations.add(query, where)
        if unnamed:
            remarks.append(
                f"{unnamed} of {len(annotations.queries) - before} rows of {file.name} name no split and go to "
                f"'{DEFAULT_SPLIT}'; name one with --split"
            )
    name = name or default_name(files)
    located, missing = locate(annotations.queries, index, names={vid: (path,) for vid, path in paths.items()})
    if sentence := repairs.sentence():
        remarks.append(sentence)
    return DatasetPlan(
        name=name,
        queries=annotations.queries,
        videos=located,
        missing=missing,
        licence="",
        notes={
            "dataset": name,
            "annotation_files": [file.name for file in files],
            "repairs": repairs.as_notes(),
        },
        remarks=remarks,
    )


def default_name(files: Sequence[Path]) -> str:
    """What to call a cache after its manifests: my.jsonl gives "my", joined/train.jsonl with joined/val.jsonl
    "joined"."""
    if len(files) == 1:
        return files[0].stem
    return files[0].resolve().parent.name or "manifest"


def manifest_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """("file:line", row) of a JSON-lines, CSV or TSV manifest, told apart by its ending."""
    if path.suffix.lower() not in {".csv", ".tsv"}:
        yield from json_lines(path)
        return
    for where, cells in csv_rows(path, required=(("vid", "video"), ("query",))):
        row: dict[str, Any] = dict(cells)
        for column in CSV_COLUMNS_OF_JSON:
            if column in row:
                try:
                    row[column] = json.loads(row[column])
                except (ValueError, RecursionError):
                    raise InputError(f"{where}: '{column}' must be written as JSON, got {row[column]!r}") from None
        # A CSV cell is only text; a whole number becomes one, so that prediction files hold the same qid.
        if re.fullmatch("0|-?[1-9][0-9]{0,17}", qid := row.get("qid", "")):
            row["qid"] = int(qid)
        yield where, row


def _settle_path(row: dict[str, Any], where: str, paths: dict[str, str]) -> None:
    """Take `video` out of a row: it names the file, and the video too where there is no `vid`."""
    video = row.pop("video", None)
    if video is None:
        return
    if not isinstance(video, str) or not video.strip():
        raise InputError(f"{where}: 'video' must be the path of a video file, got {video!r}")
    vid = row.setdefault("vid", Path(video).stem)
    if paths.setdefault(str(vid).strip(), video) != video:
        raise InputError(
            f"{where}: '{vid}' is already the name of {paths[str(vid).strip()]}, so {video} needs another: give its "
            "rows a 'vid'"
        )
