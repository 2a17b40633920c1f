"""What a run does when its own work is done: wait for runs it shares the work with, and see that the cache is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rdmf.store import QueryRecord
from rdmf_extract.jobs import Jobs
from rdmf_extract.shards import Shard
from rdmf_extract.texts import Sentences
from rdmf_extract.workspace import Finish, Workspace

SHORTEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.2, 5.0
TELL_AGAIN_SECONDS = 300.0


class Together:
    """The end of a run among others.

    Args:
        videos: all videos of the cache to be, those of other shards included.
        tell: called with a line that people should read.

    Attributes:
        made: whether the cache is there, with all that is known.
    """

    def __init__(
        self,
        workspace: Workspace,
        videos: Mapping[str, Path],
        queries: Sequence[QueryRecord],
        *,
        missing: Sequence[str],
        shard: Shard | None,
        tell: Callable[[str], None],
    ) -> None:
        self._workspace, self._videos, self._queries = workspace, videos, queries
        self._missing, self._tell = missing, tell
        self._shard = None if shard is None or shard.count == 1 else shard
        self._all_sentences = Sentences(queries, None)
        self._wait_seconds = SHORTEST_WAIT_SECONDS
        self._told = -TELL_AGAIN_SECONDS
        self.made = False

    def settled(self, jobs: Jobs, sentences: Sentences, *, stopped: bool) -> bool:
        """Whether this run is over. If not, there is something for it to do, or was waited for.

        Args:
            jobs, sentences: this run's share; what is left of it is in the hands of other runs, or of dead ones.
            stopped: this run gives up early; the cache is made of what there is, unless others go on.
        """
        workspace = self._workspace
        open_here = bool(jobs.look()) or sentences.left(workspace)
        complete = not self._open_anywhere()
        if stopped:
            alone = self._shard is None and not workspace.others()
            self.made = (complete or alone) and self._finish() == "made"
            return True
        if open_here:
            self._wait("other runs have the rest in hand")
            return False
        if complete:
            how = self._finish()
            self.made = how == "made"
            if self.made or (how == "elsewhere" and self._shard is not None):
                return True
            if how == "elsewhere":
                self._wait("another run is writing the cache")
            return False
        # Other shards have work left; without shards, a part turned out damaged a moment ago and is to be done again.
        return self._shard is not None

    def _finish(self) -> Finish:
        return self._workspace.finish(self._queries, list(self._videos), self._missing)

    def _open_anywhere(self) -> bool:
        known = self._workspace.known
        there = known.vids.keys() | known.failures.keys()
        return self._all_sentences.left(self._workspace) or any(vid not in there for vid in self._videos)

    def _wait(self, why: str) -> None:
        """Some time, in which others get on; what dead ones held is free afterwards."""
        if time.monotonic() - self._told >= TELL_AGAIN_SECONDS:
            self._told = time.monotonic()
            others = ", ".join(map(str, self._workspace.others()[:3]))
            self._tell(f"waiting: {why}{f' ({others})' if others else ''}")
        time.sleep(self._wait_seconds)
        self._wait_seconds = min(LONGEST_WAIT_SECONDS, 2 * self._wait_seconds)
        self._workspace.tidy()
