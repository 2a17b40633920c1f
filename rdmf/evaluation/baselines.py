"""What can be had without looking at the video: the floor that a model must beat to have learnt anything from it.

The query-blind guess is one window for everything; the text-only guess one window for each sentence. Both are chosen on
training annotations, among windows given as fractions of the duration and windows given in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf.evaluation.highlights import clip_seconds, durations
from rdmf.evaluation.records import Record
from rdmf.evaluation.relevance import relevance
from rdmf.evaluation.summary import query_type
from rdmf.evaluation.tables import Floats, Ints, annotated_windows

GRID_STEPS = 40
OBSERVED_WINDOWS = 600
GUESSES = 10
PROFILE_BINS = 100
HIT_IOU = 0.5
_CELLS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Candidates:
    """Windows to choose from.

    Attributes:
        bounds: (C, 2) start and end.
        relative: (C,) True where the bounds are fractions of the duration, False where they are seconds.
    """

    bounds: Floats
    relative: NDArray[np.bool_]

    def seconds(self, which: Ints, duration_seconds: Any) -> tuple[Any, Any]:
        """Starts and ends (K, N) of windows `which` in seconds, cut to each of N durations.

        A window that would be empty, as one in seconds beyond the end of a short video, becomes the whole video.
        """
        scale = np.where(self.relative[which, None], duration_seconds, np.ones_like(duration_seconds))
        bounds = self.bounds[which].astype(duration_seconds.dtype)
        start = np.minimum(bounds[:, :1] * scale, duration_seconds)
        end = np.minimum(bounds[:, 1:] * scale, duration_seconds)
        empty = end <= start
        return np.where(empty, 0, start), np.where(empty, duration_seconds, end)


@dataclass(frozen=True)
class Guess:
    """What to answer without having looked.

    Attributes:
        windows: candidate indices, best first.
        shares: for each, the share of training queries it newly answers; never rising.
        profile: (PROFILE_BINS,) mean relevance over relative time, from 0 at the start to 1 at the end.
    """

    windows: Ints
    shares: Floats
    profile: Floats


class _Training:
    """Training annotations with every candidate's IoU with them, worked out once."""

    def __init__(self, annotations: Sequence[Record]) -> None:
        windows = annotated_windows(annotations)
        self.rows = np.flatnonzero(windows.counts)
        # Where nobody marked a window (highlight datasets), all there is to answer is the whole video.
        self.candidates = Candidates(np.array([[0.0, 1.0]]), np.array([True]))
        self.iou = np.zeros((1, 0), dtype=np.float32)
        if self.rows.size:
            kept = windows.rows(self.rows)
            seconds = durations(annotations, self.rows)
            first = np.cumsum(kept.counts) - kept.counts
            self.candidates = _candidates(kept.values, seconds[kept.row_of], float(seconds.max()))
            self.iou = _best_iou(self.candidates, kept.values, seconds[kept.row_of], first)

        labels = relevance(annotations)
        centre = (np.arange(PROFILE_BINS) + 0.5) / PROFILE_BINS
        clip = (centre * labels.n_clips[:, None]).astype(np.int64)  # (N, bins), below n_clips
        by_clip = labels.positive.sum(axis=1) / labels.columns.sum(axis=1)[:, None]
        self.profiles = np.full((len(annotations), PROFILE_BINS), np.nan)
        self.profiles[labels.rows] = np.take_along_axis(by_clip, clip, axis=1)
        self.column = {int(row): column for column, row in enumerate(self.rows)}
        self.anything = self._best(np.arange(len(self.rows)), self.profiles)

    def guess(self, rows: Sequence[int]) -> Guess | None:
        """The best windows and mean relevance for the annotations at `rows`; None where there are none."""
        if not rows:
            return None
        columns = [self.column[row] for row in rows if row in self.column]
        return self._best(np.array(columns, dtype=np.int64), self.profiles[list(rows)])

    def _best(self, columns: Ints, profiles: Floats) -> Guess:
        """Windows chosen for the queries at `columns` of the IoU table.

        The first has the highest R1@0.5, then the highest mean IoU. Each further one answers the most queries that
        those before it leave unanswered, so that R5 is what guessing can reach too.
        """
        known = profiles[np.isfinite(profiles[:, 0])]
        profile = known.mean(axis=0) if len(known) else np.zeros(PROFILE_BINS)
        if not columns.size:
            return Guess(np.zeros(1, dtype=np.int64), np.zeros(1), profile)
        iou = self.iou[:, columns]
        mean_iou = iou.mean(axis=1)
        hits = iou >= HIT_IOU
        unanswered = np.ones(len(columns), dtype=bool)
        chosen: list[int] = []
        shares: list[float] = []
        while len(chosen) < GUESSES:
            share = hits[:, unanswered].sum(axis=1) / len(columns)
            best = int(np.lexsort((mean_iou, share))[-1])
            if chosen and share[best] == 0:
                break
            chosen.append(best)
            shares.append(float(share[best]))
            unanswered &= ~hits[best]
        return Guess(np.array(chosen), np.array(shares), profile)


