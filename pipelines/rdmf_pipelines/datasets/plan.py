"""What a dataset is to the extractor: its queries, its video files, and what to tell its user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rdmf.store.errors import InputError
from rdmf.store.records import QueryRecord
from rdmf_pipelines.datasets.find_videos import VideoIndex


@dataclass(frozen=True)
class DatasetPlan:
    """A dataset ready to extract.

    Attributes:
        name: short name; the cache is called after it.
        queries: every query of every split, in file order; qids are unique within a split.
        videos: {vid: file} of the annotated videos that are there.
        missing: annotated videos with no file, sorted.
        licence: what is known about the licence, for the cache's notes.
        notes: JSON values for the cache's notes: annotation files by split, what was mended in them.
        remarks: lines worth showing to the user before the work starts.
    """

    name: str
    queries: list[QueryRecord]
    videos: dict[str, Path]
    missing: list[str]
    licence: str
    notes: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def splits(self) -> dict[str, int]:
        """Number of queries of each split, in order of appearance."""
        counts: dict[str, int] = {}
        for query in self.queries:
            counts[query.split] = counts.get(query.split, 0) + 1
        return counts


@dataclass
class Annotations:
    """The queries of one dataset while its files are read: keeps qids unique within a split.

    Attributes:
        places: where ("file:line") each (split, qid) was found.
    """

    queries: list[QueryRecord] = field(default_factory=list)
    places: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, query: QueryRecord, where: str) -> None:
        """Take a query in.

        Raises:
            InputError: its qid was already used in its split (naming both places).
        """
        # As text: a prediction file could not tell 7 from "7" reliably.
        key = (query.split, str(query.qid))
        if key in self.places:
            raise InputError(
                f"{where}: qid {query.qid!r} was already used in split '{query.split}' at {self.places[key]}; qids "
                "must differ (several windows of one query go together into 'relevant_windows')"
            )
        self.places[key] = where
        self.queries.append(query)


def locate(
    queries: Iterable[QueryRecord],
    index: VideoIndex,
    *,
    names: Mapping[str, Sequence[str]],
) -> tuple[dict[str, Path], list[str]]:
    """The file of every annotated video, and the names of those without one.

    Args:
        names: {vid: names its file may have}, tried in order; a vid that is not in it is looked for as it is.

    Raises:
        InputError: no annotated video is there at all.
    """
    videos: dict[str, Path] = {}
    missing = []
    vids = list(dict.fromkeys(query.vid for query in queries))
    for vid in vids:
        wanted = names.get(vid, (vid,))
        path = next((found for name in wanted if (found := index.find(name)) is not None), None)
        if path is None:
            missing.append(vid)
        else:
            videos[vid] = path
    if not videos:
        raise InputError(
            f"none of the {len(vids)} annotated videos is under {index.folder}: looked for '{missing[0]}' (with a "
            f"usual ending such as .mp4), found {index.count} video files, e.g. {index.example()}; name the right "
            "folder with --videos"
        )
    return videos, sorted(missing)
