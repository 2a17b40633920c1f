"""Finished videos to parts, failures to the list, and numbers to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rdmf.store import Failure, VideoRecord
from rdmf_extract.jobs import Jobs
from rdmf_extract.pool import signature
from rdmf_extract.progress import ProgressCallback, ProgressState
from rdmf_extract.workspace import Workspace

PART_BYTES = 64 << 20
PART_VIDEOS = 64
PART_SECONDS = 120.0  # a kill costs about this much work at most
TELL_EVERY_SECONDS = 0.2


class Collector:
    """Gathers finished videos and writes them as parts; on leaving, for whatever reason, the rest is written too.

    Attributes:
        done, rows: videos and rows finished in this run.
        failed: videos that failed in this run.
        stopped: why the run should stop; "" while it should go on.
    """

    def __init__(
        self,
        workspace: Workspace,
        videos: Mapping[str, Path],
        *,
        max_fail: int | None,
        progress: ProgressCallback | None,
    ) -> None:
        self._workspace, self._videos = workspace, videos
        self._max_fail, self._progress = max_fail, progress
        self._jobs: Jobs | None = None
        self._records: list[VideoRecord] = []
        self._failures: list[Failure] = []
        self._failed_files: dict[str, str] = {}
        self._bytes = 0
        self._started = self._last_part = self._told = time.monotonic()
        self._rows_encoded = 0
        self._cost_at_start = 0.0
        self.done = self.rows = self.failed = 0
        self.stopped = ""

    def begin(self, jobs: Jobs) -> None:
        """The next results are of these jobs."""
        self._jobs = jobs
        self._cost_at_start = jobs.cost_left
        self._started = self._last_part = time.monotonic()

    def add(self, record: VideoRecord) -> None:
        """A video is finished."""
        self._records.append(record)
        self._bytes += record.features.size * 2  # stored as float16
        self.done += 1
        self.rows += len(record.features)
        if self._bytes >= PART_BYTES or len(self._records) >= PART_VIDEOS:
            self.flush()

    def fail(self, vid: str, reason: str, *, passing: bool = False) -> None:
        """A video gave nothing; `passing` as in `DecodeError`: the next run tries again."""
        self._failures.append(Failure(vid, reason))
        self._count_failure(vid, reason, passing=passing)

    def tell(self, rows_encoded: int) -> None:
        """Some time has passed: report progress and write a part, unless either was done a moment ago."""
        self._rows_encoded = rows_encoded
        now = time.monotonic()
        if now - self._last_part >= PART_SECONDS:
            self.flush()
        if now - self._told >= TELL_EVERY_SECONDS:
            self.report("")

    def flush(self) -> None:
        """Write what waits as one part. Nothing is forgotten before it is on disk."""
        self._last_part = time.monotonic()
        if not self._records and not self._failures:
            return
        refused = self._workspace.write_part(
            self._records, failures=self._failures, failed_files=dict(self._failed_files)
        )
        settled = [*(record.vid for record in self._records), *(failure.vid for failure in self._failures)]
        self._records, self._failures, self._failed_files, self._bytes = [], [], {}, 0
        if self._jobs is not None:
            for vid in settled:
                self._jobs.settled(vid)
        for failure in refused:  # written once more, now that it is known to be the file's own failure
            self.done -= 1
            self.fail(failure.vid, failure.reason)
        self.flush()

    def report(self, note: str) -> None:
        """Tell how far the run is, with a line worth showing."""
        if self._progress is None:
            return
        self._told = time.monotonic()
        spent = max(1e-9, self._told - self._started)
        finished = self.done + self.failed
        waiting = [*(record.vid for record in self._records), *(failure.vid for failure in self._failures)]
        left, cost_left = 0, 0.0
        if self._jobs is not None:
            left, cost_left = len(self._jobs), self._jobs.cost_left - sum(map(self._jobs.cost, waiting))
        cost_done = self._cost_at_start - cost_left
        self._progress(
            ProgressState(
                stage="videos",
                done=finished,
                total=finished - len(waiting) + left,
                failures=self.failed,
                rows=self._rows_encoded,
                rows_per_second=self._rows_encoded / spent,
                seconds_left=spent / cost_done * cost_left if cost_done > 0 else None,
                note=note,
            )
        )

    def __enter__(self) -> Collector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
        self.report("")

    def _count_failure(self, vid: str, reason: str, *, passing: bool) -> None:
        if not passing:
            self._failed_files[vid] = signature(Path(self._videos[vid]))
        self.failed += 1
        if self._max_fail is not None and self.failed > self._max_fail and not self.stopped:
            self.stopped = f"more than {self._max_fail} videos failed"
        self.report(f"{vid}: {reason}")
