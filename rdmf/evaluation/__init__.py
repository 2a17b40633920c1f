"""Scoring predictions: the official moment-retrieval and highlight metrics, baselines, and paired significance.

Nothing here needs torch; the functions load on first use, so that scoring a prediction file starts at once.

    from rdmf.evaluation import evaluate, moment_metrics, saliency_metrics, query_blind_baseline
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "evaluate": "official",
    "evaluate_with_coverage": "official",
    "moment_metrics": "summary",
    "saliency_metrics": "summary",
    "per_query": "summary",
    "metrics_by_type": "summary",
    "query_blind_baseline": "baselines",
    "text_only_baseline": "baselines",
    "query_blind_oracle": "baselines",
    "both_baselines": "baselines",
    "tvsum_metrics": "tvsum",
    "youtube_metrics": "tvsum",
    "paired_t_test": "significance",
    "bootstrap_interval": "significance",
    "read_jsonl": "records",
    "write_jsonl": "records",
    "annotations_from_cache": "records",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
