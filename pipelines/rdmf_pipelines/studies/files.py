"""Reading and writing the small files of a study; none of it loads torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rdmf.evaluation.records import write_text_atomically
from rdmf.store import InputError


def read_json(path: Path) -> Any:
    """JSON, or an InputError that names the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged, not JSON ({error})") from None


def write_json(path: Path, values: Any) -> Path:
    """Indented, whole or not at all; NaN is refused (ValueError), for it is not JSON."""
    return write_text_atomically(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
