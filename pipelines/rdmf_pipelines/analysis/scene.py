"""One video and one query put through a run while its fields are watched: out of the cache, or from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rdmf.analysis.model import reaction_model
from rdmf.analysis.spacetime import Recorder
from rdmf.store import Cache, InputError
from rdmf_pipelines.analysis.spacetime import STRIP_ASPECT, Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rdmf.run import Run


@dataclass(frozen=True)
class Asked:
    """A video of a cache and a sentence of it: their numbers, and the windows where that was annotated."""

    video: int
    text: int
    truth: list[list[float]] | None


def find(cache: Cache, split: str | None, vid: str | None, query: str | None) -> Asked:
    """What --vid and --query name in a cache.

    A query is named by its sentence or its id; without a video the first of that name in the split is meant, without a
    query the video's first. A sentence that was asked about other videos only may be put to any: then no truth is
    known.

    Raises:
        InputError: no such video or query; says which there are.
    """
    table = cache.queries
    every = cache.select(split) if split is not None else np.arange(len(table))
    if vid is not None and vid not in cache.vids:
        raise InputError(f"--vid {vid}: {cache.path} has no video of that name; it has {_some(cache.vids)}")
    own = [int(q) for q in (np.arange(len(table)) if vid is not None else every) if vid in (None, table.vids[q])]
    own = [q for q in own if table.video_index[q] >= 0]
    if query is not None:
        wanted = " ".join(query.split()).lower()
        named = [q for q in own if wanted in (str(table.qids[q]).lower(), _sentence(cache, q))]
        texts = [i for i, text in enumerate(cache.texts) if " ".join(text.split()).lower() == wanted]
        if not named and texts and vid is not None:
            return Asked(cache.vids.index(vid), texts[0], None)
        if not named:
            where = f"video '{vid}' of {cache.path}" if vid is not None else f"split '{split}' of {cache.path}"
            there = _some([cache.texts[int(table.text_index[q])] for q in own])
            raise InputError(
                f'--query "{query}": {where} has no such query and the cache no such sentence; asked are {there}'
            )
        own = named
    if not own:
        raise InputError(
            f"{cache.path}: nothing was asked about video '{vid}'; give a sentence of the cache with --query"
        )
    q = own[0]
    windows = table.windows[int(table.window_offsets[q]) : int(table.window_offsets[q + 1])].tolist()
    return Asked(int(table.video_index[q]), int(table.text_index[q]), windows)


def of_cache(run: Run, cache: Cache, asked: Asked, *, frames: Path | None, device: str) -> Scene:
    """A video and a sentence of a cache.

    Args:
        frames: the video's file, for its pictures only.
    """
    rows, times = cache.video(asked.video)
    tokens = cache.text(asked.text)
    duration = float(cache.durations[asked.video])
    name, sentence = cache.vids[asked.video], cache.texts[asked.text]
    return _scene(
        run, (rows, times, duration, tokens), (name, sentence), truth=asked.truth, frames=frames, device=device
    )


def of_file(run: Run, video: Path, query: str, *, device: str, allow_mismatch: bool) -> tuple[Scene, Sequence[str]]:
    """Any video file, with the extractor of the run's training; and in which settings that differs here."""
    from rdmf_pipelines.prediction import Predictor

    predictor = Predictor(run, device=device, allow_mismatch=allow_mismatch)
    made = predictor.features(video, query)
    rows = (made.rows, made.times, made.duration, made.tokens)
    return _scene(run, rows, (video.name, query), truth=None, frames=video, device=device), predictor.mismatch


def _scene(
    run: Run,
    features: tuple[NDArray[Any], NDArray[Any], float, NDArray[Any]],
    names: tuple[str, str],
    *,
    truth: list[list[float]] | None,
    frames: Path | None,
    device: str,
) -> Scene:
    rows, times, duration, tokens = features
    rows, tokens = np.asarray(rows, dtype=np.float32), np.asarray(tokens, dtype=np.float32)
    with Recorder(reaction_model(run.model, str(run.path))) as recorder:
        found = run.predict_features(rows, times, duration, tokens, device=device)
    strip = None
    if frames is not None:
        from rdmf_pipelines.thumbnails import film_strip

        strip = film_strip(frames, duration, strip_aspect=STRIP_ASPECT)
    return Scene(
        name=names[0],
        query=names[1],
        duration=duration,
        times=np.asarray(found["times"], dtype=np.float64),
        saliency=np.asarray(found["saliency"], dtype=np.float64),
        predicted=found["pred_relevant_windows"],
        truth=truth,
        seen=recorder.space_time(),
        strip=strip,
    )


def _sentence(cache: Cache, query: int) -> str:
    return " ".join(cache.texts[int(cache.queries.text_index[query])].split()).lower()


def _some(names: Sequence[str], most: int = 5) -> str:
    """The first few of a list, and how many more there are."""
    known = list(dict.fromkeys(names))
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(f"'{name}'" for name in known[:most]) + more if known else "none"
