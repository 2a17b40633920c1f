"""Which preset a cache is trained with where none is named: another dataset's settings cost many points unnoticed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rdmf.config import presets


def dataset_of(notes: Mapping[str, Any]) -> str | None:
    """The dataset that a cache says it is of, as its preset is called; None where there is no such preset.

    Extraction notes the recipe that read the annotations, import the name of the cache; a fold is called after its
    dataset (salads50-fold3).

    Args:
        notes: of the cache's provenance.
    """
    said = str(notes.get("recipe", notes.get("dataset", "")))
    named = [name for name in presets() if said == name or said.startswith(f"{name}-")]
    return max(named, key=len, default=None)


def preset_for(dataset: str | None, model: str) -> str | None:
    """The preset for a dataset D and a model M: D for RDMF; for a published model D-M, or M, its authors' own."""
    wanted = [dataset] if model == "rdmf" else [f"{dataset}-{model}", model]
    return next((name for name in wanted if name in presets()), None)
