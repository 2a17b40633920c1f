"""Prediction and annotation records as arrays: checked once, then every metric is array arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf.evaluation.records import Record, where
from rdmf.store.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths laid end to end.

    Attributes:
        values: (sum of counts, ...) the rows' items in order.
        counts: (N,) items a row.
    """

    values: NDArray[Any]
    counts: Ints

    def __post_init__(self) -> None:
        if int(self.counts.sum()) != len(self.values):
            raise ValueError(f"counts add up to {int(self.counts.sum())} but there are {len(self.values)} values")

    def padded(self, fill: float, limit: int | None = None) -> tuple[NDArray[Any], Bools]:
        """The rows as one rectangle: ((N, width, ...) values, (N, width) True where real); width is at least 1.

        Args:
            fill: what stands in the padding.
            limit: keep only the first `limit` items of each row.
        """
        width = max(1, int(self.counts.max(initial=0)))
        present = np.arange(width) < self.counts[:, None]
        rectangle = np.full((len(self.counts), width, *self.values.shape[1:]), fill, dtype=self.values.dtype)
        rectangle[present] = self.values
        return rectangle[:, :limit], present[:, :limit]

    def rows(self, index: Ints) -> Ragged:
        """The rows at `index`, in that order."""
        counts = self.counts[index]
        first = (np.cumsum(self.counts) - self.counts)[index]
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        return Ragged(self.values[np.repeat(first, counts) + within], counts)

    @property
    def row_of(self) -> Ints:
        """(sum of counts,) which row each value belongs to."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


def numbers(rows: Sequence[Any], width: int | None) -> Ragged | None:
    """Rows of numbers (width None), or rows of `width`-tuples of numbers, as float64; None where anything else is.

    JSON's true and false are not numbers here, nor are strings that look like numbers.
    """
    if any(type(row) is not list and type(row) is not tuple for row in rows):
        return None
    counts = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    flat: Iterable[Any] = chain.from_iterable(rows)
    if width is not None:
        items = list(flat)
        if any((type(item) is not list and type(item) is not tuple) or len(item) != width for item in items):
            return None
        flat = chain.from_iterable(items)
    cells = list(flat)
    kinds = set(map(type, cells)) - {int, float}
    if any(kind is bool or not issubclass(kind, (int, float, np.floating, np.integer)) for kind in kinds):
        return None
    try:
        values = np.array(cells, dtype=np.float64)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return Ragged(values if width is None else values.reshape(-1, width), counts)


def column(
    records: Sequence[Record], rows: Sequence[int], cells: Sequence[Any], width: int | None, *, what: str, shape: str
) -> Ragged:
    """One field of many records as float64 rows.

    Args:
        records: the records, for errors.
        rows: which record each cell belongs to.
        cells: the field's values; null counts as empty.
        width: None for plain numbers, else the length of the tuples in the field.
        what: what a record is, for errors ("prediction").
        shape: the field's name and the form it should have, for errors ("x must be a list of numbers").

    Raises:
        InputError: naming the first record whose field is of another form, or holds NaN or infinity.
    """
    cells = [() if cell is None else cell for cell in cells]
    table = numbers(cells, width)
    if table is not None and np.isfinite(table.values).all():
        return table
    for row, cell in zip(rows, cells, strict=True):
        alone = numbers([cell], width)
        if alone is None:
            raise InputError(f"{where(records, row, what)}: {shape}")
        if not np.isfinite(alone.values).all():
            raise InputError(f"{where(records, row, what)}: NaN or infinity; {shape}")
    raise AssertionError("every cell is well-formed alone but not together")


@dataclass(frozen=True)
class PredictionTable:
    """Predictions in file order.

    Attributes:
        qids: (N,) query ids.
        windows: N rows of (start, end, score), seconds, in file order; None where no record has the field.
        saliency: N rows of scores, one a clip; None where no record has the field.
    """

    qids: list[int | str]
    windows: Ragged | None
    saliency: Ragged | None

    @classmethod
    def parse(cls, records: Sequence[Record]) -> PredictionTable:
        """Check and convert prediction records.

        Raises:
            InputError: no records, a record without an id, an id twice, a field of a wrong form, NaN, or a field that
                only some records have.
        """
        qids = read_qids(records, "prediction")
        windows = saliency = None
        if _has(records, "pred_relevant_windows"):
            shape = "pred_relevant_windows must be a list of [start, end, score], in seconds"
            cells = [record["pred_relevant_windows"] for record in records]
            windows = column(records, range(len(records)), cells, 3, what="prediction", shape=shape)
        if _has(records, "pred_saliency_scores"):
            shape = "pred_saliency_scores must be a list of numbers, one a clip"
            cells = [record["pred_saliency_scores"] for record in records]
            saliency = column(records, range(len(records)), cells, None, what="prediction", shape=shape)
        if windows is None and saliency is None:
            start = where(records, 0, "prediction")
            raise InputError(f"{start}: neither pred_relevant_windows nor pred_saliency_scores, nothing to score")
        return cls(qids, windows, saliency)


def read_qids(records: Sequence[Record], what: str) -> list[int | str]:
    """The query ids of `records`, which must be there, be int or str, and be distinct.

    Raises:
        InputError: naming the record at fault.
    """
    if not records:
        raise InputError(f"no {what}s: nothing to score")
    qids: list[int | str] = []
    seen: set[int | str] = set()
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            raise InputError(f"{what} {index}: expected an object with a qid, got {type(record).__name__}")
        qid = record.get("qid")
        if type(qid) is not int and type(qid) is not str:
            raise InputError(f"{where(records, index, what)}: qid must be an integer or a string")
        if qid in seen:
            raise InputError(f"{where(records, index, what)}: this qid stands twice")
        seen.add(qid)
        qids.append(qid)
    return qids


def _has(records: Sequence[Record], key: str) -> bool:
    """Whether every record (True) or none (False) has `key`."""
    present = [key in record for record in records]
    if not any(present):
        return False
    if not all(present):
        index = present.index(False)
        raise InputError(f"{where(records, index, 'prediction')}: no {key}, which other predictions have")
    return True


def match(predicted: Sequence[int | str], annotated: Sequence[int | str], *, allow_partial: bool) -> tuple[Ints, Ints]:
    """Which prediction answers which annotation: (K,) indices into both, in the order of the predictions.

    Raises:
        InputError: the ids differ (naming how) and `allow_partial` is off, or there is none in common.
    """
    position = {qid: index for index, qid in enumerate(annotated)}
    pairs = [(index, position[qid]) for index, qid in enumerate(predicted) if qid in position]
    if len(pairs) != len(predicted) or len(pairs) != len(annotated):
        known = set(predicted)
        unanswered = [qid for qid in annotated if qid not in known]
        foreign = [qid for qid in predicted if qid not in position]
        parts = []
        if unanswered:
            parts.append(f"{len(unanswered)} annotated but not predicted ({_some(unanswered)})")
        if foreign:
            parts.append(f"{len(foreign)} predicted but not annotated ({_some(foreign)})")
        difference = "; ".join(parts)
        if not pairs:
            hint = ""
            if {str(qid) for qid in predicted} & {str(qid) for qid in annotated}:
                hint = "; ids match as text: one file has numbers where the other has strings"
            raise InputError(f"predictions and annotations share no qid: {difference}{hint}")
        if not allow_partial:
            raise InputError(f"qids differ: {difference}; --allow-partial scores the {len(pairs)} in both")
    indices = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return indices[:, 0], indices[:, 1]


def _some(qids: Sequence[int | str], limit: int = 3) -> str:
    shown = ", ".join(repr(qid) for qid in qids[:limit])
    return shown + (", ..." if len(qids) > limit else "")


def annotated_windows(records: Sequence[Record]) -> Ragged:
    """The relevant_windows of every annotation (absent or null: none): N rows of (start, end) in seconds.

    Raises:
        InputError: naming the first annotation whose windows are of another form.
    """
    shape = "relevant_windows must be a list of [start, end], in seconds"
    cells = [record.get("relevant_windows") for record in records]
    return column(records, range(len(records)), cells, 2, what="annotation", shape=shape)
