"""ActivityNet Captions: {video: {duration, timestamps, sentences}}, one query a sentence.

`val_1` and `val_2` annotate the same videos independently; moment retrieval uses the first as validation and the
second as test. They keep their published names here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rdmf.store.errors import InputError
from rdmf.store.records import QueryRecord
from rdmf_pipelines.datasets.plan import Annotations
from rdmf_pipelines.datasets.repairs import Repairs
from rdmf_pipelines.datasets.rows import number
from rdmf_pipelines.datasets.source import Source
from rdmf_pipelines.datasets.text_files import json_object


def read(path: Path, split: str, annotations: Annotations, repairs: Repairs) -> None:
    """Read one JSON file. It has no query ids: "val_1-v_abc-2" is the third sentence of v_abc."""
    for vid, entry in json_object(path).items():
        _read_video(vid, entry, f"{path}, video '{vid}'", split, annotations, repairs)


def _read_video(vid: str, entry: Any, where: str, split: str, annotations: Annotations, repairs: Repairs) -> None:
    if not isinstance(entry, dict) or not {"duration", "timestamps", "sentences"} <= set(entry):
        raise InputError(f"{where}: expected an object with 'duration', 'timestamps' and 'sentences'")
    duration = number(entry["duration"], "'duration' (seconds)", where)
    if duration <= 0:
        raise InputError(f"{where}: 'duration' must be above 0 seconds, got {duration:g}")
    timestamps, sentences = entry["timestamps"], entry["sentences"]
    if not isinstance(timestamps, list) or not isinstance(sentences, list) or len(timestamps) != len(sentences):
        raise InputError(f"{where}: 'timestamps' and 'sentences' must be lists of equal length")
    for position, (pair, sentence) in enumerate(zip(timestamps, sentences)):
        place = f"{where}, sentence {position}"
        if not isinstance(pair, list) or len(pair) != 2:
            raise InputError(f"{place}: its timestamps must be [start, end], got {pair!r}")
        if not isinstance(sentence, str) or not sentence.strip():
            raise InputError(f"{place}: it is empty")
        window = number(pair[0], "the start", place), number(pair[1], "the end", place)
        windows = repairs.windows([window], duration=duration, where=place)
        if windows is None:
            continue
        query = QueryRecord(
            qid=f"{split}-{vid}-{position}",
            vid=vid,
            text=" ".join(sentence.split()),
            split=split,
            windows=windows,
            duration=duration,
        )
        annotations.add(query, place)


def _without_prefix(vid: str) -> tuple[str, ...]:
    """Downloads are named v_ID or, after the YouTube id alone, ID."""
    return (vid.removeprefix("v_"),) if vid.startswith("v_") else ()


SOURCE = Source(
    name="activitynet",
    title="ActivityNet Captions",
    files={"train": ("train.json",), "val_1": ("val_1.json",), "val_2": ("val_2.json",)},
    annotations_from="the ActivityNet Captions page of the Stanford Vision Lab (captions.zip)",
    videos_from="the ActivityNet 1.3 videos from the ActivityNet page (its download request form)",
    licence="ActivityNet Captions: see the terms on its page; the videos belong to their YouTube uploaders",
    read=read,
    other_names=_without_prefix,
)
