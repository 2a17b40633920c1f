"""Ways of computing the same thing, timed in turns: medians and quartiles, so that one disturbance decides nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def in_turns(
    ways: Mapping[str, Callable[[], object]], *, seconds: float = 0.2, turns: int = 31
) -> dict[str, list[float]]:
    """Seconds of each way, sorted; the ways take turns, after one turn that does not count.

    With one thread it is that thread's own time, which other work on the machine lengthens less than the clock's.

    Args:
        ways: by name.
        seconds: enough for one way; at least 5 turns are taken.
        turns: at most.
    """
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for turn in range(turns):
        for name, way in ways.items():
            if turn < 5 or sum(taken[name]) < seconds:
                begun = clock()
                way()
                taken[name].append(clock() - begun)
    return {name: sorted(times) for name, times in taken.items()}


def told(times: list[float], plain: list[float]) -> str:
    """Median in ms, half the distance between the quartiles in percent of it, ratio to `plain`."""
    middle = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4)
    return f"{1e3 * middle:9.3f} ±{50 * (high - low) / middle:3.0f}% {statistics.median(plain) / middle:6.1f}x"
