"""Writing the small files of a study; none of it loads torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rdmf.evaluation.records import write_text_atomically


def write_json(path: Path, values: Any) -> Path:
    """Indented, whole or not at all; NaN is refused (ValueError), for it is not JSON."""
    return write_text_atomically(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
