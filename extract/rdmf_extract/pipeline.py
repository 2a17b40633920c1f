"""Videos and sentences in, a feature cache out: decode, encode and write, all at once and again where it stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rdmf.store import InputError, QueryRecord, VideoRecord
from rdmf.store.query_records import check_query
from rdmf_extract.batches import EncodedVideo
from rdmf_extract.collector import Collector
from rdmf_extract.decode.events import POLICIES
from rdmf_extract.decode.policy import MIN_RECOVERED
from rdmf_extract.decode.process import Ahead
from rdmf_extract.encoders.base import TextEncoder, VideoEncoder
from rdmf_extract.encoders.spec import EncoderFacts
from rdmf_extract.engines.base import Engine, Note
from rdmf_extract.engines.local import LocalEngine
from rdmf_extract.engines.processes import EncoderProcesses
from rdmf_extract.interrupts import sigterm_as_interrupt
from rdmf_extract.jobs import Jobs
from rdmf_extract.pool import Again, Undecodable
from rdmf_extract.progress import ProgressCallback, ProgressState
from rdmf_extract.record import extraction_provenance, video_record
from rdmf_extract.shards import Shard, costs, share
from rdmf_extract.sharing import Together
from rdmf_extract.summary import ExtractSummary, annotated_durations, duration_differences, failures_of
from rdmf_extract.texts import Sentences
from rdmf_extract.workspace import Workspace

__all__ = ["ExtractSummary", "extract", "extract_one", "extraction_provenance"]


def extract(
    videos: Mapping[str, Path],
    queries: Sequence[QueryRecord],
    *,
    out: Path,
    video_encoder: VideoEncoder | EncoderProcesses | EncoderFacts,
    text_encoder: TextEncoder,
    notes: dict[str, Any] | None = None,
    decoder: str = "auto",
    workers: int | None = None,
    timeout_seconds: float = 600.0,
    batch_rows: int | None = None,
    max_fail: int | None = None,
    retry_failed: bool = False,
    min_recovered: float = MIN_RECOVERED,
    shard: Shard | None = None,
    engine: Engine | None = None,
    ahead: Ahead | None = None,
    progress: ProgressCallback | None = None,
) -> ExtractSummary:
    """Extract features of `videos` and of the queries' sentences into the cache `out`.

    Only what `out` and the parts beside it lack is computed. Interrupted (Ctrl-C, SIGTERM, a crash, a kill), it leaves
    finished parts in `out` with the suffix .parts, and the next run goes on from there. Videos that failed before are
    tried again when asked to, when their file changed, or when the file was not to blame.

    Several runs of the same queries and settings, on any machines that see the same folder, share the work: each does
    what no other has claimed, takes over what a dead one leaves, and ends when the cache is there. Whatever does the
    work, the cache is the same (but for the time it was made).

    Args:
        videos: file of each video.
        queries: what the cache will hold as annotations; they replace those of an earlier run.
        notes: carried along in the provenance (dataset, licence, ...).
        decoder: see `rdmf_extract.decode.policy.read`.
        workers: decoder processes; default: all cores but those the encoder needs.
        timeout_seconds: limit for decoding one video (longer videos get their own length more).
        batch_rows: rows per call of the encoder.
        max_fail: stop early once more videos than this have failed; what is done is kept.
        retry_failed: try videos again that failed in an earlier run.
        min_recovered: share of a damaged video that must be decodable.
        shard: do only this share of the videos and sentences and do not wait for the others; the shard that ends last
            makes the cache.
        engine: what decodes and encodes; default: processes of this machine.
        ahead: for the default engine, decoder processes that were started while the encoder was loaded.
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
    annotated = annotated_durations(queries)
    cost = costs(videos, annotated)
    mine = {vid: videos[vid] for vid in (cost if shard is None else share(cost, shard))}
    if engine is None:
        if isinstance(video_encoder, EncoderFacts):
            raise ValueError("an encoder that is elsewhere needs the engine that runs it")
        engine = LocalEngine(
            video_encoder,
            decoder=decoder,
            workers=workers,
            timeout_seconds=timeout_seconds,
            batch_rows=batch_rows,
            min_recovered=min_recovered,
            ahead=ahead,
        )
    summary = ExtractSummary(out, missing=missing)

    collector: Collector | None = None

    def tell(note: str) -> None:
        if collector is not None:
            collector.report(note)
        elif progress is not None:
            progress(ProgressState("videos", 0, 0, note=note))

    with sigterm_as_interrupt(), Workspace(Path(out), provenance, tell=tell) as workspace:
        collector = Collector(workspace, videos, max_fail=max_fail, progress=progress)
        summary.skipped = sum(vid in workspace.known.vids for vid in mine)
        sentences = Sentences(queries, shard)
        together = Together(workspace, videos, queries, missing=missing, shard=shard, tell=tell)
        while True:
            sentences.encode(workspace, text_encoder, progress)
            jobs = Jobs(workspace, mine, cost, retry_failed=retry_failed)
            collector.begin(jobs)
            if len(jobs):
                with collector:
                    summary.takeovers += _run(engine, jobs, collector, video_encoder, annotated)
            if progress is not None:
                progress(ProgressState("writing", 0, 1))
            if together.settled(jobs, sentences, stopped=bool(collector.stopped)):
                break
        summary.made = together.made
        there = sum(vid in workspace.known.vids for vid in mine)
        summary.elsewhere = max(0, there - summary.skipped - collector.done)
        summary.failures = failures_of(workspace.known.failures, mine)
    summary.done, summary.rows, summary.stopped = collector.done, collector.rows, collector.stopped
    if summary.made:
        summary.duration_differences = duration_differences(out, queries, videos)
    summary.seconds = time.monotonic() - started
    return summary


