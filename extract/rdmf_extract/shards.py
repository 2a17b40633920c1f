"""Dividing videos among machines beforehand: by whole videos, evenly, and alike on every machine."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rdmf.store import InputError


@dataclass(frozen=True)
class Shard:
    """One of `count` equal shares of the work, `index` from 0.

    Attributes:
        source: where that was found, for people: "--shard", "SLURM_ARRAY_TASK_ID", ...

    Raises:
        InputError: not 0 <= index < count.
    """

    index: int
    count: int
    source: str = "--shard"

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            most = f"0/{self.count} to {self.count - 1}/{self.count}" if self.count > 0 else "0/1 and up"
            raise InputError(
                f"shard {self.index}/{self.count} ({self.source}) is none: shards are counted from 0, here {most}"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """ "3/8" is the fourth of eight.

        Raises:
            InputError: not of that form.
        """
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if found is None:
            raise InputError(f"--shard {text}: expected i/n with i from 0 to n - 1, e.g. 0/4, or none")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def costs(videos: Mapping[str, Path], durations: Mapping[str, float]) -> dict[str, float]:
    """How much work each video is, relative to the others: its annotated seconds, or bytes where any has none.

    Both come with the data, not from the machine: every machine that has the same files finds the same.
    """
    if all(math.isfinite(durations.get(vid, math.nan)) for vid in videos):
        return {vid: max(0.0, durations[vid]) for vid in videos}
    return {vid: float(_size(path)) for vid, path in videos.items()}


def share(costs: Mapping[str, float], shard: Shard) -> list[str]:
    """The names that fall to a shard: each name, the costliest first, goes to the shard with the least so far.

    >>> share({"a": 5, "b": 3, "c": 2, "d": 1}, Shard(1, 2))
    ['b', 'c', 'd']
    """
    loads = [(0.0, 0, index) for index in range(shard.count)]  # cost, names, shard; names keep the costless ones even
    mine = []
    for name in longest_first(costs):
        cost, names, index = heapq.heappop(loads)
        heapq.heappush(loads, (cost + costs[name], names + 1, index))
        if index == shard.index:
            mine.append(name)
    return mine


def longest_first(costs: Mapping[str, float]) -> list[str]:
    """Names by falling cost; equal ones by name."""
    return sorted(costs, key=lambda name: (-costs[name], name))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
