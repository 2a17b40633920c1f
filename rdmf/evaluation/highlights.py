"""Highlight detection: how well predicted saliency ranks the clips that annotators scored.

A clip is `clip_length` seconds of video (2 in QVHighlights); clip i covers [i, i + 1) * clip_length seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from rdmf.evaluation.average_precision import ranking_ap
from rdmf.evaluation.records import Record, where
from rdmf.evaluation.tables import Bools, Floats, Ints, Ragged, column
from rdmf.store.errors import InputError

CLIP_SECONDS = 2.0
# Lowest annotator score (0 to 4) that counts as a positive clip, by the official names.
LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class HighlightTable:
    """What annotators said of the clips of N queries.

    Attributes:
        scores: (N, A, L) annotators' scores, 0 where unlabelled.
        n_annotators: (N,) real columns among the A.
        n_clips: (N,) real clips among the L.
    """

    scores: Floats
    n_annotators: Ints
    n_clips: Ints

    @property
    def annotators(self) -> Bools:
        """(N, A) which columns are real."""
        present: Bools = np.arange(self.scores.shape[1]) < self.n_annotators[:, None]
        return present


def labelled(records: Sequence[Record]) -> Ints:
    """Indices of the annotations that carry annotators' saliency scores."""
    return np.array([i for i, record in enumerate(records) if record.get("saliency_scores")], dtype=np.int64)


def clip_seconds(records: Sequence[Record], rows: Ints) -> Floats:
    """(R,) seconds a clip of the annotations at `rows`: their clip_length, or 2.

    Raises:
        InputError: a clip_length that is not a positive number.
    """
    values = [records[row].get("clip_length") for row in rows]
    for row, value in zip(rows, values, strict=True):
        if value is not None and not _positive(value):
            raise InputError(
                f"{where(records, int(row), 'annotation')}: clip_length must be a positive number of seconds"
            )
    return np.array([CLIP_SECONDS if value is None else value for value in values], dtype=np.float64)


def durations(records: Sequence[Record], rows: Ints) -> Floats:
    """(R,) seconds of video of the annotations at `rows`.

    Raises:
        InputError: a duration that is absent or not a positive number.
    """
    values = [records[row].get("duration") for row in rows]
    for row, value in zip(rows, values, strict=True):
        if not _positive(value):
            raise InputError(f"{where(records, int(row), 'annotation')}: duration must be a positive number of seconds")
    return np.array(values, dtype=np.float64)


def _positive(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < float("inf")  # type: ignore[operator]


def annotator_scores(records: Sequence[Record], rows: Ints) -> HighlightTable:
    """The label matrices of the annotations at `rows`: int(duration / clip_length) clips, 0 where unlabelled.

    A last clip that the duration cuts short counts only where annotators scored it (the official script stops there).

    Raises:
        InputError: clip ids and scores that do not pair up, are not numbers, or lie beyond the video.
    """
    index = rows.tolist()
    in_clips = durations(records, rows) / clip_seconds(records, rows)
    n_clips = in_clips.astype(np.int64)
    clip_cells = [records[row].get("relevant_clip_ids") for row in index]
    score_cells = [records[row]["saliency_scores"] for row in index]
    shape = "relevant_clip_ids must be a list of clip numbers"
    clips = column(records, index, clip_cells, None, what="annotation", shape=shape)
    shape = "saliency_scores must hold one list of annotators' scores, all as long, for each of relevant_clip_ids"
    for row, scores, count in zip(index, score_cells, clips.counts.tolist(), strict=True):
        if type(scores) is not list or len(scores) != count or _ragged(scores):
            raise InputError(f"{where(records, row, 'annotation')}: {shape}")
    n_annotators = np.array([len(scores[0]) for scores in score_cells], dtype=np.int64)
    flat = [list(chain.from_iterable(scores)) for scores in score_cells]
    values = column(records, index, flat, None, what="annotation", shape=shape)

    clip, owner = clips.values.astype(np.int64), clips.row_of
    np.maximum.at(n_clips, owner, np.minimum(clip + 1, np.ceil(in_clips).astype(np.int64)[owner]))
    beyond = np.flatnonzero((clip != clips.values) | (clip < 0) | (clip >= n_clips[owner]))
    if beyond.size:
        row = owner[beyond[0]]
        raise InputError(
            f"{where(records, index[row], 'annotation')}: relevant_clip_ids holds {clips.values[beyond[0]]:g}, but its "
            f"video has clips 0 to {n_clips[row] - 1}"
        )
    matrix = np.zeros((len(rows), int(n_annotators.max(initial=1)), max(1, int(n_clips.max(initial=1)))))
    # One annotation's cells stand clip by clip, annotator by annotator.
    annotator = np.arange(len(values.values)) - np.repeat(np.cumsum(values.counts) - values.counts, values.counts)
    annotator %= n_annotators[values.row_of]
    matrix[values.row_of, annotator, np.repeat(clip, n_annotators[owner])] = values.values
    return HighlightTable(matrix, n_annotators, n_clips)


def _ragged(scores: list[object]) -> bool:
    """Whether the clips' scores are not lists of one common length, at least 1."""
    return not all(type(cell) is list for cell in scores) or len({len(cell) for cell in scores} - {0}) != 1  # type: ignore[arg-type]


def hit_at_one(saliency: Ragged, positive: Bools, n_clips: Ints) -> Bools:
    """(N,) whether the clip of highest predicted saliency (the first on ties) is positive for any annotator.

    Args:
        saliency: N rows of predicted scores; a row may be longer or shorter than the labels.
        positive: (N, A, L) labels.
        n_clips: (N,) real clips; a best clip beyond them is a miss.
    """
    scores, _ = saliency.padded(-np.inf)
    best = scores.argmax(axis=1)
    inside = (best < n_clips) & (saliency.counts > 0)
    any_annotator = np.asarray(positive.any(axis=1))
    hits: Bools = inside & any_annotator[np.arange(len(best)), np.where(inside, best, 0)]
    return hits


def saliency_ap(saliency: Ragged, positive: Bools, n_clips: Ints) -> Floats:
    """(N, A) ranking AP of each query and label column; predictions are cut or zero-padded to the labels."""
    n, columns, width = positive.shape
    scores, _ = saliency.padded(0.0)
    fitted = np.zeros((n, width))
    shared = min(width, scores.shape[1])
    fitted[:, :shared] = scores[:, :shared]
    ap = np.empty((n, columns))
    for start in range(0, n, _ROWS_AT_ONCE):  # bounds memory, and stays inside the processor's cache
        part = slice(start, start + _ROWS_AT_ONCE)
        ap[part] = ranking_ap(fitted[part], positive[part], n_clips[part])
    return ap
