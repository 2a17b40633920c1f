"""Folds of a training split that share no footage: what settings are chosen on. The other splits are not read.

    python benchmarks/source_folds.py features/joined.h5 --folds 4 --out features/joined-cv

writes features/joined-cv0.h5 ..., each with the queries of split "train" alone, as splits "learn" and "watch".

Videos joined from the same source clips would leak through a split by videos: a hold-out of the joined videos' training
part scores above 90 where new footage scores 60. So moments are grouped by footage first: two moments of one type
are of the same footage where a clip of the one and a clip of the other have features at a cosine of at least --same
(between the joined videos' own two parts the largest is 0.92). Groups are dealt out over the folds, type by type; a
fold watches the queries all of whose moments are its own, and learns from the videos that show none of its moments. A
group with more than a third of its type's moments is only learnt from: without it little of the type would be left.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rdmf.store import Cache, PartWriter, QueryRecord, TextRecord, VideoRecord, open_cache

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Moment:
    """A type of query, a video and a window; `rows` (n, d) are its clips' features, each of length 1."""

    kind: str
    vid: str
    window: tuple[float, float]
    rows: Floats


def moments_of(cache: Cache, queries: list[QueryRecord]) -> list[Moment]:
    """Every distinct annotated moment, in order of first mention."""
    found: dict[tuple[str, str, tuple[float, float]], Moment] = {}
    for query in queries:
        features, times = cache.video(query.vid)
        rows = features.astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9
        middle = times.mean(1)
        for window in query.windows:
            inside = (middle >= window[0]) & (middle < window[1])
            inside[np.abs(middle - sum(window) / 2).argmin()] = True  # a window between two clips has the nearest
            key = (query.kind, query.vid, window)
            found.setdefault(key, Moment(query.kind, query.vid, window, rows[inside]))
    return list(found.values())


def groups_of(moments: list[Moment], same: float) -> list[int]:
    """For each moment the number of its group of footage: connected components of "is the same footage"."""
    parent = list(range(len(moments)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i, one in enumerate(moments):
        for j, other in enumerate(moments[:i]):
            if one.kind == other.kind and float((one.rows @ other.rows.T).max()) >= same:
                parent[root(i)] = root(j)
    return [root(i) for i in range(len(moments))]


def deal(moments: list[Moment], groups: list[int], folds: int) -> list[int]:
    """The fold of each moment, -1 for one that is only learnt from.

    Type by type, the largest group first, to the fold that has fewest so far.
    """
    sizes = Counter((moment.kind, group) for moment, group in zip(moments, groups))
    of_kind = Counter(moment.kind for moment in moments)
    load: dict[str, list[int]] = defaultdict(lambda: [0] * folds)
    fold_of: dict[int, int] = {}
    for (kind, group), size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        if size * 3 > of_kind[kind]:
            fold_of[group] = -1
            continue
        lightest = int(np.argmin(load[kind]))
        fold_of[group] = lightest
        load[kind][lightest] += size
    return [fold_of[group] for group in groups]


def write_fold(cache: Cache, queries: list[QueryRecord], watched: set[int], shown: set[str], path: Path) -> None:
    """A cache with the queries numbered in `watched` as "watch", and as "learn" those of videos not in `shown`."""
    said = [
        replace(query, split="watch" if i in watched else "learn")
        for i, query in enumerate(queries)
        if i in watched or query.vid not in shown
    ]
    with PartWriter(path, cache.provenance, feature_dtype=str(cache.feature_dtype)) as writer:
        place = {text: i for i, text in enumerate(cache.texts)}
        for text in dict.fromkeys(query.text for query in said):
            writer.add_text(TextRecord(text, cache.text(place[text])))
        for vid in dict.fromkeys(query.vid for query in said):
            features, times = cache.video(vid)
            writer.add_video(VideoRecord(vid, features, times, float(cache.durations[cache.vids.index(vid)])))
        for query in said:
            writer.add_query(query)


def arguments(about: str | None) -> argparse.ArgumentParser:
    """What both kinds of folds are asked for."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--same", type=float, default=0.92)
    parser.add_argument("--out", type=Path, required=True, help="where: OUT0.h5, OUT1.h5, ...")
    return parser


def main() -> None:
    """The command."""
    given = arguments(__doc__).parse_args()
    with open_cache(given.cache) as cache:
        queries = [query for query in cache.query_records(given.split) if query.windows]
        moments = moments_of(cache, queries)
        fold_of = deal(moments, groups_of(moments, given.same), given.folds)
        place = {(m.kind, m.vid, m.window): fold for m, fold in zip(moments, fold_of)}
        for fold in range(given.folds):
            folds = [{place[q.kind, q.vid, window] for window in q.windows} for q in queries]
            watched = {i for i, held in enumerate(folds) if held == {fold}}
            shown = {m.vid for m, f in zip(moments, fold_of) if f == fold}
            path = given.out.with_name(f"{given.out.name}{fold}.h5")
            write_fold(cache, queries, watched, shown, path)
            learnt = sum(query.vid not in shown for query in queries)
            print(f"{path}: {learnt} queries to learn from, {len(watched)} to watch")


if __name__ == "__main__":
    main()
