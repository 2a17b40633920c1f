"""One setting: how it is declared, how its value is read, what it may be."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import Field, field
from typing import Any

from rdmf.store import InputError


def setting(
    default: Any, help_text: str, *, choices: tuple[Any, ...] = (), low: float | None = None, high: float | None = None
) -> Any:
    """A field that knows its help text, its allowed values and its range (inclusive)."""
    return field(default=default, metadata={"help": help_text, "choices": choices, "low": low, "high": high})


def nearest(name: str, known: Sequence[str]) -> str:
    """'; did you mean X?' for the closest known name, comparing also without the section."""
    by_tail = {k.split(".")[-1]: k for k in known}
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    close = close or [
        by_tail[t] for t in difflib.get_close_matches(name.split(".")[-1], list(by_tail), n=1, cutoff=0.5)
    ]
    return f" (did you mean '{close[0]}'?)" if close else ""


def convert(name: str, value: Any, kind: Any) -> Any:
    """YAML's value as the field's type; YAML 1.1 reads 1e-3 as a string, so numbers are parsed again.

    Raises:
        InputError: the value is of another type.
    """
    try:
        if kind is bool:
            if not isinstance(value, bool):
                raise ValueError
            return value
        if kind is int:
            if isinstance(value, bool) or float(value) != int(float(value)):
                raise ValueError
            return int(float(value))
        if kind is float:
            if isinstance(value, bool):
                raise ValueError
            return float(value)
        if kind is str:
            return "" if value is None else str(value)
        items = value if isinstance(value, (list, tuple)) else str(value).split(",")
        return tuple(float(v) for v in items)
    except (TypeError, ValueError, OverflowError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "a list of numbers")
        raise InputError(f"{name}={value!r}: expected {expected}") from None


def check(name: str, value: Any, f: Field[Any]) -> None:
    """Refuse a value that the setting's choices or range do not allow (InputError)."""
    choices, low, high = f.metadata["choices"], f.metadata["low"], f.metadata["high"]
    if choices and value not in choices:
        raise InputError(
            f"{name}='{value}'{nearest(str(value), choices)}: choose one of {', '.join(map(str, choices))}"
        )
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            if not abs(number) < float("inf"):
                raise InputError(f"{name}={number}: must be finite")
            if (low is not None and number < low) or (high is not None and number > high):
                span = f"at least {low}" if high is None else f"between {low} and {high}"
                raise InputError(f"{name}={number}: must be {span}")
