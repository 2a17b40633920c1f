"""The fingerprint of a cache: a short name for everything that affects a feature.

Two caches whose fingerprints are equal may be merged, resumed into and trained on together; others may not, and the
user is told which setting differs.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rdmf.store.errors import InputError
from rdmf.store.records import Provenance

_EXACT_INTEGERS = 2.0**53
_ABSENT = object()
#: Settings that are recorded only where they are not this: so caches made before there was a choice keep their names.
_UNRECORDED = {"precision": "float32"}


def as_json(value: Any, where: str) -> Any:
    """The same value in JSON's own types (numpy scalars become numbers, tuples lists).

    Raises:
        InputError: a value that JSON cannot hold, NaN and infinity among them, naming the field.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(
                f"provenance field {where}: {value} cannot be recorded; give a finite number or leave it out"
            )
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"provenance field {where}: key {key!r} is not a string")
        return {key: as_json(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [as_json(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise InputError(f"provenance field {where}: a {type(value).__name__} cannot be recorded; give a JSON value")


def fingerprint(provenance: Provenance) -> str:
    """16 hexadecimal characters over the video and text settings; the notes do not count."""
    settings = {"video": as_json(provenance.video, "video"), "text": as_json(provenance.text, "text")}
    canonical = json.dumps(_numbers_unified(settings), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def differing_fields(a: Provenance, b: Provenance) -> list[str]:
    """One line per setting in which two provenances differ, e.g. "video.fps: 2.0 here, 4.0 there"; a is "here"."""
    here = _flat({"video": as_json(a.video, "video"), "text": as_json(a.text, "text")})
    there = _flat({"video": as_json(b.video, "video"), "text": as_json(b.text, "text")})
    lines = []
    for name in [*here, *(name for name in there if name not in here)]:
        one, other = here.get(name, _ABSENT), there.get(name, _ABSENT)
        if _comparable(one) != _comparable(other):
            lines.append(f"{name}: {_shown(name, one)} here, {_shown(name, other)} there")
    return lines


def _numbers_unified(value: Any) -> Any:
    """2.0 and 2 are one setting: whole floats become integers."""
    if isinstance(value, dict):
        return {key: _numbers_unified(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers_unified(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return int(value)
    return value


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names; an empty mapping stays a value so that its absence can be told."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and (value or not prefix):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _comparable(value: Any) -> str:
    # As text, because in Python True == 1 while in JSON they are two different settings.
    return "absent" if value is _ABSENT else json.dumps(_numbers_unified(value), sort_keys=True)


def _shown(name: str, value: Any) -> str:
    if value is _ABSENT:
        meant = _UNRECORDED.get(name.split(".")[-1])
        return f"absent ({meant})" if meant else "absent"
    text = value if isinstance(value, str) and value else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
