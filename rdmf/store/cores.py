"""How many processors this process may run on."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Those that the system lets this process use (a container's or `taskset`'s share), where it tells; else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
