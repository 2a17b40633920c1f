"""What an extraction finds on disk and leaves there: finished parts beside the cache, then the cache.

`features/charades.h5` grows out of `features/charades.parts/*.h5`. A part is whole or absent and belongs to the run
that wrote it, so a run that is killed loses only what was not yet in a part, the next run goes on from what it finds,
and any number of runs on any number of machines may work on one cache at once: each takes what no other has claimed.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal

from rdmf.store import (
    Failure,
    InputError,
    PartWriter,
    Provenance,
    QueryRecord,
    TextRecord,
    VideoRecord,
    differing_fields,
    fingerprint,
)
from rdmf.store.fingerprint import as_json
from rdmf_extract.claims import Claims
from rdmf_extract.finishing import Finisher
from rdmf_extract.presence import Presence, Run, names_in
from rdmf_extract.remedy import remedy
from rdmf_extract.sources import FAILED_FILES, DamagedError, Known, parts_folder, read_known

Finish = Literal["made", "elsewhere", "damaged"]


class Workspace:
    """The cache at `out` and the parts that are on the way to it, shared with other runs.

    Args:
        tell: called with a line that people should read.

    Attributes:
        known: what cache and parts hold, as of the last `refresh`.
        failed_now: videos that failed since this run began, here or in another run.
        changes: how often `known` has changed.
        claims: who does what.

    Raises:
        InputError: a cache or part made with other settings is there (naming them), the cache cannot be opened, or
            another run is making it with other settings.
    """

    def __init__(self, out: Path, provenance: Provenance, *, tell: Callable[[str], None] = lambda _: None) -> None:
        if out.is_dir():
            raise InputError(f"cannot write {out}: it is a directory; name a file, e.g. {out / 'features.h5'}")
        self.out, self.provenance, self.tell = out, provenance, tell
        self.folder = parts_folder(out)
        self.known = Known()
        self.failed_now: set[str] = set()
        settings = as_json({"video": provenance.video, "text": provenance.text}, "provenance")
        facts = {"fingerprint": fingerprint(provenance), "settings": settings}
        self.presence = Presence(self.folder, facts)
        self.claims = Claims(self.presence)
        self._read: dict[Path, Known] = {}
        self._out_mark = ""
        self._parts_seen: set[str] = set()
        self.changes = 0
        self._parts_written = 0
        self._lock = threading.RLock()  # decoder threads refresh while the main thread writes

    def __enter__(self) -> Workspace:
        try:
            self.presence.__enter__()
        except OSError as error:
            raise InputError(f"cannot write beside {self.out}: {error.strerror or error}") from error
        try:
            self.tidy()
            self._refuse_other_settings()
            self.refresh()
            self.failed_now.clear()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def others(self) -> list[Run]:
        """The other runs that are at work on this cache."""
        return [run for run in self.presence.others() if not self.presence.is_dead(run)]

    def tidy(self) -> None:
        """Remove what runs that are no more have left behind: their claims, and files they had begun."""
        unfinished = re.compile(rf"\.{re.escape(self.out.name)}\.[\w-]+-\d+-[0-9a-f]{{8}}(\.[\w-]+\.partial)?")
        begun = [path for path in self.out.parent.glob(".*") if unfinished.fullmatch(path.name)]
        # The lock is of an rdmf that let one run at a time in.
        begun += [self.folder / name for name in names_in(self.folder, ".partial", ".taken", ".lock")]
        self.presence.bury()
        alive = [self.presence.name, *(run.name for run in self.presence.others())]
        for path in begun:
            if not any(name in path.name for name in alive):
                path.unlink(missing_ok=True)
        self.claims.sweep()

    def refresh(self) -> None:
        """Learn what other runs have done since. Parts that are damaged are set aside: they are done again."""
        with self._lock:
            while not self._refreshed():
                pass

    def write_part(
        self,
        videos: Sequence[VideoRecord] = (),
        texts: Sequence[TextRecord] = (),
        failures: Sequence[Failure] = (),
        failed_files: dict[str, str] | None = None,
    ) -> list[Failure]:
        """Write one part; returns the videos that could not be stored, which count as failures from now on.

        Args:
            failed_files: signatures of the failed videos' files (see `Known.failed_files`).
        """
        with self._lock:
            refused: list[Failure] = []
            notes = {**self.provenance.notes, FAILED_FILES: dict(failed_files or {})}
            path = self.folder / f"{self.presence.name}-{self._parts_written:06d}.h5"
            part = Known(texts=dict.fromkeys(text.text for text in texts), failed_files=dict(failed_files or {}))
            with PartWriter(path, replace(self.provenance, notes=notes)) as writer:
                for video in videos:
                    try:
                        writer.add_video(video)
                    except InputError as error:
                        refused.append(Failure(video.vid, str(error)))
                    else:
                        part.vids[video.vid] = None
                for text in texts:
                    writer.add_text(text)
                for failure in (*failures, *refused):
                    writer.add_failure(failure)
                    part.failures[failure.vid] = failure.reason
            self._parts_written += 1
            self._take_in(path, part)
            return refused

    def finish(self, queries: Sequence[QueryRecord], vids: Sequence[str], missing: Sequence[str] = ()) -> Finish:
        """Join all parts into the cache, attach these queries, and remove the parts; nothing where nothing is new.

        Args:
            vids: the videos in the order they are to have in the cache.
            missing: videos without a file; the cache lists them among its failures.

        Returns:
            "made"; or why not: "elsewhere" where another run is at it, "damaged" where a part turned out to be and was
            set aside, so that its videos are to be done again.
        """
        with self._lock:
            self.refresh()
            finisher = Finisher(self.out, self.provenance, queries=queries, vids=vids, missing=missing)
            if not finisher.needed(self._read):
                finisher.remove_parts(self._read)
                return "made"
            if not self.claims.take("merge"):
                return "elsewhere"
            try:
                self.refresh()  # another run may have finished it meanwhile
                damaged = finisher.finish(self._read, self.presence) if finisher.needed(self._read) else None
                if damaged is not None:
                    self._set_aside(damaged.path, str(damaged))
                self.refresh()
                if damaged is not None:
                    return "damaged"
                return "elsewhere" if finisher.needed(self._read) else "made"
            finally:
                self.claims.drop("merge")

    def _refreshed(self) -> bool:
        """One look at the folder; False where a part vanished meanwhile, because another run joined the parts."""
        # Parts first: one that is gone from the list is in the cache by then.
        parts = names_in(self.folder, ".h5")
        if parts != self._parts_seen:
            for gone in [path for path in self._read if path != self.out and path.name not in parts]:
                del self._read[gone]
        mark = file_mark(self.out)
        if mark != self._out_mark:
            self._read.pop(self.out, None)
            if mark:
                self._learn(self.out)
            self._out_mark = mark
        try:
            if parts != self._parts_seen:
                new = [path for name in parts if (path := self.folder / name) not in self._read]
                for path in sorted(new, key=lambda path: (path.stat().st_mtime_ns, path)):
                    self._learn(path)
        except FileNotFoundError:
            return False
        self._parts_seen = parts
        return True

    def _learn(self, path: Path) -> None:
        try:
            part = read_known(path, self.provenance)
        except DamagedError as error:
            if path == self.out:
                raise InputError(f"{error}; move it away to extract anew") from error
            self._set_aside(path, str(error))
            return
        self._take_in(path, part)

    def _take_in(self, path: Path, part: Known) -> None:
        self._read[path] = part
        self.known.add(part)
        self.changes += 1
        if path != self.out:
            self.failed_now |= part.failures.keys()

    def _set_aside(self, path: Path, why: str) -> None:
        """Take a damaged part out of the way; what only it held is to be done again."""
        if path == self.out:
            raise InputError(f"{why}; move {path} away to extract anew")
        self.tell(f"{path.name} is damaged and set aside, what it held is extracted again ({why})")
        with contextlib.suppress(FileNotFoundError):
            path.rename(path.with_name(f"{path.name}.damaged"))
        self._read.pop(path, None)
        known = Known()
        for part in self._read.values():
            known.add(part)
        self.known = known
        self.changes += 1

    def _refuse_other_settings(self) -> None:
        for run in self.others():
            settings = run.facts.get("settings")
            if settings and run.facts.get("fingerprint") != fingerprint(self.provenance):
                made = Provenance(settings["video"], settings["text"])
                fields = differing_fields(made, self.provenance)
                raise InputError(
                    f"{run} is making {self.out} with other settings ({'; '.join(fields)}, where 'there' is this "
                    f"run); {remedy(made, fields)}"
                )

    def _leave(self) -> None:
        self.claims.drop_all()
        self.presence.__exit__(None, None, None)
        with contextlib.suppress(OSError):  # parts are there, or another run
            self.folder.rmdir()


def file_mark(path: Path) -> str:
    """What tells a file from the one that replaces it; "" for none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return ""
    return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
