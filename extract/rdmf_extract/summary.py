"""What an extraction did, for the screen and the exit code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rdmf.store import Failure, QueryRecord, open_cache


@dataclass
class ExtractSummary:
    """What an extraction did.

    Attributes:
        cache: the file written.
        done: videos extracted in this run.
        skipped: videos that had features already.
        elsewhere: videos that other runs did meanwhile.
        failures: all asked-for videos without features, with the reason, those that failed in an earlier run and were
            not tried again included.
        rows: feature rows made in this run.
        seconds: wall-clock time.
        duration_differences: (vid, annotated, measured) seconds where the two differ by more than max(1 s, 2 %).
        missing: videos that queries ask about but for which no file was given.
        stopped: why the run ended early ("" where it did not).
        takeovers: (vid, reason) of this run's videos where PyAV took over from Decord after it had begun.
        made: whether the cache is there. A shard that ends before others leaves its parts beside it.
    """

    cache: Path
    done: int = 0
    skipped: int = 0
    elsewhere: int = 0
    failures: list[Failure] = field(default_factory=list)
    rows: int = 0
    seconds: float = 0.0
    duration_differences: list[tuple[str, float, float]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    stopped: str = ""
    takeovers: list[tuple[str, str]] = field(default_factory=list)
    made: bool = True


def duration_differences(
    cache: Path, queries: Sequence[QueryRecord], videos: Mapping[str, Path]
) -> list[tuple[str, float, float]]:
    """(vid, annotated, measured) seconds of the videos where they differ by more than max(1 s, 2 %)."""
    annotated = annotated_durations(queries)
    with open_cache(cache) as opened:
        pairs = [(vid, annotated.get(vid, math.nan), float(d)) for vid, d in zip(opened.vids, opened.durations)]
    return [(vid, a, m) for vid, a, m in pairs if vid in videos and abs(a - m) > max(1.0, 0.02 * a)]


def failures_of(failures: Mapping[str, str], videos: Mapping[str, Path]) -> list[Failure]:
    """The failures among these videos, in their order."""
    return [Failure(vid, failures[vid]) for vid in videos if vid in failures]


def annotated_durations(queries: Sequence[QueryRecord]) -> dict[str, float]:
    durations: dict[str, float] = {}
    for query in queries:
        if math.isfinite(query.duration):
            durations.setdefault(query.vid, query.duration)
    return durations
