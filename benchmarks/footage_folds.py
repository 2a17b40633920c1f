"""Folds of a training split that share no footage at all, backgrounds included. The other splits are not read.

    python benchmarks/footage_folds.py features/joined.h5 --folds 4 --out features/joined-ff

writes features/joined-ff0.h5 ..., each with splits "learn" and "watch".

`source_folds.py` holds out moments and lets their backgrounds be learnt: a model may know the calm footage by heart
and call the rest a fight. Here every clip of the split belongs to footage: moments as in `source_folds.py`, all other
clips by average-linkage clusters of their features (cosine at least --alike). All footage is dealt out over the folds.
To learn from, a fold has the videos with its own footage cut out; to watch, new videos joined from its own footage:
one to three types, one or two moments of each, and other clips between them, as the originals are made. Windows keep
their place within a clip. Footage with more than a third of its type's moments is only learnt from.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from source_folds import arguments, deal, groups_of, moments_of

from rdmf.store import Cache, PartWriter, QueryRecord, TextRecord, VideoRecord, open_cache

Floats = NDArray[np.float32]
#: Where the moments of a video's queries lie: type -> windows.
Windows = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Piece:
    """Clips of one video that follow each other and are of one fold.

    Attributes:
        rows: (n, d). starts: (n,) seconds in the video it comes from. kind: type of query, "" for other clips.
        window: what is annotated in it, None for other clips.
    """

    rows: Floats
    starts: NDArray[np.float64]
    kind: str
    window: tuple[float, float] | None


@dataclass(frozen=True)
class Video:
    """A training video, every clip's label and fold known.

    Attributes:
        rows: (L, d). starts: (L,) seconds. windows: distinct ones by type. owner: (L,) which of `named` a clip is of,
            -1 for none. named: (type, window) of every moment. fold: (L,).
    """

    vid: str
    rows: Floats
    starts: NDArray[np.float64]
    named: list[tuple[str, tuple[float, float]]]
    owner: NDArray[np.int64]
    fold: NDArray[np.int64]

    def pieces(self, keep: NDArray[np.bool_]) -> list[Piece]:
        """The clips to keep, as pieces in order."""
        found, i = [], 0
        while i < len(keep):
            j = i
            while j < len(keep) and keep[j] and self.owner[j] == self.owner[i]:
                j += 1
            if j > i:
                kind, window = self.named[self.owner[i]] if self.owner[i] >= 0 else ("", None)
                found.append(Piece(self.rows[i:j], self.starts[i:j], kind, window))
            i = max(j, i + 1)
        return found


def read(cache: Cache, queries: list[QueryRecord], folds: int, same: float, alike: float) -> list[Video]:
    """The split's videos with the fold of every clip; -1 where a clip is only learnt from."""
    moments = moments_of(cache, queries)
    placed = {(m.vid, m.kind, m.window): f for m, f in zip(moments, deal(moments, groups_of(moments, same), folds))}
    of_video: dict[str, list[tuple[str, tuple[float, float]]]] = defaultdict(list)
    for vid, kind, window in placed:
        of_video[vid].append((kind, window))
    videos = []
    for vid, named in of_video.items():
        features, times = cache.video(vid)
        middle, owner = times.mean(1), np.full(len(times), -1)
        for number, (_, window) in enumerate(named):
            owner[(middle >= window[0]) & (middle < window[1])] = number
        fold = np.array([placed[(vid, *named[o])] if o >= 0 else -2 for o in owner])
        videos.append(Video(vid, features.astype(np.float32), times[:, 0].astype(np.float64), named, owner, fold))
    return _deal_backgrounds(videos, folds, alike)


def _deal_backgrounds(videos: list[Video], folds: int, alike: float) -> list[Video]:
    rows = np.concatenate([video.rows[video.fold == -2] for video in videos])
    groups = fcluster(linkage(rows.astype(np.float64), "average", metric="cosine"), 1 - alike, "distance")
    load, fold_of = [0] * folds, {}
    names, sizes = np.unique(groups, return_counts=True)
    for size, name in sorted(zip(-sizes, names)):
        fold_of[int(name)] = int(np.argmin(load))
        load[fold_of[int(name)]] -= int(size)
    dealt, at = np.array([fold_of[int(g)] for g in groups]), 0
    found = []
    for video in videos:
        free = video.fold == -2
        fold = video.fold.copy()
        fold[free] = dealt[at : at + free.sum()]
        at += int(free.sum())
        found.append(replace(video, fold=fold))
    return found


