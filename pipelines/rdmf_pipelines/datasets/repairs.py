"""What published annotations get wrong in time, mended or left out, and counted.

ActivityNet Captions has windows that end before they start or (by a hair) after the video; Charades-STA has a few that
start after it. The peers drop the former and cut the latter, and the query counts that papers report are the counts
after that (12,404 / 3,720 in Charades-STA; 37,417 in ActivityNet's train), so the same is done here, and said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from rdmf.store.errors import InputError

Window = tuple[float, float]

# Windows that overshoot by less are cut without a word: the difference is rounding (82.73 against 82.7300001).
ROUNDING_SECONDS = 0.011
EXAMPLES_KEPT = 5


@dataclass
class Repairs:
    """Counts of what was changed or left out while annotations were read, with the first few cases named.

    Attributes:
        refuse: raise `InputError` instead of leaving something out (for a file that its user can mend).
    """

    refuse: bool = False
    windows_cut: int = 0
    windows_dropped: int = 0
    queries_dropped: int = 0
    clips_dropped: int = 0
    examples: list[str] = field(default_factory=list)

    def window(self, start: float, end: float, *, duration: float, where: str) -> Window | None:
        """The window [start, end) within [0, duration), or None where nothing of it is left.

        Args:
            duration: seconds, NaN where unknown (then only reversed windows are found).
            where: file and line, for messages.

        Raises:
            InputError: an odd window, where this object refuses them.
        """
        shown = f"window [{start:g}, {end:g}]"
        if not (math.isfinite(start) and math.isfinite(end)):
            raise InputError(f"{where}: {shown} is not a pair of finite numbers of seconds")
        if end <= start:
            self._drop_window(f"{where}: {shown} ends at or before its start")
            return None
        if end <= 0 or start >= duration:  # comparisons with NaN are False: an unknown duration excludes nothing
            self._drop_window(f"{where}: {shown} lies outside the video of {duration:g} s")
            return None
        inside = (max(start, 0.0), min(end, duration) if duration == duration else end)
        if max(end - inside[1], inside[0] - start) > ROUNDING_SECONDS:
            self.windows_cut += 1
            self._note(f"{where}: {shown} cut to the video of {duration:g} s")
        return inside

    def windows(self, pairs: Sequence[Window], *, duration: float, where: str) -> tuple[Window, ...] | None:
        """All windows of one query, mended; None where it had windows and none is left (the query is dropped)."""
        kept = [w for pair in pairs if (w := self.window(*pair, duration=duration, where=where)) is not None]
        if pairs and not kept:
            self.queries_dropped += 1
            return None
        return tuple(kept)

    def drop_clip(self, clip: int, *, duration: float, where: str) -> None:
        """Count a saliency clip that starts at or after the end of the video."""
        what = f"{where}: saliency clip {clip} lies outside the video of {duration:g} s"
        if self.refuse:
            raise InputError(what)
        self.clips_dropped += 1
        self._note(what)

    def as_notes(self) -> dict[str, int]:
        """For the cache's notes: the counts that are not zero."""
        names = ("windows_cut", "windows_dropped", "queries_dropped", "clips_dropped")
        return {name: count for name in names if (count := getattr(self, name))}

    def sentence(self) -> str:
        """One line for the screen, empty where nothing was odd."""
        parts = [
            f"{count} {what}"
            for count, what in (
                (self.windows_cut, "windows reached beyond their video and were cut"),
                (self.windows_dropped, "windows were empty, reversed or outside their video and were dropped"),
                (self.queries_dropped, "queries were left without a window and dropped"),
                (self.clips_dropped, "saliency clips lay outside their video and were dropped"),
            )
            if count
        ]
        return "; ".join(parts) + (f" (e.g. {self.examples[0]})" if self.examples else "")

    def _drop_window(self, what: str) -> None:
        if self.refuse:
            raise InputError(what)
        self.windows_dropped += 1
        self._note(what)

    def _note(self, example: str) -> None:
        if len(self.examples) < EXAMPLES_KEPT:
            self.examples.append(example)