def _candidates(windows: Floats, duration: Floats, longest: float) -> Candidates:
    """An even grid in both units, and windows that occur, in both units."""
    grid = np.array([(i, j) for i in range(GRID_STEPS) for j in range(i + 1, GRID_STEPS + 1)]) / GRID_STEPS
    order = np.lexsort((windows[:, 1], windows[:, 0]))
    seen = order[np.unique(np.linspace(0, len(order) - 1, OBSERVED_WINDOWS).astype(np.int64))]
    fractions = np.concatenate([grid, windows[seen] / duration[seen, None]])
    seconds = np.concatenate([grid * longest, windows[seen]])
    return Candidates(np.concatenate([fractions, seconds]), np.arange(2 * len(fractions)) < len(fractions))


def _best_iou(candidates: Candidates, windows: Floats, duration: Floats, first: Ints) -> NDArray[np.float32]:
    """(C, N) each candidate's IoU with the nearest window of each query, whose windows start at `first`."""
    parts = []
    # Single precision: these numbers only choose among guesses.
    left, right, length = (values.astype(np.float32) for values in (windows[:, 0], windows[:, 1], duration))
    for block in _blocks(len(candidates.bounds), max(1, _CELLS_AT_ONCE // len(windows))):
        start, end = candidates.seconds(block, length)  # (B, W)
        shared = np.minimum(end, right) - np.maximum(start, left)
        hull = np.maximum(end, right) - np.minimum(start, left)  # above 0: no candidate is empty
        parts.append(np.maximum.reduceat(np.maximum(shared, 0) / hull, first, axis=1))
    return np.concatenate(parts)


def _blocks(count: int, size: int) -> Iterator[Ints]:
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def query_blind_baseline(train_annotations: Sequence[Record], eval_annotations: Sequence[Record]) -> list[Record]:
    """Prediction records that give every query the same answer, chosen on the training annotations.

    The first window is the best single one by R1@0.5, then by mean IoU; up to nine more cover what it misses. Saliency
    is the mean relevance over relative time.

    Raises:
        InputError: malformed annotations, or one that lacks a duration.
    """
    return _query_blind(_Training(train_annotations), eval_annotations)


def query_blind_oracle(eval_annotations: Sequence[Record]) -> list[Record]:
    """The query-blind baseline chosen on the very annotations it is scored on: the most that such a guess could reach.

    Raises:
        InputError: malformed annotations, or one that lacks a duration.
    """
    return query_blind_baseline(eval_annotations, eval_annotations)


def text_only_baseline(train_annotations: Sequence[Record], eval_annotations: Sequence[Record]) -> list[Record]:
    """Prediction records that answer each sentence with the best windows that sentence had in training.

    A sentence not seen in training takes its query type's windows; a type not seen, those of the query-blind baseline.

    Raises:
        InputError: malformed annotations, or one that lacks a duration.
    """
    return _text_only(_Training(train_annotations), train_annotations, eval_annotations)


def both_baselines(
    train_annotations: Sequence[Record], eval_annotations: Sequence[Record]
) -> tuple[list[Record], list[Record]]:
    """`query_blind_baseline` and `text_only_baseline`, sharing the work they have in common.

    Raises:
        InputError: malformed annotations, or one that lacks a duration.
    """
    training = _Training(train_annotations)
    return _query_blind(training, eval_annotations), _text_only(training, train_annotations, eval_annotations)


def _query_blind(training: _Training, annotations: Sequence[Record]) -> list[Record]:
    return _records(training.candidates, [training.anything] * len(annotations), annotations)


def _text_only(training: _Training, train: Sequence[Record], annotations: Sequence[Record]) -> list[Record]:
    groups: dict[tuple[str, str], list[int]] = {}
    for row, record in enumerate(train):
        for key in _keys(record):
            groups.setdefault(key, []).append(row)
    known: dict[tuple[str, str], Guess | None] = {}
    guesses = []
    for record in annotations:
        guess = None
        for key in _keys(record):
            if guess is None:
                if key not in known:
                    known[key] = training.guess(groups.get(key, []))
                guess = known[key]
        guesses.append(guess or training.anything)
    return _records(training.candidates, guesses, annotations)


def _keys(record: Record) -> list[tuple[str, str]]:
    """What a query can be recognised by, most telling first: its sentence, then its type."""
    sentence = " ".join(str(record.get("query", "")).lower().split()).rstrip(".")
    return [(name, key) for name, key in (("sentence", sentence), ("type", query_type(record))) if key]


def _records(candidates: Candidates, guesses: Sequence[Guess], annotations: Sequence[Record]) -> list[Record]:
    rows = np.arange(len(annotations))
    seconds, clip = durations(annotations, rows), clip_seconds(annotations, rows)
    n_clips = np.maximum(1, np.ceil(seconds / clip - 1e-6).astype(np.int64))
    records = []
    for row, (record, guess) in enumerate(zip(annotations, guesses, strict=True)):
        start, end = candidates.seconds(guess.windows, seconds[row : row + 1])  # (K, 1) each
        centre = (np.arange(n_clips[row]) + 0.5) / n_clips[row]
        records.append(
            {
                "qid": record["qid"],
                "query": record.get("query", ""),
                "vid": record.get("vid", ""),
                "pred_relevant_windows": np.column_stack([start, end, guess.shares]).tolist(),
                "pred_saliency_scores": guess.profile[(centre * PROFILE_BINS).astype(np.int64)].tolist(),
            }
        )
    return records
