"""Reading annotation files so that every complaint names the file and the line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rdmf.store.errors import InputError

# A word of a file's name that tells the split, and the name we give it.
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "dev",
    "test": "test",
    "testing": "test",
}


def split_of(path: Path) -> str | None:
    """The split that a file's name tells: "train" for fold1_train.jsonl, "val" for highlight_val_release.jsonl.

    The last such word counts; None where there is none.
    """
    words = re.split(r"[^a-z]+", path.stem.lower())
    return next((SPLIT_WORDS[word] for word in reversed(words) if word in SPLIT_WORDS), None)


def read_text(path: Path) -> str:
    """The whole file as text.

    Raises:
        InputError: no such file, a folder, unreadable, empty, or not UTF-8.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, not an annotation file")
    if not path.exists():
        raise InputError(f"annotation file {path} not found")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file in UTF-8 (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if not text.strip():
        raise InputError(f"annotation file {path} is empty")
    return text


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """("file:line", text) of every line that is not blank."""
    # Not str.splitlines: it also cuts at characters that may stand inside a sentence, such as U+2028.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", line.strip()


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """("file:line", object) of every line of a JSON-lines file.

    Raises:
        InputError: as `read_text`, or a line that is not a JSON object.
    """
    for where, line in lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not JSON ({error.msg} at column {error.colno}): {_start(line)}") from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, or lists within lists
            raise InputError(f"{where}: JSON that cannot be read ({error}): {_start(line)}") from None
        if not isinstance(row, dict):
            raise InputError(f'{where}: expected a JSON object such as {{"qid": 1, ...}}, got {_start(line)}')
        yield where, row


def json_object(path: Path) -> dict[str, Any]:
    """The one JSON object that a file holds.

    Raises:
        InputError: as `read_text`, not JSON (with line and column), not an object, or an object with nothing in it.
    """
    try:
        whole = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON ({error.msg} at column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: JSON that cannot be read ({error})") from None
    if not isinstance(whole, dict):
        raise InputError(f"{path}: expected one JSON object, got a {type(whole).__name__}")
    if not whole:
        raise InputError(f"annotation file {path} is empty")
    return whole


def csv_rows(path: Path, *, required: tuple[tuple[str, ...], ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """("file:line", {column: text}) of every row of a CSV (or, by its ending, TSV) file with a header line.

    Column names are lower-cased and stripped; empty cells are left out.

    Args:
        required: for each thing needed, the column names of which one must be there.

    Raises:
        InputError: as `read_text`; a missing column; a row of another length than the header; no rows.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(read_text(path)), delimiter=delimiter, strict=True)
    count = 0
    try:
        header = [name.strip().lower() for name in next(reader)]
        for names in required:
            if not set(names) & set(header):
                wanted = " or ".join(f"'{name}'" for name in names)
                raise InputError(f"{path}: no column {wanted}; the header line reads {', '.join(header)}")
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{where}: {len(cells)} cells but {len(header)} columns; a sentence with commas needs double quotes"
                )
            count += 1
            yield where, {name: cell.strip() for name, cell in zip(header, cells) if cell.strip()}
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not CSV: {error}") from None
    if not count:
        raise InputError(f"annotation file {path} has a header and no rows")


def _start(line: str) -> str:
    return line if len(line) <= 60 else line[:60] + "..."
