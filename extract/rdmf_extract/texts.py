"""Sentences to token features, in units that several runs can share out among themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from rdmf.store import QueryRecord, TextRecord
from rdmf_extract.encoders.base import TextEncoder
from rdmf_extract.progress import ProgressCallback, ProgressState
from rdmf_extract.shards import Shard
from rdmf_extract.workspace import Workspace

TEXTS_PER_BATCH = 64
BATCHES_PER_UNIT = 32


class Sentences:
    """The distinct sentences of the queries, in batches of like length so that they hold little padding.

    What is in a batch follows from the queries alone, not from what is done already or who does it: padding and batch
    size touch the last digits of some models' features, and these must not depend on how the work was shared.

    Args:
        shard: do this share of the units only.
    """

    def __init__(self, queries: Sequence[QueryRecord], shard: Shard | None) -> None:
        texts = sorted({query.text for query in queries}, key=lambda text: (len(text), text))
        batches = [texts[first : first + TEXTS_PER_BATCH] for first in range(0, len(texts), TEXTS_PER_BATCH)]
        units = [batches[first : first + BATCHES_PER_UNIT] for first in range(0, len(batches), BATCHES_PER_UNIT)]
        self._units = units if shard is None else units[shard.index :: shard.count]
        self.texts = texts
        self._mine = {text for unit in self._units for batch in unit for text in batch}

    def left(self, workspace: Workspace) -> bool:
        """Whether a sentence of these units has no features yet."""
        return any(text not in workspace.known.texts for text in self._mine)

    def encode(self, workspace: Workspace, encoder: TextEncoder, progress: ProgressCallback | None) -> bool:
        """Do all units that have something missing and that no other run has claimed; returns whether there were any.

        Raises:
            InputError: the encoder refuses a sentence.
        """
        worked = False
        for number, unit in enumerate(self._units):
            if not _missing(unit, workspace):
                continue
            name = _claim_name(unit)
            if not workspace.claims.take(name):
                continue
            workspace.refresh()
            wanted = set(_missing(unit, workspace))
            done: list[TextRecord] = []
            for i, batch in enumerate(unit):
                if progress is not None:
                    before = (number * BATCHES_PER_UNIT + i) * TEXTS_PER_BATCH
                    progress(ProgressState("sentences", min(before, len(self._mine)), len(self._mine)))
                if wanted.intersection(batch):
                    features = encoder.encode(batch)
                    done += [TextRecord(t, f) for t, f in zip(batch, features, strict=True) if t in wanted]
            if done:
                workspace.write_part(texts=done)
                worked = True
            workspace.claims.drop(name)
        return worked


def _missing(unit: list[list[str]], workspace: Workspace) -> list[str]:
    return [text for batch in unit for text in batch if text not in workspace.known.texts]


def _claim_name(unit: list[list[str]]) -> str:
    digest = hashlib.sha256()
    for batch in unit:
        for text in batch:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return f"texts-{digest.hexdigest()[:32]}"
