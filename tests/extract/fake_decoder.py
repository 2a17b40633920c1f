"""A decoder process that misbehaves on files named so, in the ways Decord is known to; run in place of the real one."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rdmf_extract.decode import child
from rdmf_extract.decode.events import Event
from rdmf_extract.decode.policy import read as real_read
from rdmf_extract.sampling import Sampling


def read(path: Path, sampling: Sampling, *, policy: str = "auto", **rest: Any) -> Iterator[Event]:
    trouble = policy != "pyav" or "always" in path.name
    if trouble and "hang" in path.name:
        time.sleep(3600)
    if trouble and "kill" in path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble and "abort" in path.name:
        mark = path.with_suffix(".aborted")
        if "once" not in path.name or not mark.exists():
            mark.touch()
            os.abort()
    for i, event in enumerate(real_read(path, sampling, policy=policy, **rest)):
        yield event
        if trouble and "late" in path.name and i == 5:
            print("the last words", file=sys.stderr, flush=True)
            os.abort()


if __name__ == "__main__":
    child.read = read
    child.main(*(int(argument) for argument in sys.argv[1:3]))
