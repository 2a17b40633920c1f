"""The precisions that networks may compute in, and how caches tell it. Loads no torch; `compute` does the computing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
"""What a user may choose; what "auto" means on a device, `rdmf_extract.encoders.compute.choose_precision` says."""

FIELD = "precision"


def recorded(precision: str) -> dict[str, str]:
    """What an encoder's provenance holds of its precision ("auto" resolved): nothing for float32.

    Caches were made in float32 before there was a choice, and their fingerprints are to stay as they are.
    """
    return {} if precision == "float32" else {FIELD: precision}


def precision_of(settings: Mapping[str, Any]) -> str:
    """The precision that features with these settings (a provenance's video or text) were computed in."""
    return str(settings.get(FIELD, "float32"))
