"""A folder as a place to share caches in: a disk that several machines of a lab mount, a stick."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from rdmf.files import write_atomically
from rdmf.store import InputError
from rdmf_pipelines.sharing.bundle import CARD, LISTING, SharedFile, digest, in_threads, read_bundle

_PIECE_BYTES = 1 << 22


class FolderPlace:
    """A folder. Files get their names when they are whole, and the listing comes after all that it lists."""

    def __init__(self, name: str, *, writing: bool) -> None:
        folder = Path(name).expanduser()
        self.name = name
        self.card_name = f"./{folder.resolve().name}"  # no path of this machine in what others read
        self._folder = folder
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; name a folder")
        if not writing and not folder.exists():
            raise InputError(f"no folder {folder}; is the disk mounted?")

    def read(self, path: str) -> bytes | None:
        try:
            return (self._folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"cannot read {self._folder / path}: {error.strerror}") from None

    def fetch(self, file: SharedFile, into: Path) -> None:
        source = self._folder / file.path
        try:
            with source.open("rb", buffering=0) as given, into.open("ab", buffering=0) as taken:
                given.seek(taken.tell())
                _copy(given, taken)
        except FileNotFoundError:
            raise InputError(f"{source} is missing, though {LISTING} lists it; share the cache again") from None
        except OSError as error:
            raise InputError(f"cannot copy {source} to {into}: {error.strerror}") from None

    def put(self, files: Mapping[SharedFile, Path], texts: Mapping[str, bytes], obsolete: Sequence[str]) -> None:
        if (self._folder / CARD).exists() and not (self._folder / LISTING).exists():
            raise InputError(f"{self._folder} has a {CARD} but no shared cache; name a folder of its own")
        self._refuse_others(files)
        try:
            in_threads(lambda file: self._put(file, files[file]), files)
            for path, content in texts.items():
                write_atomically(self._folder / path, partial(Path.write_bytes, data=content))
            for path in obsolete:
                (self._folder / path).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot write {error.filename or self._folder}: {error.strerror}") from None

    def _refuse_others(self, files: Mapping[SharedFile, Path]) -> None:
        """What a later push would remove, or this one replace, must be copies that a push has made."""
        before = self.read(LISTING)
        shared = {file.path for file in read_bundle(before, self.name).files} if before is not None else set()
        for file, source in files.items():
            target = self._folder / file.path
            if target.exists() and target.samefile(source):
                raise InputError(f"{source} lies in {self._folder} itself, which the next push may clear; name another")
            if target.exists() and file.path not in shared and not _is_copy(file, target):
                raise InputError(f"{target} is there and no push has made it; name another folder, or remove it first")

    def _put(self, file: SharedFile, source: Path) -> None:
        target = self._folder / file.path
        if _is_copy(file, target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        growing = target.with_name(f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
        try:
            with source.open("rb", buffering=0) as given, growing.open("wb", buffering=0) as taken:
                _copy(given, taken)
                os.fsync(taken.fileno())
            if digest(growing) != file.sha256:
                raise InputError(f"{source} changed while it was copied to {target}; push it again")
            growing.replace(target)
        finally:
            with contextlib.suppress(OSError):
                growing.unlink(missing_ok=True)


def _is_copy(file: SharedFile, target: Path) -> bool:
    return target.is_file() and target.stat().st_size == file.bytes and digest(target) == file.sha256


def _copy(given: IO[bytes], taken: IO[bytes]) -> None:
    while piece := given.read(_PIECE_BYTES):
        left = memoryview(piece)
        while left:  # an unbuffered write may take less than it is given
            left = left[taken.write(left) :]
