"""The videos that a run has to see to, given out one at a time, each to one run only."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from rdmf_extract import presence
from rdmf_extract.pool import signature
from rdmf_extract.shards import longest_first
from rdmf_extract.workspace import Workspace

MOST_AT_ONCE = 32  # claims made together: one look at the folder serves them all

_PREFIX = "video-"


class Jobs:
    """Videos that have no features yet, the longest first, so that no machine is left alone with a long one at the end.

    A video is claimed before it is given out. Runs that share a folder therefore share the work, and none is done twice
    unless its run dies before the part with it is written.

    Args:
        videos: file of each video that this run may do.
        costs: how much work each is, relative to the others.
        retry_failed: do those again that failed in an earlier run; otherwise only those whose file has changed since,
            or whose failure was not the file's fault.

    Attributes:
        stopped: set to give out no more.
    """

    def __init__(
        self, workspace: Workspace, videos: Mapping[str, Path], costs: Mapping[str, float], *, retry_failed: bool
    ) -> None:
        self._workspace, self._costs = workspace, costs
        known = workspace.known
        for name in [name for name in workspace.claims.held if name.startswith(_PREFIX)]:
            workspace.claims.drop(name)  # begun in an earlier round and not finished
        self._open = {
            vid: Path(videos[vid])
            for vid in longest_first({vid: costs[vid] for vid in videos})
            if vid not in known.vids
            and vid not in workspace.failed_now
            and (retry_failed or vid not in known.failures or _changed(known.failed_files.get(vid), videos[vid]))
        }
        self._old_failures = self._open.keys() & known.failures.keys()
        self._ready: deque[str] = deque()
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._changes_seen = workspace.changes
        self.cost_left = sum(costs[vid] for vid in self._open)
        self.stopped = False

    def __len__(self) -> int:
        """Videos that, as far as is known, neither this run nor another has finished."""
        return len(self._open)

    def next(self) -> tuple[str, Path] | None:
        """(vid, file) of a video that is this run's from now on; None where there is none at present. Thread-safe.

        Raises:
            OSError: a claim cannot be written.
        """
        with self._lock:
            if not self._ready and not self.stopped:
                self._claim_some()
            if not self._ready or self.stopped:
                return None
            vid = self._ready.popleft()
            return vid, self._open[vid]

    def settled(self, vid: str) -> None:
        """A video of this run is in a part, with features or a reason: its claim is given up."""
        with self._lock:
            self._forget(vid)
        self._workspace.claims.drop(claim_name(vid))

    def cost(self, vid: str) -> float:
        """How much work a video is, relative to the others."""
        return self._costs[vid]

    def look(self) -> list[str]:
        """What no run has finished, after a fresh look at what the others did."""
        self._workspace.refresh()
        with self._lock:
            self._strike_out()
            return list(self._open)

    def _claim_some(self) -> None:
        workspace, claims = self._workspace, self._workspace.claims
        if time.monotonic() - self._looked > presence.STALE_SECONDS / 6:
            self._looked = time.monotonic()
            if workspace.presence.bury():
                claims.sweep()
        while not self._ready:
            others = not workspace.presence.alone()
            taken = claims.taken() if others else claims.held
            most = max(1, min(MOST_AT_ONCE, len(self._open) // 64)) if others else 1
            claimed: list[str] = []
            for vid in self._open:
                name = claim_name(vid)
                if name not in taken and claims.take(name):
                    claimed.append(vid)
                    if len(claimed) == most:
                        break
            if not claimed:
                return
            # Only now is it certain that no other run is doing them; one may have finished them before.
            workspace.refresh()
            self._strike_out()
            for vid in claimed:
                if vid in self._open:
                    self._ready.append(vid)
                else:
                    claims.drop(claim_name(vid))

    def _strike_out(self) -> None:
        """Forget what any run has done since."""
        if self._changes_seen == self._workspace.changes:
            return
        self._changes_seen = self._workspace.changes
        known = self._workspace.known
        for vid in [vid for vid in self._open if vid in known.vids or self._has_failed(vid)]:
            self._forget(vid)

    def _has_failed(self, vid: str) -> bool:
        """Whether a video has failed since this run began, here or elsewhere."""
        workspace = self._workspace
        return vid in workspace.failed_now or (vid in workspace.known.failures and vid not in self._old_failures)

    def _forget(self, vid: str) -> None:
        if self._open.pop(vid, None) is not None:
            self.cost_left -= self._costs[vid]


def claim_name(vid: str) -> str:
    """A claim's name for a video: safe in any file name, whatever the video is called."""
    return f"{_PREFIX}{hashlib.sha256(vid.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _changed(mark: str | None, path: Path) -> bool:
    """Whether a file that failed is worth another try: it looks different now, or the reason was none of its own."""
    return mark is None or mark != signature(Path(path))
