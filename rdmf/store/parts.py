"""The files that hold an index's rows: where they lie, and that they are the ones the index was made over."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rdmf.store.errors import InputError
from rdmf.store.header import SCHEMA, Header, read_header
from rdmf.store.layout import Columns

_FEW_PARTS = 64
_AT_ONCE = 16


@dataclass(frozen=True)
class DataFile:
    """A file that holds rows: its path, length, recorded checksum, and where in it the three large tables begin."""

    path: Path
    n_bytes: int
    sha256: str
    offsets: tuple[int, int, int]

    @property
    def block(self) -> bytes:
        """The first 512 bytes that the file must have."""
        return Header(SCHEMA, self.n_bytes, self.sha256).pack()


def linked_files(index: Path, columns: Columns) -> list[DataFile]:
    """The parts that an index names, in its order."""
    beside = _beside_link if index.is_symlink() else _beside
    return [
        DataFile(beside(index, name), n_bytes, sha256.tobytes().hex(), (places[0], places[1], places[2]))
        for name, n_bytes, sha256, places in zip(
            columns.strings("link/path"),
            columns.array("link/bytes").tolist(),
            columns.array("link/sha256"),
            columns.array("link/data_offsets").tolist(),
            strict=True,
        )
    ]


def check_parts(index: Path, parts: Sequence[DataFile]) -> None:
    """Refuses parts that are not as the index says; looks at 512 bytes of each.

    Raises:
        InputError: a part is missing, truncated or another one than the index was made over.
    """
    if len(parts) <= _FEW_PARTS:
        for part in parts:
            _check_part(index, part)
        return
    # On a network filesystem every look costs a round trip, and a thousand of them one after the other are seconds.
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(lambda part: _check_part(index, part), parts):
            pass


def _beside(index: Path, name: str) -> Path:
    return index.parent / name


def _beside_link(index: Path, name: str) -> Path:
    """Where the index is a symbolic link: a part beside it or, where there is none, beside what it points to."""
    near = index.parent / name
    return near if near.exists() else index.resolve().parent / name


def _check_part(index: Path, part: DataFile) -> None:
    try:
        header = read_header(part.path)
    except InputError:
        if part.path.exists():
            raise
        raise InputError(
            f"{index} is an index, and its part {part.path} is missing; move or copy them together"
        ) from None
    if (header.n_bytes, header.sha256) != (part.n_bytes, part.sha256):
        raise InputError(f"{part.path} is not the part that {index} was made over; merge the parts again")
