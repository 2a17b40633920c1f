"""A decoder process in which things go wrong for real, run in place of the ordinary one.

RDMF_TEST_FAULTS names a JSON file: {video's stem: {"do": what, "times": how often (default: always), "to": "decord" or
"any" (default), "at": after how many frames}}. What: segfault, abort, hang (in C, the interpreter locked), kill, memory
(no more to be had), replace (another file is put in its place), truncate (it loses its second half).
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rdmf_extract.decode import child
from rdmf_extract.decode.events import Event
from rdmf_extract.decode.policy import read as real_read
from rdmf_extract.sampling import Sampling

_HOARD: list[bytearray] = []
PLAN = Path(os.environ["RDMF_TEST_FAULTS"])


def read(path: Path, sampling: Sampling, *, policy: str = "auto", **rest: Any) -> Iterator[Event]:
    fault = json.loads(PLAN.read_text()).get(path.stem)
    due = fault is not None and (fault.get("to", "any") == "any" or policy != "pyav") and _turn(path.stem, fault)
    if due and fault.get("at", 0) == 0:
        _strike(fault, path)
    for i, event in enumerate(real_read(path, sampling, policy=policy, **rest), 1):
        yield event
        if due and i == fault.get("at", 0):
            _strike(fault, path)


def _turn(stem: str, fault: dict[str, Any]) -> bool:
    """Whether the fault has not struck often enough yet."""
    for i in range(fault.get("times", 1_000_000)):
        try:
            PLAN.with_name(f"{stem}-{i}.struck").open("x").close()
            return True
        except FileExistsError:
            continue
    return False


def _strike(fault: dict[str, Any], path: Path) -> None:
    what = fault["do"]
    if what == "segfault":
        ctypes.string_at(0)
    elif what == "abort":
        os.abort()
    elif what == "hang":
        ctypes.PyDLL(None).sleep(3600)  # unlike CDLL, PyDLL keeps the interpreter locked
    elif what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "memory":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(), resource.RLIM_INFINITY))
        for size in (1 << 20, 1 << 16, 1 << 12):  # what the allocator has in store is used up as well
            while True:
                try:
                    _HOARD.append(bytearray(size))
                except MemoryError:
                    break
    elif what == "replace":
        shutil.copy(fault["by"], path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)
    elif what == "truncate":
        os.truncate(path, path.stat().st_size // 2)


if __name__ == "__main__":
    child.read = read
    child.main(*(int(argument) for argument in sys.argv[1:3]))
