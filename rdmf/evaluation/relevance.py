"""Which clips are relevant to a query, whatever form the annotation takes.

Annotators' saliency scores come first; a query with windows alone counts the clips whose centre lies in one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rdmf.evaluation.highlights import LEVELS, HighlightTable, annotator_scores, clip_seconds, durations, labelled
from rdmf.evaluation.records import Record
from rdmf.evaluation.tables import Bools, Floats, Ints, annotated_windows

# From this many annotators on, a score is held against that annotator's own median (TVSum has 20).
CROWD = 10


@dataclass(frozen=True)
class Relevance:
    """Binary clip labels of the queries that have any.

    Attributes:
        rows: (N,) which annotations they are.
        positive: (N, A, L) labels, False in the padding.
        columns: (N, A) which label columns are real (one where windows are all there is).
        n_clips: (N,) real clips.
    """

    rows: Ints
    positive: Bools
    columns: Bools
    n_clips: Ints


def relevance(annotations: Sequence[Record]) -> Relevance:
    """Clip labels of every annotation that has saliency scores or windows.

    Positive is, with annotators' scores: above 0 where no score exceeds 1; above the annotator's own median with 10
    annotators or more; else at least 4, the official "VeryGood". With windows: a clip centre in [start, end).

    Raises:
        InputError: malformed annotations, or one that needs a duration and has none.
    """
    scored = labelled(annotations)
    windows = annotated_windows(annotations)
    windowed = np.setdiff1d(np.flatnonzero(windows.counts), scored)
    rows = np.concatenate([scored, windowed]).astype(np.int64)

    by_score = annotator_scores(annotations, scored)
    seconds_a_clip = clip_seconds(annotations, windowed)
    length = np.ceil(durations(annotations, windowed) / seconds_a_clip - 1e-6).astype(np.int64)
    n_clips = np.concatenate([by_score.n_clips, np.maximum(length, 1)])
    width = max(1, int(n_clips.max(initial=1)))
    columns = max(1, by_score.scores.shape[1])

    positive = np.zeros((len(rows), columns, width), dtype=bool)
    positive[: len(scored), :, : by_score.scores.shape[2]] = _binary(by_score)
    bounds, present = windows.rows(windowed).padded(0.0)
    centre = (np.arange(width) + 0.5) * seconds_a_clip[:, None]  # (N, L) seconds
    for window in range(bounds.shape[1]):
        start, end = bounds[:, window, 0, None], bounds[:, window, 1, None]
        inside = (centre >= start) & (centre < end) & present[:, window, None]
        positive[len(scored) :, 0] |= inside & (np.arange(width) < np.maximum(length, 1)[:, None])

    real = np.zeros((len(rows), columns), dtype=bool)
    real[: len(scored), : by_score.scores.shape[1]] = by_score.annotators
    real[len(scored) :, 0] = True
    order = np.argsort(rows)
    return Relevance(rows[order], positive[order], real[order], n_clips[order])


def _binary(table: HighlightTable) -> Bools:
    """(N, A, L) labels from annotators' scores."""
    if table.scores.max(initial=0.0) <= 1:
        return table.scores > 0
    positive = table.scores >= LEVELS["VeryGood"]
    for row in np.flatnonzero(table.n_annotators >= CROWD):
        clips = table.scores[row, :, : table.n_clips[row]]
        positive[row, :, : table.n_clips[row]] = above_median(clips)
    return positive


def above_median(scores: Floats) -> Bools:
    """(..., L) whether each score is above the lower median of its row."""
    if scores.shape[-1] == 0:
        return np.zeros(scores.shape, dtype=bool)
    median = np.sort(scores, axis=-1)[..., (scores.shape[-1] - 1) // 2, None]
    above: Bools = scores > median
    return above
