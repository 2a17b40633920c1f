"""What is shared of a cache: which files, how long, with which checksums; and the small file that says so."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from rdmf import __version__
from rdmf.store import Cache, InputError
from rdmf.store.cores import usable_cores
from rdmf.store.header import HEADER_BYTES

LISTING, CHECKSUMS, CARD = "rdmf-cache.json", "SHA256SUMS", "README.md"
_FORMAT, _VERSION = "rdmf shared cache", 1
_PIECE_BYTES = 1 << 22
_MOST_THREADS = 8
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class SharedFile:
    """A file of a shared cache: path relative to the cache's folder, with forward slashes, length, checksum of all.

    Raises:
        InputError: a path that leads out of the folder, or a checksum or length that is none.
    """

    path: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.path).parts if isinstance(self.path, str) else ()
        plain = parts and "/".join(parts) == self.path and not re.search(r"[\\:\0]", self.path)
        if not plain or parts[0] == "/" or ".." in parts:
            raise InputError(f"{self.path!r} is not the path of a file inside a shared cache's folder")
        if not isinstance(self.bytes, int) or self.bytes < 0 or not re.fullmatch("[0-9a-f]{64}", str(self.sha256)):
            raise InputError(f"{self.path}: the length {self.bytes!r} or the checksum {self.sha256!r} is none")


@dataclass(frozen=True)
class Bundle:
    """A shared cache: the file to open (`cache`, a plain name), its fingerprint, and all files, that one last."""

    cache: str
    fingerprint: str
    files: tuple[SharedFile, ...]

    def listing(self) -> bytes:
        """`rdmf-cache.json`."""
        about = {"format": _FORMAT, "version": _VERSION, "rdmf": __version__}
        whole = {
            **about,
            "cache": self.cache,
            "fingerprint": self.fingerprint,
            "files": [asdict(f) for f in self.files],
        }
        return (json.dumps(whole, indent=1) + "\n").encode()

    def checksums(self) -> bytes:
        """`SHA256SUMS`, as sha256sum reads it."""
        return "".join(f"{file.sha256}  {file.path}\n" for file in self.files).encode()

    @property
    def n_bytes(self) -> int:
        """Length of all files together."""
        return sum(file.bytes for file in self.files)


def bundle_of(cache: Cache) -> tuple[Bundle, dict[str, Path]]:
    """What is to be shared of a cache, and where each of its files lies here. Reads all of it, several files at once.

    Raises:
        InputError: a part lies outside the index's folder, or a file is damaged.
    """
    sources = {_inside(cache, file.path): file.path for file in cache.data_files} if cache.is_index else {}
    sources[cache.path.name] = cache.path
    expected = {name: file.sha256 for name, file in zip(sources, cache.data_files)} if cache.is_index else {}
    expected[cache.path.name] = cache.header.sha256 if cache.header else ""

    def shared(name: str) -> SharedFile:
        whole, rest, n_bytes = _digests(sources[name])
        if rest != expected[name]:
            raise InputError(f"{sources[name]} is damaged; `rdmf features verify {cache.path}` tells where")
        return SharedFile(name, n_bytes, whole)

    return Bundle(cache.path.name, cache.fingerprint, tuple(in_threads(shared, sources))), sources


def read_bundle(content: bytes, where: str) -> Bundle:
    """`rdmf-cache.json` read back; its files may be trusted to lie inside the folder.

    Raises:
        InputError: not such a file, of another version, or a path that leads elsewhere.
    """
    try:
        whole: dict[str, Any] = json.loads(content)
        if whole["format"] != _FORMAT:
            raise ValueError("another format")
        version, cache, mark = int(whole["version"]), str(whole["cache"]), str(whole["fingerprint"])
        entries = [(entry["path"], entry["bytes"], entry["sha256"]) for entry in whole["files"]]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{where}: {LISTING} is damaged, or not one that rdmf wrote") from None
    if version != _VERSION:
        raise InputError(
            f"{where}: {LISTING} is of version {version}, and this rdmf reads {_VERSION}; use a newer rdmf"
        )
    try:
        files = tuple(SharedFile(*entry) for entry in entries)
    except InputError as error:
        raise InputError(f"{where}: {LISTING}: {error}; nothing was fetched") from None
    names = [file.path for file in files]
    if "/" in cache or names[-1:] != [cache] or len(set(names)) != len(names):
        raise InputError(f"{where}: {LISTING} does not end with its cache '{cache}'; nothing was fetched")
    return Bundle(cache, mark, files)


def digest(path: Path) -> str:
    """sha256 (hex) of a whole file."""
    return _digests(path, rest=False)[0]


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """The function of every item, in order; several at once, which hashing, reading and fetching allow."""
    pool = ThreadPoolExecutor(min(_MOST_THREADS, usable_cores()))
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(cancel_futures=True)


def _inside(cache: Cache, part: Path) -> str:
    """The part's path as the index has it, which must lead to somewhere below the index."""
    home = cache.path.parent if part.is_relative_to(cache.path.parent) else cache.path.resolve().parent
    name = Path(os.path.relpath(part, home)).as_posix()
    if name.startswith("../"):
        raise InputError(
            f"{cache.path} is an index, and its part {part} lies outside its folder, which cannot be shared; "
            f"`rdmf features merge {cache.path} --out NEW.h5` makes one self-contained file"
        )
    return name


def _digests(path: Path, *, rest: bool = True) -> tuple[str, str, int]:
    """sha256 (hex) of a whole file and of what follows the header, and its length."""
    whole, after, n_bytes = hashlib.sha256(), hashlib.sha256(), 0
    piece = memoryview(bytearray(_PIECE_BYTES))
    try:
        with path.open("rb", buffering=0) as file:
            while got := file.readinto(piece):
                whole.update(piece[:got])
                if rest:
                    after.update(piece[max(0, HEADER_BYTES - n_bytes) : got])
                n_bytes += got
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    return whole.hexdigest(), after.hexdigest(), n_bytes


def missing_bytes(files: Sequence[SharedFile], have: Callable[[SharedFile], int]) -> int:
    """How many bytes of these files are still to come."""
    return sum(max(0, file.bytes - have(file)) for file in files)
