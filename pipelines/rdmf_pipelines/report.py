"""Tables and lists at the end of extraction and import."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rdmf.store.records import Failure

FAILURES_SHOWN = 20


def print_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """A two-column table on standard output; long values wrap, nothing is cut off."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left", box=box.SIMPLE)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    # Not a terminal: paths must stay greppable, so no wrapping at 80 columns.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    Console(width=width, highlight=False, markup=False).print(table)


def print_failures(failures: Sequence[Failure]) -> None:
    """One line per failed video on standard error; beyond a screenful, where to find the rest."""
    for failure in failures[:FAILURES_SHOWN]:
        print(f"failed: {failure.vid}: {failure.reason}", file=sys.stderr)
    if len(failures) > FAILURES_SHOWN:
        more = len(failures) - FAILURES_SHOWN
        print(f"failed: {more} more; all are listed in the cache (rdmf features info)", file=sys.stderr)


def clock(seconds: float) -> str:
    """93784 s as "26:03:04"; 75 s as "1:15"."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
