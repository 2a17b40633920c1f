"""Datasets by name."""

from __future__ import annotations

import difflib
from pathlib import Path

from rdmf.store.errors import InputError
from rdmf_pipelines.datasets import activitynet, charades, qvhighlights
from rdmf_pipelines.datasets.plan import DatasetPlan
from rdmf_pipelines.datasets.source import Source

SOURCES: dict[str, Source] = {
    source.name: source for source in (charades.SOURCE, qvhighlights.SOURCE, activitynet.SOURCE)
}


def load_dataset(name: str, annotations: Path | None = None, videos: Path | None = None) -> DatasetPlan:
    """Read a known dataset's annotations in their published form and find its videos.

    Args:
        name: one of `SOURCES`.
        annotations: folder, default `data/NAME/annotations` under the working directory.
        videos: folder tree, default `data/NAME/videos`.

    Raises:
        InputError: an unknown name (with the nearest known one), missing files, malformed files.
    """
    if name not in SOURCES:
        nearest = difflib.get_close_matches(name.lower(), SOURCES, n=1, cutoff=0.4)
        hint = f"did you mean '{nearest[0]}'? " if nearest else ""
        raise InputError(
            f"unknown dataset '{name}'; {hint}known are {', '.join(SOURCES)}; for your own videos use --manifest"
        )
    return SOURCES[name].load(annotations, videos)
