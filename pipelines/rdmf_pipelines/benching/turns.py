"""Ways of doing the same thing, timed in turns, so that one disturbance of the machine decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def processor_clock() -> Callable[[], float]:
    """This thread's own time where torch has one thread, else the clock on the wall.

    Other work on the machine lengthens a thread's own time less than the clock's.
    """
    import torch

    return time.thread_time if torch.get_num_threads() == 1 else time.perf_counter


def in_turns(
    ways: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 0.2,
    turns: int = 31,
    least: int = 5,
    clock: Callable[[], float] | None = None,
    wait: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of each way, in the order taken; the ways take turns, after one turn that does not count.

    Args:
        ways: by name.
        seconds: enough for one way once it had `least` turns.
        turns: at most.
        clock: seconds; `processor_clock()` unless told.
        wait: called before each look at the clock: `torch.cuda.synchronize` where the ways run on a GPU.
    """
    clock = clock or processor_clock()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for turn in range(turns):
        for name, way in ways.items():
            if turn < least or sum(taken[name]) < seconds:
                wait()
                begun = clock()
                way()
                wait()
                taken[name].append(clock() - begun)
    return taken
