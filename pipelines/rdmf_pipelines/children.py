"""Processes that this one starts: they run the code that it runs."""

from __future__ import annotations

import os
import sys


def environment(threads: int) -> dict[str, str]:
    """Variables of a child that computes on so many threads.

    Where the packages lie beside the tests rather than installed, the child must find them too.
    """
    paths = os.pathsep.join(place for place in sys.path if place)
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": paths}
