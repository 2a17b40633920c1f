"""Fetching a shared cache: goes on where it stopped, checks every byte, and gives a file its name when it is whole."""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rdmf.store import InputError, open_cache
from rdmf_pipelines.sharing.bundle import LISTING, Bundle, SharedFile, digest, in_threads, missing_bytes, read_bundle
from rdmf_pipelines.sharing.place import Place


@dataclass(frozen=True)
class Pulled:
    """A cache that is here now, how many files it has, and how many of them had to be fetched."""

    path: Path
    bundle: Bundle
    n_fetched: int


def pull(place: Place, out: Path | None = None) -> Pulled:
    """Fetches the cache that a place shares. Parts come first, so that the cache is there when all of it is.

    Args:
        out: the file it is to be, its parts below that file's folder. Default: features/, by its own name.

    Raises:
        InputError: nothing is shared there, something else is in the way, too little room on the disk, bytes that are
            not those that were shared, or the place's own refusal.
    """
    listing = place.read(LISTING)
    if listing is None:
        raise InputError(f"{place.name} shares no cache: it has no {LISTING}; `rdmf features push` makes one")
    bundle = read_bundle(listing, place.name)
    out = Path("features") / bundle.cache if out is None else out
    if out.is_dir():
        raise InputError(f"{out} is a directory; name the file, e.g. {out / bundle.cache}")
    *parts, cache = bundle.files
    targets = {file: out.parent / file.path for file in parts}
    targets[cache] = out
    clash = [file.path for file in parts if targets[file] == out]
    if clash:
        raise InputError(f"{out} is the name of a part of this cache; name another file with --out")
    wanted = [file for file, there in zip(targets, in_threads(lambda f: _is_here(f, targets[f]), targets)) if not there]
    _check_room(out, wanted, targets)

    def fetch(file: SharedFile) -> None:
        _fetch(place, file, targets[file], mark=bundle.fingerprint if file == cache else None)

    in_threads(fetch, [file for file in wanted if file != cache])
    if cache in wanted:
        fetch(cache)
    return Pulled(out, bundle, len(wanted))


def _is_here(file: SharedFile, target: Path) -> bool:
    """Whether the very file is at its place already; another one there is not overwritten."""
    if not target.exists():
        return False
    if target.is_file() and target.stat().st_size == file.bytes and digest(target) == file.sha256:
        return True
    raise InputError(f"{target} is another file than the one that is shared; name another --out, or remove it first")


def _partial(file: SharedFile, target: Path) -> Path:
    """Where a file grows; named after its contents, so that a later run goes on only with the same."""
    return target.with_name(f"{target.name}.{file.sha256[:16]}.partial")


def _check_room(out: Path, files: list[SharedFile], targets: dict[SharedFile, Path]) -> None:
    def have(file: SharedFile) -> int:
        partial = _partial(file, targets[file])
        return partial.stat().st_size if partial.is_file() else 0

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out.parent).free
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from None
    needed = missing_bytes(files, have)
    if needed > free:
        raise InputError(f"{out.parent} has {free / 1e9:,.1f} GB free, and {needed / 1e9:,.1f} GB are still to come")


def _fetch(place: Place, file: SharedFile, target: Path, *, mark: str | None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(file, target)
    with partial.open("ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{target} is being fetched by another process; wait for it") from None
        if held.tell() > file.bytes:
            held.truncate(0)
        try:
            if partial.stat().st_size < file.bytes or not file.bytes:
                place.fetch(file, partial)
        finally:
            if not partial.stat().st_size and file.bytes:
                partial.unlink()  # nothing came
        _check(place, file, partial, target, mark)
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(target)


def _check(place: Place, file: SharedFile, partial: Path, target: Path, mark: str | None) -> None:
    """Refuses, and forgets, what is not what was shared."""
    size, found = partial.stat().st_size, digest(partial)
    if size < file.bytes:
        raise InputError(f"{file.path} from {place.name} ended after {size:,} of {file.bytes:,} bytes; pull it again")
    try:
        if (size, found) != (file.bytes, file.sha256):
            raise InputError(
                f"{file.path} from {place.name} is not what its checksum says (sha256 {found[:16]}..., expected "
                f"{file.sha256[:16]}...), so it was not kept; pull it again, and if it stays so, tell its owner"
            )
        if mark is not None:
            with open_cache(partial) as cache:
                if cache.fingerprint != mark:
                    raise InputError(f"{file.path} from {place.name} has another fingerprint than {LISTING} says")
    except InputError:
        partial.unlink(missing_ok=True)
        raise
