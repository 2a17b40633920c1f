"""Writing the cache of an import, a bounded part at a time."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rdmf.store import PartWriter, merge
from rdmf.store.errors import InputError
from rdmf.store.header import make_place
from rdmf.store.records import Failure, Provenance, QueryRecord, TextRecord, VideoRecord
from rdmf_pipelines.importing.streams import VideoStreams
from rdmf_pipelines.importing.timeline import timeline

# A part is held in memory until it is closed.
PART_BYTES = 1 << 30
ENCODER = "import"


@dataclass
class ImportSummary:
    """What an import did.

    Attributes:
        cache: the written file.
        done: videos with features.
        rows: feature rows of all videos.
        seconds: seconds of video that they cover.
        failures: annotated videos without a feature file, with the reason.
        disagreeing: (vid, annotated seconds, rows * clip length in seconds) where they differ by more than a clip.
        equalized: videos whose streams were trimmed or padded to one length.
    """

    cache: Path
    done: int = 0
    rows: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    disagreeing: list[tuple[str, float, float]] = field(default_factory=list)
    equalized: int = 0


def annotated_durations(queries: Iterable[QueryRecord]) -> dict[str, float]:
    """{vid: seconds}: the first duration that a query of the video gives, NaN where none does."""
    durations: dict[str, float] = {}
    for query in queries:
        if math.isnan(durations.get(query.vid, math.nan)):
            durations[query.vid] = query.duration
    return durations


def video_provenance(streams: VideoStreams, clip_length_seconds: float) -> dict[str, Any]:
    """Everything about imported video features that is known: JSON values for the fingerprint."""
    named = [{"name": folder.path.resolve().name, "dim": folder.dim} for folder in streams.folders]
    return {
        "encoder": ENCODER,
        "streams": named,
        "dim": sum(folder.dim or 0 for folder in streams.folders),
        "window_seconds": clip_length_seconds,
        "stride_seconds": clip_length_seconds,
        "equal_length": streams.equal_length,
        "normalize": streams.normalize,
        "decoder": ENCODER,
        "dtype": "float16",
    }


def build_cache(
    out: Path,
    queries: Sequence[QueryRecord],
    streams: VideoStreams,
    texts: Sequence[TextRecord],
    *,
    clip_length_seconds: float,
    text_provenance: dict[str, Any],
    notes: dict[str, Any],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ImportSummary:
    """Read every annotated video's feature files and write the cache, whole or not at all.

    Args:
        progress: called with the number of videos done and their total.

    Raises:
        InputError: no annotated video has features, or a feature file is unusable.
    """
    summary = ImportSummary(out)
    durations = annotated_durations(queries)
    present = []
    for vid in durations:
        reason = streams.absent(vid)
        if reason is None:
            present.append(vid)
        else:
            summary.failures.append(Failure(vid, reason))
    if not present:
        first = summary.failures[0]
        raise InputError(
            f"none of the {len(durations)} annotated videos has features: video '{first.vid}': {first.reason} (which "
            f"holds e.g. {streams.folders[0].example()}); files must be called after the annotations' 'vid'"
        )
    streams.load(present[0])  # tells the dims, which the provenance records
    streams.changed = 0  # it is loaded again below
    provenance = Provenance(video_provenance(streams, clip_length_seconds), text_provenance, notes)

    def records() -> Iterator[VideoRecord]:
        for count, vid in enumerate(present, start=1):
            features = streams.load(vid)
            times, duration, agrees = timeline(len(features), clip_length_seconds, durations[vid])
            if not agrees:
                summary.disagreeing.append((vid, durations[vid], len(features) * clip_length_seconds))
            summary.done += 1
            summary.rows += len(features)
            summary.seconds += duration
            yield VideoRecord(vid, features, times, duration, annotated_duration=durations[vid], decoder=ENCODER)
            progress(count, len(present))

    _write(out, provenance, records(), texts, queries, summary.failures)
    summary.equalized = streams.changed
    return summary


def _write(
    out: Path,
    provenance: Provenance,
    videos: Iterable[VideoRecord],
    texts: Sequence[TextRecord],
    queries: Sequence[QueryRecord],
    failures: Sequence[Failure],
) -> None:
    """One part where it fits, else parts of bounded size that are merged and removed."""
    make_place(out)
    folder = out.with_name(out.name + ".import")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    writer: PartWriter | None = None
    parts: list[Path] = []
    held = 0
    try:
        for record in videos:
            if writer is not None and held + 2 * record.features.size > PART_BYTES:
                parts.append(writer.close())
                writer = None
            if writer is None:
                writer, held = PartWriter(folder / f"part-{len(parts):05d}.h5", provenance), 0
                if not parts:
                    writer.add_annotations(texts, queries, failures)
            writer.add_video(record)
            held += 2 * record.features.size  # stored as float16
        assert writer is not None  # there is at least one video
        parts.append(writer.close())
        if len(parts) == 1:
            parts[0].replace(out)
        else:
            merge(parts, out, queries=list(queries), failures=list(failures))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
