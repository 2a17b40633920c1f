"""Videos and sentences in, a feature cache out: decode, encode and write, all at once and again where it stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rdmf.store import Failure, InputError, QueryRecord, TextRecord, VideoRecord
from rdmf_extract.batches import EncodedVideo, RowBatcher
from rdmf_extract.collector import Collector
from rdmf_extract.decode.events import POLICIES
from rdmf_extract.decode.policy import MIN_RECOVERED
from rdmf_extract.decode.worker import DecoderProcess
from rdmf_extract.defaults import default_batch, default_workers
from rdmf_extract.encoders.base import TextEncoder, VideoEncoder
from rdmf_extract.interrupts import sigterm_as_interrupt
from rdmf_extract.pool import Again, Decoded, DecodePool, Row
from rdmf_extract.progress import ProgressCallback, ProgressState
from rdmf_extract.record import extraction_provenance, video_record
from rdmf_extract.summary import ExtractSummary, annotated_durations, duration_differences
from rdmf_extract.workspace import Workspace, signature

__all__ = ["ExtractSummary", "extract", "extract_one", "extraction_provenance"]

TEXTS_PER_BATCH = 64
TEXTS_PER_PART = 20_000


def extract(
    videos: Mapping[str, Path],
    queries: Sequence[QueryRecord],
    *,
    out: Path,
    video_encoder: VideoEncoder,
    text_encoder: TextEncoder,
    notes: dict[str, Any] | None = None,
    decoder: str = "auto",
    workers: int | None = None,
    timeout_seconds: float = 600.0,
    batch_rows: int | None = None,
    max_fail: int | None = None,
    retry_failed: bool = False,
    min_recovered: float = MIN_RECOVERED,
    progress: ProgressCallback | None = None,
) -> ExtractSummary:
    """Extract features of `videos` and of the queries' sentences into the cache `out`.

    Only what `out` and the parts beside it lack is computed. Interrupted (Ctrl-C, SIGTERM, a crash, a kill), it leaves
    finished parts in `out` with the suffix .parts, and the next run goes on from there. Videos that failed before are
    tried again when asked to, or when their file changed.

    Args:
        videos: file of each video.
        queries: what the cache will hold as annotations; they replace those of an earlier run.
        notes: carried along in the provenance (dataset, licence, ...).
        decoder: "auto" (Decord, then PyAV), "decord" or "pyav".
        workers: decoder processes; default: all cores but those the encoder needs.
        timeout_seconds: limit for decoding one video (longer videos get their own length more).
        batch_rows: rows per call of the encoder.
        max_fail: stop early once more videos than this have failed; what is done is kept.
        retry_failed: try videos again that failed in an earlier run.
        min_recovered: share of a damaged video that must be decodable.
        progress: told how far the run is.

    Raises:
        InputError: settings differ from those of the cache that is there, a sentence is too long for the encoder, two
            queries share an id, or `out` cannot be written.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the last part is written.
    """
    started = time.monotonic()
    _check(decoder, queries)
    provenance = extraction_provenance(video_encoder, text_encoder, decoder=decoder, notes=notes or {})
    missing = list(dict.fromkeys(query.vid for query in queries if query.vid not in videos))
    summary = ExtractSummary(out, missing=missing)
    with sigterm_as_interrupt(), Workspace(Path(out), provenance) as workspace:
        _encode_texts(workspace, queries, text_encoder, progress)
        summary.skipped = sum(vid in workspace.vids for vid in videos)
        jobs = _jobs(workspace, videos, retry_failed=retry_failed)
        collector = Collector(workspace, videos, total=len(jobs), max_fail=max_fail, progress=progress)
        if jobs:
            pool = _pool(
                jobs,
                video_encoder,
                decoder=decoder,
                workers=workers,
                batch_rows=batch_rows,
                timeout_seconds=timeout_seconds,
                min_recovered=min_recovered,
            )
            batcher = RowBatcher(video_encoder, batch_rows or default_batch(video_encoder))
            annotated = annotated_durations(queries)
            with collector, pool:
                summary.takeovers = _run(pool, batcher, collector, video_encoder, annotated)
        if progress is not None:
            progress(ProgressState("writing", 0, 1))
        workspace.finish(queries, missing)
        summary.failures = [Failure(vid, workspace.failures[vid]) for vid in videos if vid in workspace.failures]
    summary.done, summary.rows, summary.stopped = collector.done, collector.rows, collector.stopped
    summary.duration_differences = duration_differences(out, queries, videos)
    summary.seconds = time.monotonic() - started
    return summary


def extract_one(
    path: Path,
    video_encoder: VideoEncoder,
    *,
    decoder: str = "auto",
    timeout_seconds: float = 600.0,
    batch_rows: int | None = None,
) -> VideoRecord:
    """Features of a single video of any length, by the same code as `extract`; its `vid` is the file's stem.

    Raises:
        InputError: the file gives no usable video; the message holds path and reason.
    """
    _check(decoder, ())
    path = Path(path)
    pool = _pool(
        [(path.stem, path)],
        video_encoder,
        decoder=decoder,
        workers=1,
        batch_rows=batch_rows,
        timeout_seconds=timeout_seconds,
        min_recovered=MIN_RECOVERED,
    )
    batcher = RowBatcher(video_encoder, batch_rows or default_batch(video_encoder))
    finished: list[EncodedVideo] = []
    with pool:
        for item in pool:
            if isinstance(item, Row):
                finished += batcher.add(item)
            elif isinstance(item, Again):
                batcher.forget(item.vid)
            elif isinstance(item, Decoded):
                finished += batcher.finish(item.vid, item.rows, item.end)
            else:
                raise InputError(f"{path}: {item.reason}")
    finished += batcher.flush()
    return video_record(finished[0], video_encoder, annotated_duration=math.nan)


def _run(
    pool: DecodePool, batcher: RowBatcher, collector: Collector, encoder: VideoEncoder, annotated: dict[str, float]
) -> list[tuple[str, str]]:
    """Move items from the decoders through the encoder to the collector; returns the takeovers."""
    takeovers: list[tuple[str, str]] = []

    def keep(videos: Iterator[EncodedVideo]) -> None:
        for video in videos:
            try:
                record = video_record(video, encoder, annotated_duration=annotated.get(video.vid, math.nan))
            except InputError as error:
                collector.fail(video.vid, str(error))
            else:
                collector.add(record)

    for item in pool:
        if isinstance(item, Row):
            keep(batcher.add(item))
        elif isinstance(item, Again):
            batcher.forget(item.vid)
            takeovers.append((item.vid, item.reason))
        elif isinstance(item, Decoded):
            keep(batcher.finish(item.vid, item.rows, item.end))
        else:
            batcher.forget(item.vid)
            collector.fail(item.vid, item.reason)
        collector.tell(batcher.rows)
        if collector.stopped:
            break
    keep(batcher.flush())
    collector.tell(batcher.rows)
    return takeovers


def _encode_texts(
    workspace: Workspace, queries: Sequence[QueryRecord], encoder: TextEncoder, progress: ProgressCallback | None
) -> None:
    """Token features of every distinct sentence that has none yet; by length, so that batches hold little padding."""
    texts = sorted({query.text for query in queries} - workspace.texts, key=lambda text: (len(text), text))
    waiting: list[TextRecord] = []
    for first in range(0, len(texts), TEXTS_PER_BATCH):
        if progress is not None:
            progress(ProgressState("sentences", first, len(texts)))
        batch = texts[first : first + TEXTS_PER_BATCH]
        waiting += [TextRecord(text, features) for text, features in zip(batch, encoder.encode(batch), strict=True)]
        if len(waiting) >= TEXTS_PER_PART:
            workspace.write_part(texts=waiting)
            waiting = []
    if waiting:
        workspace.write_part(texts=waiting)


def _jobs(workspace: Workspace, videos: Mapping[str, Path], *, retry_failed: bool) -> list[tuple[str, Path]]:
    jobs = []
    for vid, path in videos.items():
        if vid in workspace.vids:
            continue
        known = vid in workspace.failures and workspace.failed_files.get(vid) == signature(Path(path))
        if retry_failed or not known:
            jobs.append((vid, Path(path)))
    return jobs


def _pool(
    jobs: list[tuple[str, Path]],
    encoder: VideoEncoder,
    *,
    decoder: str,
    workers: int | None,
    batch_rows: int | None,
    timeout_seconds: float,
    min_recovered: float,
) -> DecodePool:
    sampling = encoder.sampling
    return DecodePool(
        jobs,
        sampling,
        policy=decoder,
        workers=workers or default_workers(encoder),
        rows_ahead=2 * (batch_rows or default_batch(encoder)),
        make_process=lambda: DecoderProcess(sampling, timeout_seconds=timeout_seconds, min_recovered=min_recovered),
    )


def _check(decoder: str, queries: Sequence[QueryRecord]) -> None:
    if decoder not in POLICIES:
        raise InputError(f"decoder '{decoder}' is unknown; use one of {', '.join(POLICIES)}")
    seen: set[tuple[str, int | str]] = set()
    for query in queries:  # now, not when hours of extraction are about to be written
        if (query.split, query.qid) in seen:
            raise InputError(f"query id {query.qid!r} is in split '{query.split}' twice; ids must be unique there")
        seen.add((query.split, query.qid))
