"""With which settings `rdmf bench` trains and predicts: those the models were published with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rdmf.config import Config, load_config

BATCH = 32
#: So narrow, any model takes a step in a moment.
NARROW = {"model.hidden": 32, "train.batch": 4}


def preset_of(name: str) -> str:
    """A published model's own; RDMF's for QVHighlights, on which the others were published."""
    return "qvhighlights" if name == "rdmf" else name


def overrides_of(name: str, *, quick: bool, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What differs from the preset: one batch size, running average and hold-out for all, so that steps are alike."""
    common: dict[str, Any] = {"train.batch": BATCH, "train.ema": 0.99, "data.holdout": 0.0}
    return {**common, **(NARROW if quick else {}), **(extra or {})}


def settings_of(name: str, *, quick: bool, extra: Mapping[str, Any] | None = None) -> Config:
    """The whole configuration."""
    return load_config(preset_of(name), None, overrides_of(name, quick=quick, extra=extra))


def variants(models: list[str] | tuple[str, ...], *, quick: bool) -> dict[str, tuple[str, dict[str, Any]]]:
    """{label: (model, settings)}: RDMF with the paper's number of moment queries, and with few
    that start from segments alone."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for name in models:
        if name == "rdmf" and not quick:
            found["rdmf, 100 moment queries"] = (name, {"decoder.queries": 100})
            found["rdmf, 16 moment queries"] = (name, {"decoder.queries": 16, "decoder.runs": 0})
        else:
            found[name] = (name, {})
    return found
