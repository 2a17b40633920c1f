"""Pages with pictures, which lie in a folder beside the page that has its name without the ending."""

from __future__ import annotations

from pathlib import Path

from rdmf.store.errors import InputError


def refuse_bare(page: Path, what: str) -> None:
    """Refuse a page without an ending: the folder of its pictures would take its place.

    Args:
        what: where the name stands, e.g. "--page".

    Raises:
        InputError: with a name that will do.
    """
    if not page.suffix:
        raise InputError(f"{what} {page}: give it an ending, e.g. {page}.md; a folder of that name takes its pictures")
