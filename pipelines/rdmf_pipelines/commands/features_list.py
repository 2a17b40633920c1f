"""`rdmf features list`: the videos or the queries of a cache, line by line. Reads no features."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from rdmf.store import Cache

_LINES_A_BLOCK = 10_000


def list_(
    path: Annotated[Path, typer.Argument(help="A feature cache (.h5), or an index over parts.")],
    queries: Annotated[bool, typer.Option("--queries", help="List the queries instead of the videos.")] = False,
    split: Annotated[
        str | None, typer.Option(help="Only queries of this split, or videos that such queries ask about.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line; of queries in the form that manifests have.")
    ] = False,
) -> None:
    """List the videos of a cache (name, rows, seconds, queries, decoder), or its queries, without reading features."""
    from rdmf.store import open_cache

    with open_cache(path) as cache:
        lines = _queries(cache, split, limit) if queries else _videos(cache, split, limit)
        shown = _as_json(lines) if json else _as_table(lines)
        for line in shown:
            print(line)


def _videos(cache: Cache, split: str | None, limit: int | None) -> Iterator[dict[str, Any]]:
    import numpy as np

    asking = cache.queries.video_index if split is None else cache.queries.video_index[cache.select(split)]
    counts = np.bincount(asking[asking >= 0], minlength=cache.n_videos)
    numbers = np.arange(cache.n_videos) if split is None else np.flatnonzero(counts)
    rows = np.diff(cache.row_offsets)
    decoders = list(cache.columns.strings("video/decoder_name"))
    codes = cache.columns.array("video/decoder_code")
    for block in _blocks(numbers, limit):
        for vid, n_rows, seconds, annotated, n_queries, decoder, padded, recovered in zip(
            cache.vids.take(block),
            rows[block].tolist(),
            cache.durations[block].tolist(),
            cache.annotated_durations[block].tolist(),
            counts[block].tolist(),
            codes[block].tolist(),
            cache.padded[block].tolist(),
            cache.recovered[block].tolist(),
            strict=True,
        ):
            yield {
                "vid": vid,
                "rows": n_rows,
                "duration": seconds,
                "annotated_duration": None if math.isnan(annotated) else annotated,
                "queries": n_queries,
                "decoder": decoders[decoder],
                "padded": padded,
                "recovered": recovered,
            }


def _queries(cache: Cache, split: str | None, limit: int | None) -> Iterator[dict[str, Any]]:
    import numpy as np

    table = cache.queries
    numbers = np.arange(len(table)) if split is None else cache.select(split)
    for block in _blocks(numbers, limit):
        for query, video in zip(table.records(block), table.video_index[block].tolist(), strict=True):
            line = {"qid": query.qid, "vid": query.vid, "split": query.split, "kind": query.kind}
            yield {
                **line,
                "duration": None if math.isnan(query.duration) else query.duration,
                "relevant_windows": query.windows,
                "relevant_clip_ids": query.saliency_clips,
                "saliency_scores": query.saliency_scores,
                "features": video >= 0,
                "query": query.text,
            }


def _blocks(numbers: NDArray[np.int64], limit: int | None) -> Iterator[NDArray[np.int64]]:
    numbers = numbers[:limit]
    for first in range(0, len(numbers), _LINES_A_BLOCK):
        yield numbers[first : first + _LINES_A_BLOCK]


def _as_json(lines: Iterable[dict[str, Any]]) -> Iterator[str]:
    from json import dumps

    for line in lines:
        told = {"type" if key == "kind" else key: value for key, value in line.items() if value not in (None, "", ())}
        yield dumps(told, ensure_ascii=False)


#: column -> how its values are shown; those that are not here are for JSON.
_SHOWN: dict[str, Callable[[Any], str]] = {
    "vid": str,
    "rows": str,
    "qid": str,
    "split": str,
    "kind": str,
    "duration": lambda seconds: "" if seconds is None else f"{seconds:.2f}",
    "queries": str,
    "decoder": str,
    "padded": lambda padded: "padded" if padded else "",
    "recovered": lambda share: "" if share == 1 else f"{share:.1%}",
    "relevant_windows": lambda windows: " ".join(f"{start:g}-{end:g}" for start, end in windows),
    "features": lambda there: "" if there else "none",
    "query": str,
}


def _as_table(lines: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Columns as wide as the first block needs; what comes later and is longer moves its own line only."""
    from itertools import chain, islice

    rest = iter(lines)
    head = list(islice(rest, _LINES_A_BLOCK))
    if not head:
        return
    names = [name for name in head[0] if name in _SHOWN]
    shown = [[_SHOWN[name](line[name]) for name in names] for line in head]
    widths = [max(map(len, column)) for column in zip(names, *shown, strict=True)]
    later = ([_SHOWN[name](line[name]) for name in names] for line in rest)
    for cells in chain([names], shown, later):
        yield "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
