"""What a demo found on its held-out videos, read back from the files that its steps wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdmf_pipelines.demo.steps import Place

HIT = 0.5
"""IoU from which the first answer counts as found (R1@0.5)."""


@dataclass(frozen=True)
class Example:
    """One held-out query with its answer: annotation row, prediction row, and the IoU of the first moment."""

    query: dict[str, Any]
    answer: dict[str, Any]
    iou: float


@dataclass(frozen=True)
class Results:
    """Everything that the report shows.

    Attributes:
        examples: every held-out query, best answered first (ties in order of the query id).
        metrics: the JSON of `rdmf eval`. history: one dict an epoch. train_queries, train_videos: how many.
    """

    examples: tuple[Example, ...]
    metrics: dict[str, Any]
    history: tuple[dict[str, Any], ...]
    train_queries: int
    train_videos: int

    def spread(self, count: int) -> list[Example]:
        """`count` examples at equal steps of the ranking, the best and the worst among them: nobody's choice."""
        last = len(self.examples) - 1
        places = sorted({round(i * last / max(count - 1, 1)) for i in range(count)})
        return [self.examples[i] for i in places]

    def showcase(self) -> dict[str, Any]:
        """The first held-out query about a composition that no training video shows (else the first of all)."""
        queries = sorted((e.query for e in self.examples), key=lambda q: int(q["qid"]))
        return next((q for q in queries if q["type"].endswith("(new)")), queries[0])

    @property
    def found(self) -> int:
        """Queries whose first answer overlaps a true window by at least `HIT`."""
        return sum(e.iou >= HIT for e in self.examples)


def read_results(place: Place) -> Results:
    """Read queries, predictions, metrics and training history."""
    queries = _json_lines(place.queries.read_text(encoding="utf-8"))
    held_out = {q["qid"]: q for q in queries if q["split"] == "test"}
    learnt = [q for q in queries if q["split"] == "train"]
    answers = _json_lines(place.predictions.read_text(encoding="utf-8"))
    examples = [Example(held_out[a["qid"]], a, first_iou(a, held_out[a["qid"]])) for a in answers]
    return Results(
        examples=tuple(sorted(examples, key=lambda e: (-e.iou, e.query["qid"]))),
        metrics=json.loads(place.metrics.read_text(encoding="utf-8")),
        history=tuple(_json_lines((place.run / "metrics.jsonl").read_text(encoding="utf-8"))),
        train_queries=len(learnt),
        train_videos=len({q["vid"] for q in learnt}),
    )


def first_iou(answer: dict[str, Any], query: dict[str, Any]) -> float:
    """IoU of the first predicted moment with the true window that it overlaps most; 0 where nothing is predicted."""
    found: Sequence[Sequence[float]] = answer["pred_relevant_windows"]
    if not found:
        return 0.0
    return max(iou(found[0], true) for true in query["relevant_windows"])


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two intervals (start, end, ...) in seconds."""
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return float(shared / ((a[1] - a[0]) + (b[1] - b[0]) - shared))


def _json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]
