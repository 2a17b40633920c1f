"""What an extraction finds on disk and leaves there: finished parts beside the cache, then the cache.

`features/charades.h5` grows out of `features/charades.parts/*.h5`. A part is whole or absent, so a run that is killed
loses only what was not yet in a part, and the next run goes on from the parts and the cache that it finds.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO

from rdmf.store import (
    Failure,
    InputError,
    PartWriter,
    Provenance,
    QueryRecord,
    TextRecord,
    VideoRecord,
    differing_fields,
    merge,
    open_cache,
)

FAILED_FILES = "failed_files"  # note: what a failed video's file looked like, to see whether it changed since
QUERIES_SHA256 = "queries_sha256"  # note: which annotations are attached


class Workspace:
    """The cache at `out` and the parts that are on the way to it; one run at a time holds it.

    Attributes:
        vids: videos that have features already.
        texts: sentences that have features already.
        failures: vid -> reason, of videos that failed before and have no features.
        failed_files: vid -> `signature` of the file when it failed.

    Raises:
        InputError: a cache or part made with other settings is there (naming them), one that cannot be opened, or
            another run is at work on it.
    """

    def __init__(self, out: Path, provenance: Provenance) -> None:
        if out.is_dir():
            raise InputError(f"cannot write {out}: it is a directory; name a file, e.g. {out / 'features.h5'}")
        self.out, self.provenance = out, provenance
        self.folder = out.with_suffix(".parts")
        self.vids: set[str] = set()
        self.texts: set[str] = set()
        self.failures: dict[str, str] = {}
        self.failed_files: dict[str, str] = {}
        self._attached = ""
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Workspace:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / ".lock").open("wb")
        except OSError as error:
            raise InputError(f"cannot write beside {self.out}: {error.strerror or error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise InputError(f"another extraction is writing {self.out}; wait for it or name another file") from None
        try:
            for left_behind in self.folder.glob("*.partial"):
                left_behind.unlink()
            for path in self._sources():
                self._learn(path)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def write_part(
        self,
        videos: Sequence[VideoRecord] = (),
        texts: Sequence[TextRecord] = (),
        failures: Sequence[Failure] = (),
    ) -> list[Failure]:
        """Write one part; returns the videos that could not be stored, which count as failures from now on."""
        number = max((int(path.stem) for path in self._parts()), default=-1) + 1
        refused: list[Failure] = []
        notes = {**self.provenance.notes, FAILED_FILES: self.failed_files}
        path = self.folder / f"{number:06d}.h5"
        with PartWriter(path, replace(self.provenance, notes=notes)) as writer:
            for video in videos:
                try:
                    writer.add_video(video)
                except InputError as error:
                    refused.append(Failure(video.vid, str(error)))
                else:
                    self.vids.add(video.vid)
                    self.failures.pop(video.vid, None)
            for text in texts:
                writer.add_text(text)
                self.texts.add(text.text)
            for failure in (*failures, *refused):
                writer.add_failure(failure)
                self.failures[failure.vid] = failure.reason
        return refused

    def finish(self, queries: Sequence[QueryRecord], missing: Sequence[str] = ()) -> None:
        """Merge all parts into the cache, attach these queries, and remove the parts; nothing where nothing is new.

        Args:
            missing: videos without a file; the cache lists them among its failures.
        """
        attached = queries_digest(queries)
        parts = self._parts()
        if not parts and self.out.exists() and attached == self._attached:
            return
        failed = {vid: mark for vid, mark in self.failed_files.items() if vid in self.failures}
        notes = {**self.provenance.notes, QUERIES_SHA256: attached, FAILED_FILES: failed}
        absent = [Failure(vid, "file not found") for vid in missing if vid not in self.vids | self.failures.keys()]
        provenance = replace(self.provenance, notes=notes)
        merge(self._sources(), self.out, provenance=provenance, queries=queries, failures=absent)
        self._attached = attached
        for part in parts:
            part.unlink()

    def _parts(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.h5") if path.stem.isdigit())

    def _sources(self) -> list[Path]:
        return ([self.out] if self.out.exists() else []) + self._parts()

    def _learn(self, path: Path) -> None:
        with open_cache(path) as cache:
            stale = path != self.out and bool(cache.vids) and self.vids.issuperset(cache.vids)
            fields = differing_fields(cache.provenance, self.provenance)
            if fields:
                raise InputError(
                    f"{path} was made with other settings ({'; '.join(fields)}, where 'there' is this run); "
                    "use those settings, or name another file with --out"
                )
            self.vids.update(cache.vids)
            self.texts.update(cache.texts)
            self.failures.update((failure.vid, failure.reason) for failure in cache.failures)
            self.failed_files.update(cache.provenance.notes.get(FAILED_FILES, {}))
            if stale:  # a run was killed after it had merged this part and before it could remove it
                path.unlink()
            if path == self.out:
                self._attached = str(cache.provenance.notes.get(QUERIES_SHA256, ""))
        for vid in self.vids & self.failures.keys():
            del self.failures[vid]

    def _release(self) -> None:
        if self._lock is not None:
            if not self._parts():
                (self.folder / ".lock").unlink(missing_ok=True)
                if not any(self.folder.iterdir()):
                    self.folder.rmdir()
            self._lock.close()
            self._lock = None


def signature(path: Path) -> str:
    """What tells a file from a changed one without reading it: its length and time of change; "absent" for none."""
    try:
        status = path.stat()
    except OSError:
        return "absent"
    return f"{status.st_size}:{status.st_mtime_ns}"


def queries_digest(queries: Sequence[QueryRecord]) -> str:
    """A checksum of annotations, so that a re-run sees whether they changed."""
    digest = hashlib.sha256()
    for query in queries:
        digest.update(repr(query).encode())
    return digest.hexdigest()
