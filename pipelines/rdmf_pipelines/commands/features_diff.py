"""`rdmf features diff`: do two caches hold the same features?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rdmf.store import Difference, Items, Strings

_MOST_LISTED = 10


def diff(
    here: Annotated[Path, typer.Argument(help="A feature cache (.h5), or an index over parts.")],
    there: Annotated[Path, typer.Argument(help="The one to compare it with.")],
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest difference of a feature, or of a time in seconds, that is none.")
    ] = 0.0,
    worst: Annotated[int, typer.Option(min=0, help="How many of the videos that differ most to show.")] = 10,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False,
) -> None:
    """Compare two caches video by video and sentence by sentence: which, what shape, cosine, largest difference.

    Exit code 0: the same videos and sentences, and nothing differs by more than --tolerance; 1: they differ. Settings
    that differ are listed and do not count.
    """
    from rdmf.store import difference

    found = difference(here, there, worst=worst)
    agree = found.videos.agree(tolerance) and found.texts.agree(tolerance)
    if json:
        from json import dumps

        typer.echo(dumps({"here": str(here), "there": str(there), "agree": agree, **_facts(found)}, indent=2))
    else:
        for line in _lines(found, here, there):
            typer.echo(line)
        limit = f" (tolerance {tolerance:g})" if tolerance else ""
        shared = found.videos.shared_agree(tolerance) and found.texts.shared_agree(tolerance)
        verdict = "what both have is the same" if shared else "the features differ"
        typer.echo(f"the features are the same{limit}" if agree else f"{verdict}{limit}")
    if not agree:
        raise typer.Exit(1)


def _lines(found: Difference, here: Path, there: Path) -> Iterator[str]:
    yield f"here {here}, there {there}"
    yield f"  settings that differ: {len(found.settings) or 'none'}"
    for line in found.settings:
        yield f"    {line}"
    for what, items in (("videos", found.videos), ("sentences", found.texts)):
        yield from _items(what, items)


def _items(what: str, items: Items) -> Iterator[str]:
    yield f"  {items.compared:,} {what} in both, {items.identical:,} of them identical" + (
        f"; cosine of a row {items.least_cosine:.6f} at least, {items.mean_cosine:.6f} on average; "
        f"largest difference {items.largest:.4g}"
        + (f"; times differ by up to {items.seconds:.4g} s" if items.seconds else "")
        if items.compared > items.identical
        else ""
    )
    yield from _alone(f"{what} only here", items.only_here)
    yield from _alone(f"{what} only there", items.only_there)
    if items.shapes:
        yield f"  {len(items.shapes):,} {what} of other shapes, not compared:"
        for name, one, other in items.shapes[:_MOST_LISTED]:
            yield f"    {_short(name)}: {one[0]} x {one[1]} here, {other[0]} x {other[1]} there"
        yield from _more(len(items.shapes))
    if items.worst:
        yield f"  {what} that differ most: least and mean cosine of a row, largest difference, seconds"
        for item in items.worst:
            yield (
                f"    {item.least_cosine:9.6f} {item.mean_cosine:9.6f} {item.largest:10.4g} {item.seconds:8.4g}  "
                f"{_short(item.name)}"
            )


def _alone(label: str, names: Strings) -> Iterator[str]:
    if len(names):
        yield f"  {len(names):,} {label}:"
        for name in names[:_MOST_LISTED]:
            yield f"    {_short(name)}"
        yield from _more(len(names))


def _more(count: int) -> Iterator[str]:
    if count > _MOST_LISTED:
        yield f"    ... and {count - _MOST_LISTED:,} more (--json lists all)"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _facts(found: Difference) -> dict[str, Any]:
    from dataclasses import asdict

    facts: dict[str, Any] = {"settings": found.settings}
    for key, items in (("videos", found.videos), ("texts", found.texts)):
        told = asdict(items)
        told["only_here"], told["only_there"] = list(items.only_here), list(items.only_there)
        facts[key] = told
    return facts
