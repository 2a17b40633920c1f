"""The first 512 bytes of a cache: what it is, how long it must be, and the checksum of everything after them.

They form HDF5's user block, which HDF5 itself ignores: two lines of ASCII padded with spaces,

    rdmf feature cache
    {"schema":1,"bytes":1234567,"sha256":"..."}

`bytes` is the length of the whole file, `sha256` covers everything after the block. Opening compares the length (so a
truncated copy is refused at once); verifying computes the checksum.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rdmf.store.errors import InputError

SCHEMA = 1
HEADER_BYTES = 512
MAGIC = b"rdmf feature cache\n"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Header:
    """What the user block says: format version, length of the file in bytes, sha256 (hex) of what follows the block."""

    schema: int
    n_bytes: int
    sha256: str

    def pack(self) -> bytes:
        """The 512 bytes; there is exactly one spelling of a header, so any changed byte shows."""
        fields = {"schema": self.schema, "bytes": self.n_bytes, "sha256": self.sha256}
        line = json.dumps(fields, separators=(",", ":")).encode("ascii")
        return (MAGIC + line).ljust(HEADER_BYTES - 1) + b"\n"


def parse_header(block: bytes) -> Header | None:
    """The header in the first bytes of a file, or None where they do not hold a readable one."""
    if not block.startswith(MAGIC):
        return None
    try:
        fields = json.loads(block[len(MAGIC) : HEADER_BYTES])
        return Header(int(fields["schema"]), int(fields["bytes"]), str(fields["sha256"]))
    except (ValueError, KeyError, TypeError):
        return None


def open_file(path: Path) -> tuple[io.FileIO, bytes]:
    """A file opened for reading, and its first 512 bytes (fewer where it is shorter).

    Raises:
        InputError: missing, a directory, or unreadable.
    """
    try:
        file = io.FileIO(str(path), "r")
        return file, file.read(HEADER_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"no feature cache at {path}: no such file") from None
    except OSError as error:
        if path.is_dir():
            raise InputError(f"{path} is a directory, not a feature cache; name the .h5 file") from None
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def read_header(path: Path) -> Header:
    """The header of a cache of this schema and of the length it records.

    Raises:
        InputError: missing, a directory, not a cache, of another schema, or truncated.
    """
    file, block = open_file(path)
    with file:
        return checked_header(path, file, block)


def checked_header(path: Path, file: io.FileIO, block: bytes) -> Header:
    """As `read_header`, of a file that is open, whose first bytes are `block`."""
    header = parse_header(block)
    if header is None:
        raise InputError(not_a_cache(path, block))
    if header.schema != SCHEMA:
        raise InputError(
            f"{path} is a feature cache of schema {header.schema}, and this rdmf reads schema {SCHEMA}; "
            "extract it again or use the rdmf that wrote it"
        )
    actual = os.fstat(file.fileno()).st_size
    if actual != header.n_bytes:
        how = "truncated" if actual < header.n_bytes else "something was appended"
        raise InputError(f"{path} is {actual} bytes but was written as {header.n_bytes} ({how}); copy it again")
    return header


def not_a_cache(path: Path, block: bytes) -> str:
    """Why a file whose first bytes hold no readable header is not a cache, in one line."""
    if not block:
        return f"{path} is empty, not a feature cache"
    if block.startswith(MAGIC) or MAGIC.startswith(block):
        what = "truncated" if len(block) < HEADER_BYTES else "damaged"
        return f"{path}: the header of this feature cache is {what}; copy it again"
    if block.startswith(_HDF5_SIGNATURE):
        return f"{path} is an HDF5 file but not an rdmf feature cache; `rdmf features import` reads other layouts"
    return f"{path} is not an rdmf feature cache (nor HDF5)"


def digest_after_header(path: Path) -> str:
    """sha256 (hex) of everything after the user block, read in pieces."""
    with path.open("rb", buffering=0) as file:
        return digest_of_rest(file)


def digest_of_rest(file: io.RawIOBase) -> str:
    """The same of a file that is open for this alone."""
    digest = hashlib.sha256()
    piece = memoryview(bytearray(_PIECE_BYTES))
    file.seek(HEADER_BYTES)
    while got := file.readinto(piece):
        digest.update(piece[:got])
    return digest.hexdigest()


def make_place(path: Path) -> None:
    """Makes the directory that a file is to lie in.

    Raises:
        InputError: it cannot be made, or the path is a directory itself.
    """
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a directory")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from error


@contextlib.contextmanager
def whole_or_absent(path: Path) -> Iterator[Path]:
    """Gives a `*.partial` path to write an HDF5 file with a 512-byte user block at; seals it and renames it to `path`.

    On any exception the partial file is removed and `path` is as it was. A killed process leaves a `*.partial`, which
    nothing reads. The partial's name is unique, so that two writers of one path cannot write into each other.

    Raises:
        InputError: the place cannot be written to (no permission, disk full, `path` is a directory).
    """
    make_place(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        yield partial
        header = Header(SCHEMA, partial.stat().st_size, digest_after_header(partial))
        with partial.open("r+b") as file:
            file.write(header.pack())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_directory(path.parent)
    except (OSError, RuntimeError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise InputError(f"cannot write {path}: {reason}") from error
    finally:
        with contextlib.suppress(OSError):  # a disk that can no longer be written to keeps it
            partial.unlink(missing_ok=True)


def _reason(error: Exception) -> str | None:
    """What the system says is wrong, in short; None for an error that is none of the system's.

    HDF5 tells a full disk in paragraphs, as an OSError while it writes and as a RuntimeError while it closes.
    """
    told = re.search(r"errno = (\d+)", str(error))
    if told is not None:
        return os.strerror(int(told[1]))
    return (error.strerror or str(error)) if isinstance(error, OSError) else None


def _sync_directory(directory: Path) -> None:
    """Makes the rename itself survive a power cut, where the system lets directories be synced."""
    if os.name != "posix":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        # Some network filesystems refuse to sync a directory; the file's own bytes are safe already.
        return
    finally:
        os.close(handle)
