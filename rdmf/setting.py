"""How one setting is declared: a dataclass field with its help text, choices and range."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(
    default: Any, help_text: str, *, choices: tuple[Any, ...] = (), low: float | None = None, high: float | None = None
) -> Any:
    """A field that knows its help text, its allowed values and its range (inclusive)."""
    return field(default=default, metadata={"help": help_text, "choices": choices, "low": low, "high": high})
