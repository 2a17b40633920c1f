"""The names of what a cache file holds, and the two things done with HDF5: writing a column, finding the columns.

`features/README.md` describes the format in full. Every table is contiguous and uncompressed. All tables but the
three largest (`BULK`) carry an attribute `sha256`; the rows of those three are covered per video and per sentence.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rdmf.store.errors import InputError
from rdmf.store.header import HEADER_BYTES, SCHEMA
from rdmf.store.patient_file import PatientFile
from rdmf.store.rows import Extent, Files
from rdmf.store.strings import Strings

FORMAT = "rdmf feature cache"
VIDEO_FEATURES, VIDEO_TIMES, TEXT_FEATURES = "video/features", "video/times", "text/features"
BULK = (VIDEO_FEATURES, VIDEO_TIMES, TEXT_FEATURES)

# Columns of strings: NAME_utf8 (all bytes end to end) and NAME_offsets.
STRINGS = (
    "video/vid",
    "video/decoder_name",
    "text/text",
    "query/qid",
    "query/absent_vid",
    "query/split_name",
    "query/kind_name",
    "failure/vid",
    "failure/reason",
)
ARRAYS = (
    "video/row_offsets",
    "video/duration",
    "video/annotated_duration",
    "video/recovered",
    "video/padded",
    "video/decoder_code",
    "video/sha256",
    "text/token_offsets",
    "text/sha256",
    "query/qid_int",
    "query/qid_is_text",
    "query/vid_code",
    "query/text_index",
    "query/split_code",
    "query/kind_code",
    "query/clip_length",
    "query/duration",
    "query/window_offsets",
    "query/windows",
    "query/saliency_offsets",
    "query/saliency_clips",
    "query/saliency_scores",
    "query/n_annotators",
)
# Only in an index over parts, which in turn has no BULK tables.
LINK_STRINGS = ("link/path",)
LINK_ARRAYS = ("link/bytes", "link/sha256", "link/data_offsets", "link/video_runs", "link/text_runs")


def expected_tables(*, is_index: bool) -> set[str]:
    """Names of all tables that a cache file of this schema must hold."""
    strings = (*STRINGS, *LINK_STRINGS) if is_index else STRINGS
    arrays = (*ARRAYS, *LINK_ARRAYS) if is_index else (*ARRAYS, *BULK)
    return {*arrays, *(f"{name}{end}" for name in strings for end in ("_utf8", "_offsets"))}


@dataclass(frozen=True)
class Structure:
    """What HDF5 knows of a file: the JSON attributes of its root, where each table lies, and the tables' checksums."""

    about: dict[str, Any]
    provenance: dict[str, Any]
    notes: dict[str, Any]
    fingerprint: str
    extents: dict[str, Extent]
    digests: dict[str, str]


@contextmanager
def open_for_writing(path: Path) -> Iterator[Any]:
    """A new HDF5 file with an empty user block, in the 1.8 format whose structures carry checksums of their own.

    Raises:
        OSError: it could not be written, the disk being full for instance; see `rdmf.store.patient_file`.
    """
    with (
        PatientFile(path) as place,
        h5py.File(place, "w", userblock_size=HEADER_BYTES, libver=("v108", "v108")) as file,
    ):
        yield file


def write_root(
    file: Any,
    *,
    about: Mapping[str, Any],
    provenance: Mapping[str, Any],
    notes: Mapping[str, Any],
    fingerprint: str,
) -> None:
    """Writes the attributes of the root group."""
    file.attrs["format"] = np.bytes_(FORMAT.encode())
    file.attrs["schema"] = np.int64(SCHEMA)
    file.attrs["fingerprint"] = np.bytes_(fingerprint.encode())
    for name, value in (("about", about), ("provenance", provenance), ("notes", notes)):
        file.attrs[name] = np.bytes_(json.dumps(value).encode())


def write_table(file: Any, name: str, values: Any) -> None:
    """Writes a contiguous table and its checksum."""
    values = np.ascontiguousarray(values)
    dataset = file.create_dataset(name, data=values, track_times=False)
    dataset.attrs["sha256"] = np.bytes_(table_digest(values).encode())


