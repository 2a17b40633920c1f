"""Finished videos to parts, failures to the list, and numbers to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rdmf.store import Failure, VideoRecord
from rdmf_extract.progress import ProgressCallback, ProgressState
from rdmf_extract.workspace import Workspace, signature

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
        total: int,
        max_fail: int | None,
        progress: ProgressCallback | None,
    ) -> None:
        self._workspace, self._videos, self._total = workspace, videos, total
        self._max_fail, self._progress = max_fail, progress
        self._records: list[VideoRecord] = []
        self._failures: list[Failure] = []
        self._bytes = 0
        self._started = self._last_part = self._told = time.monotonic()
        self._rows_encoded = 0
        self.done = self.rows = self.failed = 0
        self.stopped = ""

    def add(self, record: VideoRecord) -> None:
        """A video is finished."""
        self._records.append(record)
        self._bytes += record.features.nbytes // 2  # stored in half the bytes
        self.done += 1
        self.rows += len(record.features)
        full = self._bytes >= PART_BYTES or len(self._records) >= PART_VIDEOS
        if full or time.monotonic() - self._last_part >= PART_SECONDS:
            self.flush()

    def fail(self, vid: str, reason: str) -> None:
        """A video gave nothing."""
        failure = Failure(vid, reason)
        self._failures.append(failure)
        self._count_failure(failure)

    def tell(self, rows_encoded: int) -> None:
        """Report progress, unless that was done a moment ago."""
        self._rows_encoded = rows_encoded
        if time.monotonic() - self._told >= TELL_EVERY_SECONDS:
            self._report("")

    def flush(self) -> None:
        """Write what waits as one part."""
        records, failures = self._records, self._failures
        self._records, self._failures, self._bytes = [], [], 0
        self._last_part = time.monotonic()
        if not records and not failures:
            return
        for refused in self._workspace.write_part(records, failures=failures):
            self.done -= 1
            self._count_failure(refused)

    def __enter__(self) -> Collector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
        self._report("")

    def _count_failure(self, failure: Failure) -> None:
        self._workspace.failed_files[failure.vid] = signature(Path(self._videos[failure.vid]))
        self.failed += 1
        if self._max_fail is not None and self.failed > self._max_fail and not self.stopped:
            self.stopped = f"more than {self._max_fail} videos failed"
        self._report(f"{failure.vid}: {failure.reason}")

    def _report(self, note: str) -> None:
        if self._progress is None:
            return
        self._told = time.monotonic()
        spent = max(1e-9, self._told - self._started)
        finished = self.done + self.failed
        left = spent / finished * (self._total - finished) if finished else None
        self._progress(
            ProgressState(
                stage="videos",
                done=finished,
                total=self._total,
                failures=self.failed,
                rows=self._rows_encoded,
                rows_per_second=self._rows_encoded / spent,
                seconds_left=left,
                note=note,
            )
        )
