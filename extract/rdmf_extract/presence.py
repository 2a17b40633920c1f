"""Which runs are at work in a folder that several machines share, and which of them are dead.

Every run keeps one small file there, `RUN.run`, and touches it every few seconds. Whether another run's file is old is
told by comparing it with one's own, touched a moment before: both times come from the file system's clock (a file
server's, where the folder is on one), so machines whose clocks differ judge alike. On one machine a run that was
killed is known to be dead at once, by its process id. There are no locks: nothing here needs more of a file system than
that creating, renaming and deleting a file are atomic.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

BEAT_SECONDS = 10.0
# Network file systems may show another machine's touch up to a minute late.
STALE_SECONDS = 180.0
SUFFIX = ".run"


@dataclass(frozen=True)
class Run:
    """A run as its file tells it: `name` (unique for ever), where it is and what it makes."""

    name: str
    host: str = ""
    machine: str = ""
    pid: int = 0
    started: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.pid else f"run {self.name}"


class Presence:
    """This run's own file, kept fresh by a thread, and a look at the others'.

    Args:
        folder: where runs that work together meet; made where needed.
        facts: JSON values that others may read (`Run.facts`).

    Attributes:
        name: this run's name, a safe part of file names: host, process and eight random digits.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        host = socket.gethostname()
        self.folder = folder
        self.name = f"{re.sub(r'[^A-Za-z0-9]+', '-', host)[:40]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._path = folder / f"{self.name}{SUFFIX}"
        card = {
            "host": host,
            "machine": machine(),
            "pid": os.getpid(),
            "started": started(os.getpid()),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "facts": dict(facts),
        }
        self._card = json.dumps(card).encode()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Presence:
        """Raises OSError where the folder cannot be written to."""
        for attempt in range(20):
            try:
                self._write()
                break
            except FileNotFoundError:  # the last run that left took the folder with it
                if attempt == 19:
                    raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # a disk that went read-only or away: the next run tells it is dead
            self._path.unlink()

    def alive(self) -> bool:
        """Whether no other run has declared this one dead (as happens to one that was suspended for long)."""
        return self._path.exists()

    def others(self) -> list[Run]:
        """The other runs that have a file here, dead or alive."""
        names = sorted(names_in(self.folder, SUFFIX) - {self._path.name})
        return [run for name in names if (run := _read(self.folder / name)) is not None]

    def alone(self) -> bool:
        """Whether no other run has a file here."""
        return names_in(self.folder, SUFFIX) <= {self._path.name}

    def is_dead(self, run: Run, now: float | None = None) -> bool:
        """Whether a run has ended without taking its file away; True as well where the file is gone.

        Args:
            now: what `touch` gave a moment ago; default: it is called.
        """
        if run.pid and run.machine == machine() and started(run.pid) != run.started:
            return True
        return self.is_old(self.folder / f"{run.name}{SUFFIX}", now)

    def is_old(self, path: Path, now: float | None = None) -> bool:
        """Whether nobody has touched a file for STALE_SECONDS, or it is gone."""
        now = self.touch() if now is None else now
        try:
            # Opened, because a network file system asks the server then, and may not when only looked at.
            with path.open("rb") as file:
                return now - os.fstat(file.fileno()).st_mtime > STALE_SECONDS
        except FileNotFoundError:
            return True

    def bury(self) -> list[Run]:
        """Remove the files of dead runs; returns those that this call removed (no two runs get the same one)."""
        buried = []
        others = self.others()
        now = self.touch() if others else 0.0
        for run in others:
            if self.is_dead(run, now):
                with contextlib.suppress(FileNotFoundError):
                    (self.folder / f"{run.name}{SUFFIX}").unlink()
                    buried.append(run)
        return buried

    def touch(self) -> float:
        """Renew this run's file; returns the file system's time now, in seconds."""
        try:
            os.utime(self._path)  # without a time of our own: the file server's clock, not this machine's
        except FileNotFoundError:
            self._write()  # declared dead while suspended; claims lost meanwhile cost double work, nothing else
        return self._path.stat().st_mtime

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(self._card)

    def _beat(self) -> None:
        while not self._end.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):  # a file server that is away: others wait STALE_SECONDS
                self.touch()


def _read(path: Path) -> Run | None:
    """A run's file; with its name alone where it cannot be read yet; None where it is gone."""
    name = path.name.removesuffix(SUFFIX)
    try:
        card = json.loads(path.read_bytes())
        return Run(name, card["host"], card["machine"], int(card["pid"]), card["started"], dict(card["facts"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return Run(name)


def names_in(folder: Path, *suffixes: str) -> set[str]:
    """Names of the files with one of these endings: a plain listing, for it is asked for with every video.

    Empty where there is no folder, or where it goes while it is read (at which `Path.glob` raises).
    """
    try:
        return {name for name in os.listdir(folder) if name.endswith(suffixes)}  # noqa: PTH208
    except FileNotFoundError:  # the runs that thought this one dead have ended, and taken the folder with them
        return set()


def machine() -> str:
    """What a process id is unique within: host, its last start, and the container where there is one."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def started(pid: int) -> str:
    """When a process of this machine was started, in a form that tells it from a later one of the same id; "" if gone.

    Where the system does not tell (no /proc), "?" for a process that is there.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
        state, *rest = status.rpartition(")")[2].split()  # the name before it may hold anything
        return "" if state in "ZX" else rest[18]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return ""
    except (OSError, IndexError):
        return "?"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        return "?"
    return "?"