def table_digest(values: Any) -> str:
    """sha256 (hex) of a table's bytes, without a copy of them."""
    return hashlib.sha256(values.reshape(-1).view(np.uint8).data).hexdigest()


def write_strings(file: Any, name: str, strings: Strings) -> None:
    """Writes a column of strings as two tables."""
    write_table(file, f"{name}_utf8", strings.data)
    write_table(file, f"{name}_offsets", strings.offsets)


def read_structure(path: Path, handle: io.FileIO | None = None) -> Structure:
    """Finds every table of a cache without reading any.

    Args:
        path: the file, and what errors call it.
        handle: the same, open. HDF5 then reads through it, and so sees the very file that was opened even where
            another has taken its name meanwhile.

    Raises:
        InputError: HDF5 cannot read the file's structure, or it is not a cache's.
    """
    # h5py reports damage as OSError, KeyError, RuntimeError or ValueError, depending on where it lies.
    try:
        with _opened(path) if handle is None else h5py.File(handle, "r") as file:
            return _structure(path, file)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged: HDF5 cannot read its structure ({error}); copy it again") from error


def _opened(path: Path) -> Any:
    return h5py.File(path, "r", locking=False)


def _structure(path: Path, file: Any) -> Structure:
    written_as = file.attrs.get("format")
    if not isinstance(written_as, bytes) or written_as != FORMAT.encode():
        raise InputError(f"{path} is an HDF5 file but not an rdmf feature cache")
    schema = int(file.attrs["schema"])
    if schema != SCHEMA:
        raise InputError(f"{path} is a feature cache of schema {schema}, and this rdmf reads schema {SCHEMA}")
    extents: dict[str, Extent] = {}
    digests: dict[str, str] = {}
    # By name, because `values()` gives None for what is damaged where indexing raises.
    for group in file:
        for table in file[group]:
            name = f"{group}/{table}"
            dataset = file[name]
            offset = dataset.id.get_offset()
            if offset is None and dataset.size:
                raise InputError(f"{path}: table {name} is not contiguous; this is not a cache that rdmf wrote")
            extents[name] = Extent(-1 if offset is None else int(offset), dataset.dtype, tuple(dataset.shape))
            if "sha256" in dataset.attrs:
                digests[name] = bytes(dataset.attrs["sha256"]).decode("ascii")
    about = json.loads(bytes(file.attrs["about"]))
    missing = expected_tables(is_index=about["kind"] == "index") - set(extents)
    if missing:
        raise InputError(f"{path}: table {min(missing)} is missing; this is not a whole feature cache")
    return Structure(
        about=about,
        provenance=json.loads(bytes(file.attrs["provenance"])),
        notes=json.loads(bytes(file.attrs["notes"])),
        fingerprint=bytes(file.attrs["fingerprint"]).decode("ascii"),
        extents=extents,
        digests=digests,
    )


class Columns:
    """Reads a cache's small tables, each time it is asked, and checks each against its checksum.

    Args:
        path: the cache, for errors.
        files: reads it, as file 0.
        structure: where its tables lie.
        checked: False reads damaged tables too (for `verify`, which reports them itself).
    """

    def __init__(self, path: Path, files: Files, structure: Structure, *, checked: bool = True) -> None:
        self._path = path
        self._files = files
        self._structure = structure
        self._checked = checked

    def array(self, name: str) -> Any:
        """A whole table.

        Raises:
            InputError: its bytes do not match its checksum.
        """
        values = self._files.read(0, self._structure.extents[name])
        if self._checked and not self.intact(name, values):
            raise InputError(f"{self._path}: table {name} is damaged; `rdmf features verify` tells what else is")
        return values

    def intact(self, name: str, values: Any) -> bool:
        """Whether a table's values match its checksum."""
        return table_digest(values) == self._structure.digests.get(name)

    def strings(self, name: str) -> Strings:
        """A whole column of strings, decoded as they are looked at."""
        errors = "strict" if self._checked else "replace"
        return Strings(self.array(f"{name}_utf8"), self.array(f"{name}_offsets"), errors=errors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a table, without reading it."""
        return self._structure.extents[name].shape