def join(pieces: list[Piece], step: float) -> tuple[Floats, Windows]:
    """Rows (L, d) one after the other, `step` seconds each, and the windows on the new timeline."""
    windows: Windows = defaultdict(list)
    at = 0
    for piece in pieces:
        if piece.window is not None:
            start = at * step + max(piece.window[0] - float(piece.starts[0]), -step / 2)
            end = start + min(piece.window[1], float(piece.starts[-1]) + 1.5 * step) - piece.window[0]
            windows[piece.kind].append((max(start, 0.0), end))
        at += len(piece.rows)
    length = at * step
    return np.concatenate([p.rows for p in pieces]), {
        kind: [(a, min(b, length)) for a, b in found] for kind, found in windows.items()
    }


def compose(pieces: list[Piece], rng: np.random.Generator) -> list[list[Piece]]:
    """New videos of a fold's own pieces, each piece used once."""
    moments: dict[str, list[Piece]] = defaultdict(list)
    for i in rng.permutation(len(pieces)):
        moments[pieces[i].kind].append(pieces[i])
    other, videos = moments.pop("", []), []
    count = max(1, round(sum(map(len, moments.values())) / 2.3))
    share = max(1, len(other) // count)
    while any(moments.values()):
        left = [kind for kind in moments if moments[kind]]
        weight = np.array([len(moments[kind]) for kind in left], dtype=float)
        many = min(len(left), int(rng.choice([1, 2, 3], p=[0.4, 0.45, 0.15])))
        chosen = rng.choice(len(left), many, replace=False, p=weight / weight.sum())
        shown = [moments[left[k]].pop() for k in chosen for _ in range(int(rng.choice([1, 2]))) if moments[left[k]]]
        between, other = other[:share], other[share:]
        mixed = shown + between
        videos.append([mixed[i] for i in rng.permutation(len(mixed))])
    return [video for video in videos if sum(len(p.rows) for p in video) >= 8]


def write(
    cache: Cache, videos: list[tuple[str, Floats, Windows, str]], phrases: dict[str, list[str]], step: float, path: Path
) -> dict[str, int]:
    """One fold's cache of (vid, rows, windows, split); two phrasings of each type, in turn. Returns queries a split."""
    turn: dict[str, int] = defaultdict(int)
    counts: dict[str, int] = defaultdict(int)
    place = {text: i for i, text in enumerate(cache.texts)}
    with PartWriter(path, cache.provenance, feature_dtype=str(cache.feature_dtype)) as writer:
        for text in dict.fromkeys(t for found in phrases.values() for t in found):
            writer.add_text(TextRecord(text, cache.text(place[text])))
        for vid, rows, windows, split in videos:
            starts = np.arange(len(rows)) * step
            writer.add_video(VideoRecord(vid, rows, np.stack((starts, starts + step), 1), len(rows) * step))
            for kind, found in windows.items():
                for _ in range(2):
                    text = phrases[kind][turn[kind] % len(phrases[kind])]
                    turn[kind] += 1
                    qid = f"{vid}-{kind}-{turn[kind]}"
                    writer.add_query(QueryRecord(qid, vid, text, split, windows=tuple(sorted(found)), kind=kind))
                    counts[split] += 1
    return dict(counts)


def main() -> None:
    """The command."""
    parser = arguments(__doc__)
    parser.add_argument("--alike", type=float, default=0.7)
    given = parser.parse_args()
    with open_cache(given.cache) as cache:
        queries = [query for query in cache.query_records(given.split) if query.windows]
        phrases: dict[str, list[str]] = defaultdict(list)
        for query in queries:
            if query.text not in phrases[query.kind]:
                phrases[query.kind].append(query.text)
        videos = read(cache, queries, given.folds, given.same, given.alike)
        step = float(np.median(np.concatenate([np.diff(v.starts) for v in videos])))
        for fold in range(given.folds):
            rng = np.random.default_rng(fold)
            made = []
            for video in videos:
                pieces = video.pieces(video.fold != fold)
                if sum(len(p.rows) for p in pieces) >= 8 and any(p.window for p in pieces):
                    made.append((video.vid, *join(pieces, step), "learn"))
            held = [piece for video in videos for piece in video.pieces(video.fold == fold)]
            for number, pieces in enumerate(compose(held, rng)):
                made.append((f"held-{fold}-{number:03d}", *join(pieces, step), "watch"))
            path = given.out.with_name(f"{given.out.name}{fold}.h5")
            counts = write(cache, made, phrases, step, path)
            seconds = {
                s: np.mean([len(rows) * step for _, rows, _, split in made if split == s]) for s in ("learn", "watch")
            }
            said = ", ".join(
                f"{s}: {sum(m[3] == s for m in made)} videos of {seconds[s]:.0f} s, {counts[s]} queries"
                for s in ("learn", "watch")
            )
            print(f"{path}: {said}")


if __name__ == "__main__":
    main()
