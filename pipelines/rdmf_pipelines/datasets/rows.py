"""One annotation row, in the QVHighlights JSON-lines form or our short form, to one QueryRecord.

The form: `qid`, `vid`, `query`, `duration` (seconds), `relevant_windows` [[start, end], ...] seconds,
`relevant_clip_ids` [clip, ...] with `saliency_scores` [[score by annotator, ...], ...]. Only `vid` and `query` are
always needed. Also read: `split`, `type`, and `start` with `end` in place of `relevant_windows`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rdmf.store.errors import InputError
from rdmf.store.records import QueryRecord
from rdmf_pipelines.datasets.repairs import Repairs, Window

FIELDS = frozenset(
    {"qid", "vid", "video", "query", "duration", "split", "type", "start", "end"}
    | {"relevant_windows", "relevant_clip_ids", "saliency_scores"}
)


def query_from_row(
    row: Mapping[str, Any],
    *,
    where: str,
    split: str,
    repairs: Repairs,
    default_qid: int | str | None = None,
    clip_length_seconds: float = 2.0,
) -> QueryRecord | None:
    """Check one row and make its record; None where every window of it had to be dropped (counted in `repairs`).

    Args:
        where: file and line, the beginning of every message.
        default_qid: used where the row has no `qid`; None makes `qid` compulsory.
        clip_length_seconds: seconds per clip of `relevant_clip_ids`.

    Raises:
        InputError: a field missing, of the wrong kind, or at odds with another.
    """
    vid = _name(row, "vid", where)
    text = row.get("query")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: 'query' must be a sentence, got {text!r}")
    duration = _duration(row.get("duration"), where)
    windows = repairs.windows(_windows(row, where), duration=duration, where=where)
    if windows is None:
        return None
    clips, scores = _saliency(row, where, duration, clip_length_seconds, repairs)
    kind = row.get("type")
    if kind is not None and not isinstance(kind, str):
        raise InputError(f"{where}: 'type' must be a word, got {kind!r}")
    return QueryRecord(
        qid=_qid(row.get("qid", default_qid), where),
        vid=vid,
        text=text,
        split=split,
        windows=windows,
        saliency_clips=clips,
        saliency_scores=scores,
        clip_length=clip_length_seconds,
        kind=kind or "",
        duration=duration,
    )


def extra_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row that a QueryRecord has no place for."""
    return {name: value for name, value in row.items() if name not in FIELDS}


def number(value: Any, what: str, where: str) -> float:
    """A finite float, from a JSON number or the text of a CSV cell."""
    try:
        result = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not math.isfinite(result):
        raise InputError(f"{where}: {what} must be a finite number, got {value!r}")
    return result


def _name(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        problem = f"'{key}' must be a video's name, got {value!r}" if key in row else f"no '{key}' (the video's name)"
        raise InputError(f"{where}: {problem}; the row has {', '.join(row) or 'no fields'}")
    return value.strip()


def _qid(value: Any, where: str) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise InputError(f"{where}: 'qid' must be a number or a name, got {value!r}")
    return value


def _duration(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    seconds = number(value, "'duration' (seconds)", where)
    if seconds <= 0:
        raise InputError(f"{where}: 'duration' must be above 0 seconds, got {value!r}")
    return seconds


def _windows(row: Mapping[str, Any], where: str) -> list[Window]:
    given = row.get("relevant_windows")
    if given is None and ("start" in row or "end" in row):
        if row.get("start") is None and row.get("end") is None:
            return []
        given = [[row.get("start"), row.get("end")]]
    if given is None:
        return []
    pairs_wanted = "'relevant_windows' must be a list of [start, end] pairs of seconds"
    if not isinstance(given, list):
        raise InputError(f"{where}: {pairs_wanted}, got {given!r}")
    windows = []
    for pair in given:
        if not isinstance(pair, list) or len(pair) != 2:
            raise InputError(f"{where}: {pairs_wanted}, got {pair!r} among them")
        windows.append((number(pair[0], "a window's start", where), number(pair[1], "a window's end", where)))
    return windows


def _saliency(
    row: Mapping[str, Any], where: str, duration: float, clip_length_seconds: float, repairs: Repairs
) -> tuple[tuple[int, ...], tuple[tuple[float, ...], ...]]:
    clips, scores = row.get("relevant_clip_ids"), row.get("saliency_scores")
    if scores is None:  # clip ids alone only repeat the windows
        return (), ()
    if not isinstance(clips, list) or not isinstance(scores, list) or len(clips) != len(scores):
        got = f"{_count(clips)} and {_count(scores)}"
        raise InputError(f"{where}: 'relevant_clip_ids' and 'saliency_scores' must be lists of equal length, got {got}")
    by_clip: dict[int, tuple[float, ...]] = {}
    for clip, given in zip(clips, scores):
        if isinstance(clip, bool) or not isinstance(clip, int) or clip < 0:
            raise InputError(f"{where}: 'relevant_clip_ids' must be whole numbers from 0, got {clip!r}")
        if clip in by_clip:
            raise InputError(f"{where}: clip {clip} stands twice in 'relevant_clip_ids'")
        annotators = given if isinstance(given, list) else [given]
        by_clip[clip] = tuple(number(score, f"the saliency score of clip {clip}", where) for score in annotators)
    if len({len(annotators) for annotators in by_clip.values()}) > 1:
        raise InputError(f"{where}: 'saliency_scores' has rows of different numbers of annotators")
    for clip in [clip for clip in by_clip if clip * clip_length_seconds >= duration]:
        repairs.drop_clip(clip, duration=duration, where=where)
        del by_clip[clip]
    return tuple(by_clip), tuple(by_clip.values())


def _count(value: Any) -> str:
    return f"{len(value)} entries" if isinstance(value, list) else repr(value)
