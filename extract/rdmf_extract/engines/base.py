"""What a run asks of whatever decodes and encodes for it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rdmf_extract.batches import EncodedVideo
from rdmf_extract.pool import Again, Undecodable


@dataclass(frozen=True)
class Note:
    """A line that people should read."""

    text: str


#: One video's result, a video that starts over, something to be told, or None: a moment has passed.
Outcome = EncodedVideo | Undecodable | Again | Note | None


class Work(Protocol):
    """Gives out videos. `Jobs` is one."""

    stopped: bool

    def next(self) -> tuple[str, Path] | None:
        """(vid, file) of the next video, None where there is none; called from several threads."""

    def __len__(self) -> int:
        """How many there may be yet."""


class Engine(Protocol):
    """Decodes and encodes videos.

    Attributes:
        rows: feature rows made so far.
    """

    rows: int

    def run(self, work: Work) -> Generator[Outcome, None, None]:
        """Every video that `work` gives, until it gives none or is stopped; to be closed in any case."""
