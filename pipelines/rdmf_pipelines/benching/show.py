"""A sheet as text for the terminal: a line a figure, beside those of an earlier run where there is one."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from rdmf_pipelines.benching.sheet import Entry, Sheet, ratios
from rdmf_pipelines.benching.wording import duration, machine_line, number, spread, times

#: What of a machine's description may differ between two runs without making them hard to compare.
PASSING = {"date", "load"}
#: Characters that a line of text has at most.
WIDTH = 110
#: Changes that are listed after the tables, of those for the worse and those for the better.
MOST_TOLD = 8


def terminal(sheet: Sheet, before: Sheet | None = None) -> str:
    """Every group as a table: median, spread, how many times as fast as what it replaces, and what else is known.

    Args:
        before: an earlier run; adds a column of seconds now / seconds then, and `comparison` below.
    """
    parts = [machine_line(sheet)]
    parts += [group(sheet, name, before) for name in sheet.groups()]
    if before is not None:
        parts.append(comparison(sheet, before))
    return "\n\n".join(parts)


def group(sheet: Sheet, name: str, before: Sheet | None = None) -> str:
    """One group's table with what is said of it."""
    entries = [e for e in sheet.entries if e.group == name]
    more = list(dict.fromkeys(field for e in entries for field in e.more))
    then = {e.key: (ratio, apart) for e, _, ratio, apart in ratios(sheet, before)} if before is not None else {}
    head = ["", "", "median", "spread", "against", *(["now/then"] if before is not None else []), *more]
    rows, case = [head], None
    for e in entries:
        said = [e.instead, "", ""] if e.instead else [duration(e.seconds), spread(e), times(sheet.times_as_fast(e))]
        ratio, apart = then.get(e.key, (None, False))
        told = [""] if ratio is None else [f"{ratio:.2f}{'*' if apart else ' '}"]
        rows.append(
            [
                e.case if e.case != case else "",
                e.name,
                *said,
                *(told if before is not None else []),
                *(number(e.more[field]) if field in e.more else "" for field in more),
            ]
        )
        case = e.case
    said, noted = (textwrap.wrap(texts.get(name, ""), WIDTH) for texts in (sheet.about, sheet.notes))
    return "\n".join([name, *said, *aligned(rows, left=2), *noted])


def aligned(rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """Rows with columns of one width; the first `left` begin at the left, the others end at the right. Columns without
    a word below their head are dropped."""
    kept = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in kept}
    return [
        "  " + "  ".join(row[i].ljust(widths[i]) if i < left else row[i].rjust(widths[i]) for i in kept).rstrip()
        for row in rows
    ]


def comparison(now: Sheet, before: Sheet) -> str:
    """Which figures changed beyond their quartiles since an earlier run, and whether the two can be compared at all."""
    lines = []
    fields = [f for f in dict.fromkeys((*now.machine, *before.machine)) if f not in PASSING]
    for f in fields:
        new, old = now.machine.get(f), before.machine.get(f)
        if new != old:
            lines.append(f"not like with like: {f} was {old}, is {new}")
    both = ratios(now, before)
    if not both:
        return "\n".join([*lines, "nothing that the earlier run measured was measured now"])
    changed = [found for found in both if found[3]]
    if not changed:
        lines.append(f"none of {len(both)} figures changed beyond its quartiles")
    for word, chosen in (
        ("slower", [c for c in changed if c[2] > 1]),
        ("faster", [c for c in changed if c[2] <= 1]),
    ):
        if chosen:
            lines.append(
                f"{len(chosen)} of {len(both)} {word} beyond their quartiles (now/then), marked * above; most:"
            )
            chosen.sort(key=lambda c: abs(math.log(c[2])), reverse=True)
            lines += [f"  {ratio:.2f}  {_called(one)}" for one, _, ratio, _ in chosen[:MOST_TOLD]]
    return "\n".join(lines)


def _called(one: Entry) -> str:
    return " / ".join(word for word in one.key if word)