class _OneVideo:
    """See `Work`."""

    def __init__(self, vid: str, path: Path) -> None:
        self._jobs = [(vid, path)]
        self.stopped = False

    def __len__(self) -> int:
        return len(self._jobs)

    def next(self) -> tuple[str, Path] | None:
        return self._jobs.pop() if self._jobs else None


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
    engine = LocalEngine(
        video_encoder, decoder=decoder, workers=1, timeout_seconds=timeout_seconds, batch_rows=batch_rows
    )
    finished: list[EncodedVideo] = []
    with closing(engine.run(_OneVideo(path.stem, path))) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, Undecodable):
                raise InputError(f"{path}: {outcome.reason}")
            if isinstance(outcome, EncodedVideo):
                finished.append(outcome)
    return video_record(finished[0], video_encoder, annotated_duration=math.nan)


def _run(
    engine: Engine,
    jobs: Jobs,
    collector: Collector,
    encoder: VideoEncoder | EncoderProcesses | EncoderFacts,
    annotated: dict[str, float],
) -> list[tuple[str, str]]:
    """Move results from the engine to the collector; returns the takeovers."""
    takeovers: list[tuple[str, str]] = []
    with closing(engine.run(jobs)) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, EncodedVideo):
                try:
                    known = annotated.get(outcome.vid, math.nan)
                    collector.add(video_record(outcome, encoder, annotated_duration=known))
                except InputError as error:
                    collector.fail(outcome.vid, str(error))
            elif isinstance(outcome, Undecodable):
                collector.fail(outcome.vid, outcome.reason, passing=outcome.passing)
            elif isinstance(outcome, Again) and outcome.takeover:
                takeovers.append((outcome.vid, outcome.reason))
            elif isinstance(outcome, Note):
                collector.report(outcome.text)
            collector.tell(engine.rows)
            jobs.stopped = bool(collector.stopped)
    collector.tell(engine.rows)
    return takeovers


def _check(decoder: str, queries: Sequence[QueryRecord]) -> None:
    if decoder not in POLICIES:
        raise InputError(f"decoder '{decoder}' is unknown; use one of {', '.join(POLICIES)}")
    seen: set[tuple[str, int | str]] = set()
    for query in queries:  # now, not when hours of extraction are about to be written
        check_query(query)
        if (query.split, query.qid) in seen:
            raise InputError(f"query id {query.qid!r} is in split '{query.split}' twice; ids must be unique there")
        seen.add((query.split, query.qid))
