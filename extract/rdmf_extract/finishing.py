"""From parts to the cache: always the same file for the same contents, whichever runs wrote which parts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rdmf.store import Failure, InputError, Provenance, QueryRecord
from rdmf.store.assemble import DamagedPartError, assemble
from rdmf.store.records import QUERIES_SHA256
from rdmf_extract.presence import Presence, names_in
from rdmf_extract.sources import FAILED_FILES, Known, in_order, parts_folder


class Finisher:
    """Joins parts and an earlier cache at `out` into the cache.

    Args:
        queries: what it is to hold as annotations.
        vids: the videos in the order they are to have; others that are there come before them.
        missing: videos without a file; the cache lists them among its failures.
    """

    def __init__(
        self,
        out: Path,
        provenance: Provenance,
        *,
        queries: Sequence[QueryRecord],
        vids: Sequence[str],
        missing: Sequence[str],
    ) -> None:
        self._out, self._provenance = out, provenance
        self._queries, self._vids, self._missing = queries, vids, missing
        self._attached = queries_digest(queries)

    def needed(self, read: Mapping[Path, Known]) -> bool:
        """Whether the cache lacks something: a part's contents, or these queries."""
        made = read.get(self._out)
        if made is None or made.attached != self._attached:
            return True
        return not all(made.covers(part) for path, part in read.items() if path != self._out)

    def finish(self, read: Mapping[Path, Known], presence: Presence) -> DamagedPartError | None:
        """Write the cache and remove the parts; returns the damaged part where one stops that, with nothing changed.

        Args:
            read: every part, and the earlier cache if there is one, with what it holds.
            presence: this run, in whose name the file is written until it is whole.

        Raises:
            InputError: the cache cannot be written.
        """
        # The earlier cache first, then parts by name: which of two copies of a video counts is no matter of luck.
        sources = sorted(read, key=lambda path: (path != self._out, path.name))
        there = Known()
        for path in sources:
            there.add(read[path])
        absent = dict.fromkeys(self._missing, "file not found")
        failures = {**absent, **there.failures}
        named = in_order([*self._vids, *self._missing], sorted(failures))
        notes = {
            **self._provenance.notes,
            QUERIES_SHA256: self._attached,
            FAILED_FILES: {vid: mark for vid, mark in sorted(there.failed_files.items()) if vid in there.failures},
        }
        unfinished = self._out.with_name(f".{self._out.name}.{presence.name}")
        try:
            assemble(
                sources,
                unfinished,
                provenance=replace(self._provenance, notes=notes),
                vids=in_order(self._vids, there.vids),
                texts=in_order((query.text for query in self._queries), there.texts),
                queries=self._queries,
                failures=[Failure(vid, failures[vid]) for vid in named if vid not in there.vids],
            )
            # A run that was suspended here for long has been declared dead, and what it knows may be out of date.
            if presence.alive():
                unfinished.replace(self._out)
                self.remove_parts(read)
        except DamagedPartError as damaged:
            return damaged
        except InputError as error:
            raise InputError(str(error).replace(str(unfinished), str(self._out))) from error
        finally:
            unfinished.unlink(missing_ok=True)
        return None

    def remove_parts(self, read: Mapping[Path, Known]) -> None:
        """Remove the parts that the cache covers, and damaged ones that are done again."""
        for path in read:
            if path != self._out:
                path.unlink(missing_ok=True)
        folder = parts_folder(self._out)
        for name in names_in(folder, ".damaged"):
            (folder / name).unlink(missing_ok=True)


def queries_digest(queries: Sequence[QueryRecord]) -> str:
    """A checksum of annotations, so that a re-run sees whether they changed."""
    digest = hashlib.sha256()
    for query in queries:
        digest.update(repr(query).encode())
    return digest.hexdigest()
