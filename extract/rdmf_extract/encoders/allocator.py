"""Memory that a network frees on the CPU stays with the process for its next layer.

glibc gives large blocks back to the system as soon as they are freed, and asks for them again at the next layer; the
system clears them page by page each time. With EfficientNet-Lite0 that is a quarter of the time of an image.
"""

from __future__ import annotations

import ctypes
import os

# <malloc.h>: what is freed at the heap's end beyond this goes back; blocks from this size on are mapped one by one.
# One heap for all threads: what one frees another takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 512 << 20
_LARGEST_BYTES = 32 << 20  # glibc takes no more
#: What people set to choose for themselves.
_CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Tell glibc so, once or often; returns whether it was: not where there is another allocator, or a choice made."""
    if any(name in os.environ for name in _CHOSEN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such function, or, on Windows, no such way to ask
        return False
    wanted = ((_M_MMAP_THRESHOLD, _LARGEST_BYTES), (_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_ARENA_MAX, 1))
    return all(bool(mallopt(*one)) for one in wanted)
