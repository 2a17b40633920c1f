"""What is known to be done: read from the cache and from the parts on the way to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rdmf.store import Cache, InputError, Provenance, differing_fields, open_cache
from rdmf.store.layout import read_structure
from rdmf.store.records import QUERIES_SHA256
from rdmf_extract.remedy import remedy

FAILED_FILES = "failed_files"  # note: what a failed video's file looked like, to see whether it changed since


def parts_folder(out: Path) -> Path:
    """Where the parts of a cache are: beside it, in a folder that no other cache's name leads to."""
    return out.with_name(f"{out.name.removesuffix('.h5')}.parts")


@dataclass
class Known:
    """What a cache or a part holds, or several together.

    Attributes:
        vids: videos that have features, in order (a dictionary without values).
        texts: sentences that have features, likewise.
        failures: vid -> reason.
        failed_files: vid -> signature of the file when it failed, of those that need not be tried again by themselves.
        attached: checksum of the queries, "" where there are none.
    """

    vids: dict[str, None] = field(default_factory=dict)
    texts: dict[str, None] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    failed_files: dict[str, str] = field(default_factory=dict)
    attached: str = ""

    def add(self, other: Known) -> None:
        """Take in what is known from somewhere else, later than this."""
        self.vids.update(other.vids)
        self.texts.update(other.texts)
        for vid, reason in other.failures.items():
            self.failures[vid] = reason
            self.failed_files.pop(vid, None)
        self.failed_files.update(other.failed_files)
        for vid in self.vids.keys() & self.failures.keys():
            del self.failures[vid]

    def covers(self, other: Known) -> bool:
        """Whether all that `other` holds is here as well."""
        failed = [vid for vid in other.failures if vid not in self.vids]
        return (
            self.vids.keys() >= other.vids.keys()
            and self.texts.keys() >= other.texts.keys()
            and all(self.failures.get(vid) == other.failures[vid] for vid in failed)
            and all(self.failed_files.get(vid) == other.failed_files.get(vid) for vid in failed)
        )


class DamagedError(InputError):
    """A cache or part that cannot be read."""


def read_known(path: Path, provenance: Provenance) -> Known:
    """What a cache or part of these settings holds.

    Raises:
        DamagedError: it is damaged, or no cache at all.
        FileNotFoundError: it is gone.
        InputError: it was made with other settings (naming them), or by another rdmf.
    """
    try:
        with open_cache(path) as cache:
            known = _known(cache)
            made = cache.provenance
    except InputError as error:
        if not path.exists():
            raise FileNotFoundError(path) from error
        if _foreign_schema(path, str(error)):
            raise
        raise DamagedError(str(error)) from error
    fields = differing_fields(made, provenance)
    if fields:
        raise InputError(
            f"{path} was made with other settings ({'; '.join(fields)}, where 'there' is this run); "
            + remedy(made, fields)
        )
    return known


def _known(cache: Cache) -> Known:
    notes = cache.provenance.notes
    return Known(
        vids=dict.fromkeys(cache.vids),
        texts=dict.fromkeys(cache.texts),
        failures={failure.vid: failure.reason for failure in cache.failures},
        failed_files=dict(notes.get(FAILED_FILES, {})),
        attached=str(notes.get(QUERIES_SHA256, "")),
    )


def _foreign_schema(path: Path, message: str) -> bool:
    """Whether a whole file of another schema was refused: another rdmf's, though a damaged header may look like it."""
    if "schema" not in message:
        return False
    with contextlib.suppress(InputError):
        read_structure(path)
        return False  # HDF5 itself says it is this schema
    return True


def in_order(planned: Iterable[str], there: Iterable[str]) -> list[str]:
    """What is there: first what is not planned, as it comes, then in the plan's order."""
    plan = dict.fromkeys(planned)
    known = dict.fromkeys(there)
    return [*(name for name in known if name not in plan), *(name for name in plan if name in known)]
