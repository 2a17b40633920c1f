"""A sheet as Markdown: a table a group, cases down and ways across."""

from __future__ import annotations

from collections.abc import Sequence

from rdmf_pipelines.benching.sheet import Entry, Sheet
from rdmf_pipelines.benching.wording import duration, machine_line, number, spread, times


def markdown(sheet: Sheet) -> str:
    """Everything of a sheet: what was run, where, and a section for every group."""
    head = f"`{sheet.command}` on {machine_line(sheet)}.\n"
    return "\n".join([head, *(section(sheet, name) for name in sheet.groups())])


def section(sheet: Sheet, name: str, *, below: Sequence[str] = ()) -> str:
    """One group: its heading, what it shows, its tables, its note.

    Args:
        below: paragraphs for under the tables, before the note.
    """
    where = f", on one {sheet.machine['device']}" if "device" in sheet.machine else ""
    parts = [f"## {name[:1].upper()}{name[1:]}{where}\n"]
    if name in sheet.about:
        parts.append(f"{sheet.about[name]}\n")
    parts += tables(sheet, name)
    parts += [f"{text}\n" for text in below]
    if name in sheet.notes:
        parts.append(f"{sheet.notes[name]}\n")
    return "\n".join(parts)


def tables(sheet: Sheet, name: str) -> list[str]:
    """The group's seconds, and what else is known: beside them where one way alone has it, else a table of its own."""
    entries = [e for e in sheet.entries if e.group == name]
    cases = list(dict.fromkeys(e.case for e in entries))
    # What others are measured against stands first.
    known = dict.fromkeys(e.name for e in entries)
    replaced = {e.against for e in entries}
    names = sorted(known, key=lambda name: name not in replaced)
    found = {(e.case, e.name): e for e in entries}
    carriers: dict[str, list[str]] = {}
    for e in entries:
        for field in e.more:
            carriers.setdefault(field, [])
            if e.name not in carriers[field]:
                carriers[field].append(e.name)
    if len(cases) == 1 or len(names) == 1:
        return [_lines(sheet, entries, list(carriers))]
    beside = {field: by[0] for field, by in carriers.items() if len(by) == 1}
    rows = []
    for case in cases:
        told = [_cell(sheet, found.get((case, way))) for way in names]
        rows.append([case, *told, *(_extra(found.get((case, way)), field) for field, way in beside.items())])
    made = [table(["", *names, *beside], rows)]
    for field in (f for f in carriers if f not in beside):
        ways = [way for way in names if way in carriers[field]]
        values = [[case, *(_extra(found.get((case, way)), field, said=True) for way in ways)] for case in cases]
        made += [f"{field[:1].upper()}{field[1:]}:\n", table(["", *ways], values)]
    return made


def _lines(sheet: Sheet, entries: Sequence[Entry], fields: Sequence[str]) -> str:
    """A line a figure: for one case, or one way."""
    cases, ways = len({e.case for e in entries}) > 1, len({e.name for e in entries}) > 1
    rows = []
    for e in entries:
        said = [e.instead, "", ""] if e.instead else [duration(e.seconds), spread(e), times(sheet.times_as_fast(e))]
        called = e.case if cases and not ways else e.name
        rows.append([called, *said, *(_extra(e, field) for field in fields)])
    one_case = "" if cases else entries[0].case
    head = [entries[0].name if cases and not ways else one_case, "median", "spread", "times as fast", *fields]
    kept = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    return table([head[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _cell(sheet: Sheet, one: Entry | None) -> str:
    """ "0.89 ms ±3% (6.7x)" """
    if one is None:
        return ""
    if one.instead:
        return one.instead
    ratio = times(sheet.times_as_fast(one))
    return " ".join(word for word in (duration(one.seconds), spread(one), f"({ratio})" if ratio else "") if word)


def _extra(one: Entry | None, field: str, *, said: bool = False) -> str:
    """What is known by that name; `said`: or why nothing is."""
    if one is None:
        return ""
    return number(one.more[field]) if field in one.more else one.instead if said else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column left, the others right."""
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"
