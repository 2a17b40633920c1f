"""Who does what, among runs that share a folder: a small file a piece of work, made by whoever begins it.

A claim is created with O_EXCL, so one run gets it. It names its run, and holds for as long as that run lives
(`presence`). A dead run's claim is taken over by renaming it away, which again one run manages. Claims save double work
and nothing more: whoever joins the results passes over what is there twice, so even a file system that breaks its
promises costs time, never a wrong cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path

from rdmf_extract.presence import SUFFIX as RUN_SUFFIX
from rdmf_extract.presence import Presence, names_in

SUFFIX = ".claim"


class Claims:
    """The claims of one run. A piece of work is named by a short string that is safe in a file name.

    Attributes:
        held: names that this run holds.
    """

    def __init__(self, presence: Presence) -> None:
        self._presence, self._folder = presence, presence.folder
        self.held: set[str] = set()

    def taken(self) -> set[str]:
        """Names that some run has claimed, this one included."""
        return {name.removesuffix(SUFFIX) for name in names_in(self._folder, SUFFIX)}

    def take(self, name: str) -> bool:
        """Claim a piece of work; False where another run, as far as is known alive, has it.

        Raises:
            OSError: the file cannot be written (disk full, read-only).
        """
        if name in self.held:
            return True
        if self._create(name) or self._take_over(name):
            self.held.add(name)
            return True
        return False

    def drop(self, name: str) -> None:
        """Give up a claim: the work is done, or left to others."""
        if name in self.held:
            self.held.discard(name)
            # Taken over by another run, when this one was suspended for long and thought dead: then it is that run's.
            if self._owner(self._path(name)) == self._presence.name:
                with contextlib.suppress(OSError):
                    self._path(name).unlink()

    def drop_all(self) -> None:
        """Give up everything."""
        for name in list(self.held):
            self.drop(name)

    def sweep(self) -> None:
        """Remove the claims of runs that are no more."""
        for name in self.taken() - self.held:
            owner = self._orphan(name)
            if owner is not None:
                self._clear(name, owner)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"

    def _create(self, name: str) -> bool:
        try:
            handle = self._opened(self._path(name))
        except FileExistsError:
            return False
        # The run is what counts; the rest is for people who look into the folder.
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        card = {"run": self._presence.name, "host": socket.gethostname(), "pid": os.getpid(), "since": since}
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(json.dumps(card).encode())
        except OSError:
            with contextlib.suppress(OSError):
                self._path(name).unlink()
            raise
        return True

    def _opened(self, path: Path) -> int:
        """A new file; FileExistsError where it is there."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        try:
            return os.open(path, flags, 0o666)
        except FileNotFoundError:  # the folder went away with runs that thought this one dead
            self._presence.touch()
            return os.open(path, flags, 0o666)

    def _take_over(self, name: str) -> bool:
        """Claim what a dead run holds."""
        owner = self._orphan(name)
        return owner is not None and self._clear(name, owner) and self._create(name)

    def _orphan(self, name: str) -> str | None:
        """The owner of a claim whose run is gone; None where there is no such claim or its run lives."""
        owner = self._owner(self._path(name))
        if owner is None or owner == self._presence.name:
            return None
        if owner == "":  # its writer died between creating and filling it, or is doing so right now
            return owner if self._presence.is_old(self._path(name)) else None
        return None if (self._folder / f"{owner}{RUN_SUFFIX}").exists() else owner

    def _clear(self, name: str, owner: str) -> bool:
        """Rename the orphaned claim of `owner` away, so that its name is free; True for the one run that managed to."""
        aside = self._folder / f"{name}.{self._presence.name}.taken"
        try:
            self._path(name).rename(aside)
        except FileNotFoundError:
            return False
        cleared = self._owner(aside) == owner
        if not cleared:
            # Between the look and the rename another run took it over: it is alive, and gets it back.
            with contextlib.suppress(FileExistsError):
                os.link(aside, self._path(name))
        with contextlib.suppress(OSError):
            aside.unlink()
        return cleared

    def _owner(self, path: Path) -> str | None:
        """Which run a claim names; "" where it cannot be read, None where it is gone."""
        try:
            return str(json.loads(path.read_bytes())["run"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return ""
