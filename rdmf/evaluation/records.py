"""Prediction and annotation records: reading and writing JSON lines, and annotations out of a feature cache."""

from __future__ import annotations

import gc
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdmf.files import write_atomically
from rdmf.store.errors import InputError

if TYPE_CHECKING:
    from rdmf.store import Cache

Record = dict[str, Any]


class RecordFile(list[Record]):
    """The records of one JSON-lines file, which remember their lines so that an error can name them.

    Attributes:
        path: the file they were read from.
        lines: line number (from 1) of each record; blank lines are skipped, so this is not the index plus one.
    """

    def __init__(self, path: Path, records: Iterable[Record], lines: Sequence[int]) -> None:
        super().__init__(records)
        self.path = path
        self.lines = list(lines)


def where(records: Sequence[Record], index: int, what: str) -> str:
    """How an error names a record: "preds.jsonl, line 12 (qid 7)", or for a plain list "prediction 12 (qid 7)"."""
    record = records[index]
    qid = f" (qid {record['qid']!r})" if isinstance(record, dict) and "qid" in record else ""
    if isinstance(records, RecordFile):
        return f"{records.path}, line {records.lines[index]}{qid}"
    return f"{what} {index}{qid}"


def source(records: Sequence[Record], what: str) -> str:
    """How an error names the whole list: its file, or `what` in the plural."""
    return str(records.path) if isinstance(records, RecordFile) else f"{what}s"


def read_jsonl(path: str | Path) -> RecordFile:
    """Read one JSON object a line; blank lines are skipped.

    Raises:
        InputError: no such file, a directory, not UTF-8 text, a malformed line (with its number), or no records.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory; give a JSON-lines file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); expected JSON lines") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    with _garbage_collection_paused():
        records, lines = _parse(path, text)
    if not records:
        raise InputError(f"{path}: no records in it; expected JSON lines")
    return RecordFile(path, records, lines)


def _parse(path: Path, text: str) -> tuple[list[Record], list[int]]:
    """The objects in `text` and the number of the line each stands on."""
    records: list[Record] = []
    lines: list[int] = []
    # Only "\n" ends a JSON line; str.splitlines would also cut at U+2028, which may stand raw inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.isspace():
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = (
                f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "nested too deep"
            )
            hint = "; this looks like one JSON array, expected one object a line" if line.strip() == "[" else ""
            raise InputError(f"{path}, line {number}: not JSON ({reason}){hint}") from None
        if not isinstance(record, dict):
            raise InputError(f"{path}, line {number}: expected one JSON object a line, got {_kind(record)}")
        records.append(record)
        lines.append(number)
    return records, lines


@contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """Parsing makes tens of thousands of lists and no cycles; looking for cycles takes a third of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _kind(value: object) -> str:
    names = {list: "an array", str: "a string", int: "a number", float: "a number", bool: "true or false"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def refuse_unwritable(path: str | Path) -> None:
    """Say before the work what would only be found when its result is to be written.

    Raises:
        InputError: `path` is a directory, or lies under a file or in a folder that cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a directory; give a file name")
    parent = next((p for p in path.parents if p.exists()), Path())
    if not parent.is_dir():
        raise InputError(f"{path}: cannot be written ({parent} is a file)")
    if not os.access(path if path.exists() else parent, os.W_OK):
        raise InputError(f"{path}: cannot be written (no permission)")


def refuse_overwriting(path: str | Path | None, option: str, **others: str | Path | None) -> None:
    """Refuse to write a result over what it is made of, or over another result.

    Args:
        path: what `option` names, to be written. others: paths that must stay, by what they are (None: not given).

    Raises:
        InputError: `path` is one of them.
    """
    for what, other in others.items():
        if path is None or other is None:
            continue
        try:
            same = Path(path).samefile(other)
        except OSError:  # one of the two is not there yet
            same = Path(path).absolute() == Path(other).absolute()
        if same:
            raise InputError(f"{option} {path}: is the {what.replace('_', ' ')}; give another file name")


def write_text_atomically(path: str | Path, text: str) -> Path:
    """Write `text` to `path` by way of a temporary file beside it, so that the file is whole or absent.

    Raises:
        InputError: the folder cannot be made or written.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a directory; give a file name")
        if path.exists() and not path.is_file():  # a pipe or a terminal, e.g. /dev/stdout, cannot be replaced
            path.write_text(text, encoding="utf-8")
            return path
        write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    return path


def write_jsonl(path: str | Path, records: Iterable[Record]) -> Path:
    """Write one JSON object a line, whole or not at all. NaN is refused (ValueError): it is not JSON."""
    return write_text_atomically(path, "".join(json.dumps(r, allow_nan=False) + "\n" for r in records))


def annotations_from_cache(cache: Cache, split: str, *, with_video_only: bool = False) -> list[Record]:
    """The queries of one split of a feature cache, as QVHighlights-form dicts.

    Args:
        cache: an open cache.
        split: name of the split.
        with_video_only: leave out queries whose video has no features in the cache, which no model could answer.

    Returns:
        One dict a query, in the cache's order: qid, query, vid, duration (seconds; annotated where known, else
        measured), relevant_windows, relevant_clip_ids, saliency_scores, clip_length, type. Absent annotations are
        empty lists; a duration nobody knows is None.

    Raises:
        InputError: the cache has no such split.
    """
    table = cache.queries
    annotations: list[Record] = []
    for index in cache.select(split):
        i = int(index)
        video, text = int(table.video_index[i]), int(table.text_index[i])
        if with_video_only and video < 0:
            continue
        duration = float(table.durations[i])
        if not math.isfinite(duration) and video >= 0:
            duration = float(cache.durations[video])
        windows = slice(int(table.window_offsets[i]), int(table.window_offsets[i + 1]))
        clips = slice(int(table.saliency_offsets[i]), int(table.saliency_offsets[i + 1]))
        annotators = int(table.n_annotators[i])
        annotations.append(
            {
                "qid": table.qids[i],
                "query": cache.texts[text] if text >= 0 else "",
                "vid": table.vids[i],
                "duration": duration if math.isfinite(duration) else None,
                "relevant_windows": table.windows[windows].tolist(),
                "relevant_clip_ids": table.saliency_clips[clips].tolist(),
                "saliency_scores": table.saliency_scores[clips, :annotators].tolist(),
                "clip_length": float(table.clip_lengths[i]),
                "type": table.kinds[i],
            }
        )
    return annotations
