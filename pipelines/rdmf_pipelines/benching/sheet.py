"""The figures of one run of `rdmf bench`: kept as JSON, compared with an earlier run as ratios."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rdmf.files import write_atomically
from rdmf.store.cores import usable_cores
from rdmf.store.errors import InputError

FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """One thing measured.

    Attributes:
        group: what belongs in one table ("reaction, forward and backward").
        case: the size or input ("4 x 2000 x 256"), a line of that table.
        name: the way it was done ("plain loop", "kernel"), or the part ("backward").
        seconds: median. low, high: quartiles. count: how often it was measured.
        against: the `name` of the same group and case that it is a way of replacing; "" where there is none.
        more: what else is known of it by name, e.g. {"peak MB": 210.0, "samples a second": 33.3}.
        instead: why there is no time ("needs more than 8 GB"); `count` is 0 then, and the seconds mean nothing.
    """

    group: str
    case: str
    name: str
    seconds: float
    low: float
    high: float
    count: int
    against: str = ""
    more: Mapping[str, float] = field(default_factory=dict)
    instead: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is compared by with an earlier run."""
        return self.group, self.case, self.name

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median."""
        return (self.high - self.low) / 2 / self.seconds if self.seconds > 0 else 0.0


def entry(
    group: str,
    case: str,
    name: str,
    taken: Iterable[float],
    *,
    against: str = "",
    more: Mapping[str, float] | None = None,
) -> Entry:
    """An entry of measured seconds; with fewer than four the quartiles are the least and the most."""
    times = sorted(taken)
    if len(times) >= 4:
        low, _, high = statistics.quantiles(times, n=4)
    else:
        low, high = times[0], times[-1]
    return Entry(group, case, name, statistics.median(times), low, high, len(times), against, dict(more or {}))


def without_time(group: str, case: str, name: str, why: str, *, against: str = "") -> Entry:
    """An entry of what could not be measured, so that a table says so instead of leaving it out."""
    return Entry(group, case, name, 0.0, 0.0, 0.0, 0, against, instead=why)


@dataclass
class Sheet:
    """All figures of one run.

    Attributes:
        command: what was run. machine: what it ran on, by name. entries: in the order measured.
        notes: sentences for under a group's table, by group. about: what it shows, for above it, by group.
    """

    command: str
    machine: dict[str, Any]
    entries: list[Entry] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)

    def groups(self) -> list[str]:
        """In the order measured."""
        return list(dict.fromkeys(e.group for e in self.entries))

    def find(self, group: str, case: str, name: str) -> Entry | None:
        """The entry of that key."""
        return next((e for e in self.entries if e.key == (group, case, name)), None)

    def times_as_fast(self, one: Entry) -> float | None:
        """How many times as fast as what it replaces; None where it replaces nothing."""
        other = self.find(one.group, one.case, one.against) if one.against else None
        return other.seconds / one.seconds if other and other.count and one.count and one.seconds > 0 else None

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        value = {
            "format": FORMAT,
            "command": self.command,
            "machine": self.machine,
            "about": self.about,
            "notes": self.notes,
            "entries": [{**vars(e), "more": dict(e.more)} for e in self.entries],
        }
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def load(path: Path) -> Sheet:
    """A sheet that `Sheet.save` wrote.

    Raises:
        InputError: no such file, or not such a file.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != FORMAT:
            raise ValueError(f"format {value['format']}, this version reads {FORMAT}")
        entries = [Entry(**e) for e in value["entries"]]
        return Sheet(value["command"], value["machine"], entries, value["notes"], value.get("about", {}))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; `rdmf bench --json FILE` writes such files") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not written by `rdmf bench --json` ({error})") from None


def typed(*command: str) -> str:
    """The command line that runs, with the threads it runs on; `rdmf COMMAND` where, as in tests, there is none."""
    threads = os.environ.get("OMP_NUM_THREADS")
    given = sys.argv[1:] if tuple(sys.argv[1 : len(command) + 1]) == command else command
    return f"{f'OMP_NUM_THREADS={threads} ' if threads else ''}{shlex.join(['rdmf', *given])}"


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the figures depend on: processor, cores, threads, versions, how busy it was, the GPU if one is used."""
    import torch

    about: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device != "cpu":
        about["device"] = torch.cuda.get_device_name(device)
    return about


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def ratios(now: Sheet, before: Sheet) -> list[tuple[Entry, Entry, float, bool]]:
    """What both runs measured: (entry now, entry before, now / before in seconds, whether the quartiles lie apart).

    Fewer than four measurements have no quartiles, and lie never apart.
    """
    earlier = {e.key: e for e in before.entries}
    found = []
    for one in now.entries:
        other = earlier.get(one.key)
        if other is not None and one.count and other.count and other.seconds > 0:
            apart = min(one.count, other.count) >= 4 and (one.low > other.high or one.high < other.low)
            found.append((one, other, one.seconds / other.seconds, apart))
    return found
