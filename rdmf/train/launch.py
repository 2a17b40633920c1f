"""Whether this process is one of several that `torchrun` started; asked before anything heavy is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def launched() -> bool:
    """Whether `torchrun`, or what sets the same variables, started several processes."""
    return {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys() and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process is the one that writes and speaks; true where there is one process."""
    return not launched() or os.environ["RANK"] == "0"


@contextmanager
def one_voice() -> Iterator[None]:
    """A part that bad input may end, in all processes and said once: `rdmf.train.distributed.Ranks.together`."""
    if not launched():
        yield
        return
    from rdmf.train.distributed import join

    with join().together():
        yield
