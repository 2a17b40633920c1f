"""Joining parts in an order that does not depend on who wrote which: the same contents give the same tables.

`merge` takes parts as they come and refuses a video that is in two of them. Parts of an extraction on many machines
come in any order, and after a crash two may hold the same video; here the caller says which videos and sentences the
cache has and in which order, and the first part that has one gives it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from rdmf.store.cache import Cache, open_cache
from rdmf.store.compose import Contents, write_file
from rdmf.store.errors import InputError
from rdmf.store.records import Array, Failure, Provenance, QueryRecord
from rdmf.store.rows import BLOCK_BYTES
from rdmf.store.tables import TextTable, VideoTable, text_digest

T = TypeVar("T")
Place = tuple[Cache, int]
MOST_OPEN = 64


class DamagedPartError(InputError):
    """A part that cannot be used: its path, and what is wrong with it."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path} is damaged: {what}; extract that part again")
        self.path = path


def assemble(
    parts: Sequence[Path],
    out: Path,
    *,
    provenance: Provenance,
    vids: Sequence[str],
    texts: Sequence[str],
    queries: Sequence[QueryRecord],
    failures: Sequence[Failure],
) -> Path:
    """Write one self-contained cache of these videos and sentences, in these orders, from parts of one fingerprint.

    Every video and sentence is checked against its checksum on the way. Holds one block of features in memory.

    Args:
        parts: caches; what is in several is taken from the first.
        out: the file to be, whole or absent.

    Raises:
        DamagedPartError: naming the part.
        InputError: `out` cannot be written, or a video or sentence is in no part.
    """
    with ExitStack() as opened:
        caches = [opened.enter_context(_opened(part)) for part in parts]
        video_places = _places(caches, vids, lambda cache: cache.vids, "video")
        text_places = _places(caches, texts, lambda cache: cache.texts, "sentence")
        videos, sentences = _video_table(video_places), _text_table(text_places)
        for cache in caches:  # the tables are read; a file is opened again when its rows are asked for
            cache.close()
        contents = Contents(
            provenance=provenance,
            feature_dtype=caches[0].feature_dtype.name if caches else "float16",
            d_video=max((cache.d_video for cache in caches), default=0),
            d_text=max((cache.d_text for cache in caches), default=0),
            videos=videos,
            video_blocks=_video_blocks(video_places, videos),
            texts=sentences,
            text_blocks=_text_blocks(text_places, sentences),
            queries=list(queries),
            failures=list(failures),
        )
        return write_file(out, contents)


def _opened(part: Path) -> Cache:
    try:
        return open_cache(part)
    except InputError as error:
        raise DamagedPartError(part, str(error)) from error


def _places(
    caches: list[Cache], names: Sequence[str], names_of: Callable[[Cache], Sequence[str]], what: str
) -> list[Place]:
    """Where each name is: the first cache that has it, and its number there."""
    found: dict[str, Place] = {}
    for cache in caches:
        for number, name in enumerate(_read(cache, names_of)):
            found.setdefault(name, (cache, number))
    absent = next((name for name in names if name not in found), None)
    if absent is not None:
        raise InputError(f"{what} '{absent[:60]}' is in none of the parts; run the extraction again")
    return [found[name] for name in names]


def _video_table(places: list[Place]) -> VideoTable:
    tables: dict[int, VideoTable] = {}
    joined = VideoTable()
    for cache, i in places:
        if id(cache) not in tables:
            tables[id(cache)] = _read(cache, Cache.video_table)
        table = tables[id(cache)]
        joined.extend(
            VideoTable(
                vids=[table.vids[i]],
                counts=[table.counts[i]],
                durations=[table.durations[i]],
                annotated_durations=[table.annotated_durations[i]],
                recovered=[table.recovered[i]],
                padded=[table.padded[i]],
                decoders=[table.decoders[i]],
                digests=[table.digests[i]],
            )
        )
    return joined


def _text_table(places: list[Place]) -> TextTable:
    tables: dict[int, TextTable] = {}
    joined = TextTable()
    for cache, i in places:
        if id(cache) not in tables:
            tables[id(cache)] = _read(cache, Cache.text_table)
        table = tables[id(cache)]
        joined.texts.append(table.texts[i])
        joined.counts.append(table.counts[i])
        joined.digests.append(table.digests[i])
    return joined


def _video_blocks(places: list[Place], table: VideoTable) -> Iterator[tuple[Array, Array]]:
    """Features and times of the videos in order, in blocks, each video checked."""
    recent = _Recent()
    features: list[Array] = []
    times: list[Array] = []
    held = 0
    for number, (cache, i) in enumerate(places):
        rows, row_times = _read(cache, partial(Cache.video, vid_or_index=i))
        if table.digest(number, rows, row_times) != table.digests[number]:
            raise DamagedPartError(cache.path, f"video '{table.vids[number]}' does not match its checksum")
        recent.used(cache)
        features.append(rows)
        times.append(row_times)
        held += rows.nbytes
        if held >= BLOCK_BYTES:
            yield np.concatenate(features), np.concatenate(times)
            features, times, held = [], [], 0
    if features:
        yield np.concatenate(features), np.concatenate(times)


def _text_blocks(places: list[Place], table: TextTable) -> Iterator[Array]:
    """Token features of the sentences in order, in blocks, each sentence checked."""
    recent = _Recent()
    tokens: list[Array] = []
    held = 0
    for number, (cache, i) in enumerate(places):
        rows = _read(cache, partial(Cache.text, index=i))
        if text_digest(table.texts[number], rows) != table.digests[number]:
            raise DamagedPartError(cache.path, f"sentence '{table.texts[number][:60]}' does not match its checksum")
        recent.used(cache)
        tokens.append(rows)
        held += rows.nbytes
        if held >= BLOCK_BYTES:
            yield np.concatenate(tokens)
            tokens, held = [], 0
    if tokens:
        yield np.concatenate(tokens)


class _Recent:
    """Lets go of files of parts not read lately: there may be more parts than a process may open files."""

    def __init__(self) -> None:
        self._caches: OrderedDict[int, Cache] = OrderedDict()

    def used(self, cache: Cache) -> None:
        self._caches[id(cache)] = cache
        self._caches.move_to_end(id(cache))
        if len(self._caches) > MOST_OPEN:
            self._caches.popitem(last=False)[1].close()


def _read(cache: Cache, read: Callable[[Cache], T]) -> T:
    """What `read` gives, damage told with the part's path."""
    try:
        return read(cache)
    except (InputError, ValueError, IndexError) as error:
        raise DamagedPartError(cache.path, str(error)) from error
