"""An import from the user's settings to the written cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rdmf.store.errors import InputError
from rdmf.store.records import QueryRecord, TextRecord
from rdmf_extract.encoders.precision import PRECISIONS
from rdmf_pipelines.datasets.repairs import Repairs
from rdmf_pipelines.importing.build import ENCODER, ImportSummary, build_cache
from rdmf_pipelines.importing.queries import read_queries
from rdmf_pipelines.importing.streams import VideoStreams, check_choice
from rdmf_pipelines.importing.texts import texts_from_files

TEXTS_A_BATCH = 256


@dataclass(frozen=True)
class ImportJob:
    """What `rdmf features import` was asked to do; the fields are its options."""

    video_features: Sequence[Path]
    annotations: Sequence[Path]
    clip_length_seconds: float
    out: Path
    text_features: Path | None = None
    text_encoder: str = "bert-base-uncased"
    equal_length: str = "error"
    normalize: str = "none"
    split: str | None = None
    split_names: str = "word"
    saliency_clip_length_seconds: float | None = None
    licence: str = ""
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_choice("--split-names", self.split_names, ("word", "stem"))
        check_choice("--precision", self.precision, PRECISIONS)
        for option, seconds in (
            ("--clip-length", self.clip_length_seconds),
            ("--saliency-clip-length", self.saliency_clip_length_seconds),
        ):
            if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
                raise InputError(f"{option} must be above 0 seconds, got {seconds:g}")
        if self.out.is_dir():
            raise InputError(f"--out {self.out} is a folder; name a file such as {self.out / 'mine.h5'}")


def run_import(job: ImportJob) -> tuple[ImportSummary, list[str]]:
    """Do it.

    Returns:
        the summary, and remarks worth showing.

    Raises:
        InputError: anything wrong with the input; then nothing is written, and an older cache at `out` stays.
    """
    repairs = Repairs()
    queries, extras, left_out = read_queries(
        job.annotations,
        split=job.split,
        split_by_stem=job.split_names == "stem",
        clip_length_seconds=job.saliency_clip_length_seconds or job.clip_length_seconds,
        repairs=repairs,
    )
    streams = VideoStreams.open(job.video_features, equal_length=job.equal_length, normalize=job.normalize)
    texts, text_provenance, remarks = _texts(job, queries)
    notes: dict[str, Any] = {
        "dataset": job.out.stem,
        "licence": job.licence,
        "annotation_files": [file.name for file in job.annotations],
        "repairs": repairs.as_notes(),
        "query_fields": extras,
    }
    if left_out:
        remarks.append(f"fields of the annotations that the cache does not hold: {', '.join(left_out)}")
    if sentence := repairs.sentence():
        remarks.append(sentence)
    summary = build_cache(
        job.out,
        queries,
        streams,
        texts,
        clip_length_seconds=job.clip_length_seconds,
        text_provenance=text_provenance,
        notes=notes,
    )
    return summary, remarks


def _texts(job: ImportJob, queries: Sequence[QueryRecord]) -> tuple[list[TextRecord], dict[str, Any], list[str]]:
    """Token features of every distinct sentence, their provenance, and remarks."""
    if job.text_features is not None:
        records, dim, differing = texts_from_files(job.text_features, queries, normalize=job.normalize)
        name = job.text_features.resolve().name
        provenance = {"encoder": ENCODER, "stream": name, "dim": dim, "normalize": job.normalize, "dtype": "float16"}
        remark = f"{differing} queries repeat a sentence with other text features; the first query's are kept"
        return records, provenance, [remark] if differing else []

    from rdmf_extract.encoders.registry import build_text_encoder

    encoder = build_text_encoder(job.text_encoder, device=job.device, precision=job.precision)
    sentences = list(dict.fromkeys(query.text for query in queries))
    records = []
    for start in range(0, len(sentences), TEXTS_A_BATCH):
        batch = sentences[start : start + TEXTS_A_BATCH]
        records += [TextRecord(text, features) for text, features in zip(batch, encoder.encode(batch))]
    return records, {**encoder.provenance, "dtype": "float16"}, []
