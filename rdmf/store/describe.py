"""A summary of a cache in JSON values: what `rdmf features info` prints. Reads no features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rdmf.store.cache import Cache, open_cache
from rdmf.store.header import SCHEMA
from rdmf.store.records import Array

# The timeline of so many rows is enough to tell the step and length of a window.
_ROWS_SAMPLED = 100_000


def describe(path: str | Path) -> dict[str, Any]:
    """Counts, sizes, timeline, splits, coverage, provenance and failures of a cache.

    Durations are in seconds; a number that does not exist (the step of an empty cache, say) is None.

    Raises:
        InputError: as `open_cache`.
    """
    with open_cache(path) as cache:
        return {
            "path": str(cache.path),
            "kind": cache.about["kind"],
            "schema": SCHEMA,
            "created": cache.about["created"],
            "writer": cache.about["writer"],
            "fingerprint": cache.fingerprint,
            "bytes": _bytes(cache),
            "parts": [str(file.path) for file in cache.data_files] if cache.is_index else [],
            "feature_dtype": cache.feature_dtype.name,
            "video": _video(cache),
            "text": {"sentences": cache.n_texts, "tokens": cache.n_tokens, "dim": cache.d_text},
            "queries": _queries(cache),
            "missing_videos": cache.missing_videos(),
            "failures": [{"vid": failure.vid, "reason": failure.reason} for failure in cache.failures],
            "provenance": {"video": cache.provenance.video, "text": cache.provenance.text},
            "notes": cache.provenance.notes,
        }


def _bytes(cache: Cache) -> int:
    parts = sum(file.n_bytes for file in cache.data_files) if cache.is_index else 0
    return cache.path.stat().st_size + parts


def _video(cache: Cache) -> dict[str, Any]:
    offsets = cache.row_offsets
    sampled = int(np.searchsorted(offsets, _ROWS_SAMPLED, side="right")) - 1
    sampled = min(max(sampled, 1), cache.n_videos)
    times = cache.times_rows(0, int(offsets[sampled]))
    inside = np.ones(max(0, len(times) - 1), bool)
    inside[offsets[1:sampled] - 1] = False  # from one video's last row to the next one's first is no step
    rows = np.diff(offsets)
    annotated = cache.annotated_durations
    differences = np.abs(annotated - cache.durations)[np.isfinite(annotated)]
    return {
        "videos": cache.n_videos,
        "rows": cache.n_rows,
        "dim": cache.d_video,
        "rows_a_video": {
            "least": _number(rows, np.min),
            "median": _number(rows, np.median),
            "most": _number(rows, np.max),
        },
        "seconds": float(cache.durations.sum()),
        "step_seconds": _number(np.diff(times[:, 0])[inside], np.median),
        "window_seconds": _number(times[:, 1] - times[:, 0], np.median),
        "decoders": _decoders(cache),
        "padded": int(cache.padded.sum()),
        "partly_recovered": int((cache.recovered < 1).sum()),
        "worst_duration_difference_seconds": _number(differences, np.max),
    }


def _decoders(cache: Cache) -> dict[str, int]:
    """How many videos each decoder gave."""
    names = cache.columns.strings("video/decoder_name")
    counts = np.bincount(cache.columns.array("video/decoder_code"), minlength=len(names))
    return {name: count for name, count in zip(names, counts.tolist(), strict=True) if count}


def _queries(cache: Cache) -> dict[str, Any]:
    queries = cache.queries
    missing = queries.video_index < 0
    splits = {}
    for code, name in enumerate(queries.split_names):
        chosen = queries.split_codes == code
        splits[name] = {
            "queries": int(chosen.sum()),
            "videos": int(
                np.bincount(queries.video_index[chosen & ~missing], minlength=cache.n_videos).astype(bool).sum()
            ),
            "queries_without_video": int((chosen & missing).sum()),
            "queries_with_windows": int((chosen & (np.diff(queries.window_offsets) > 0)).sum()),
            "queries_with_saliency": int((chosen & (np.diff(queries.saliency_offsets) > 0)).sum()),
        }
    kinds = {name: int((queries.kind_codes == code).sum()) for code, name in enumerate(queries.kind_names)}
    return {
        "queries": len(queries),
        "windows": cache.columns.shape("query/windows")[0],
        "annotators": int(queries.n_annotators.max(initial=0)),
        "splits": splits,
        "kinds": kinds,
    }


def _number(values: Array, statistic: Any) -> float | None:
    return float(statistic(values)) if len(values) else None
