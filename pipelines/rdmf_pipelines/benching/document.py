"""The page on performance: one or several sheets, each aim with whether it is reached, a picture, notes by hand."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from rdmf.store.errors import InputError
from rdmf_pipelines.benching.aims import reached
from rdmf_pipelines.benching.lengths import GROUP as LENGTH
from rdmf_pipelines.benching.page import section
from rdmf_pipelines.benching.sheet import Sheet
from rdmf_pipelines.benching.wording import machine_line

PICTURE = "length.png"


def write(page: Path, sheets: Mapping[str, Sheet]) -> list[Path]:
    """Write the page, and the picture into a folder of its name beside it; returns what was written.

    What stands in `<page>-notes.md` beside it is included as it is.

    Args:
        sheets: {the file a sheet is kept in: the sheet}, shown in that order.

    Raises:
        InputError: the notes cannot be read.
    """
    from rdmf.files import write_atomically
    from rdmf_pipelines.benching.length_picture import draw

    text = whole(page, sheets, notes_beside(page))
    written = [page]
    for name, picture in _pictures(sheets).items():
        written.append(draw(sheets[name], page.with_suffix("") / picture))
    write_atomically(page, lambda partial: partial.write_text(text, encoding="utf-8"))
    return written


def _pictures(sheets: Mapping[str, Sheet]) -> dict[str, str]:
    """{name of a sheet that measured lengths: its picture}: the first one's is PICTURE, the others' are numbered."""
    drawn = [name for name, sheet in sheets.items() if LENGTH in sheet.groups()]
    stem, ending = Path(PICTURE).stem, Path(PICTURE).suffix
    return {name: f"{stem}-{number}{ending}" if number > 1 else PICTURE for number, name in enumerate(drawn, start=1)}


def notes_beside(page: Path) -> str:
    """What was written by hand for the page's end; "" where nothing was."""
    path = page.with_name(f"{page.stem}-notes.md")
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); mend it or move it away") from None


def whole(page: Path, sheets: Mapping[str, Sheet], notes: str = "") -> str:
    """The page as Markdown: nothing in it but what the sheets and the notes say.

    Args:
        page: where it will stand, as it is said in the command that writes it.
    """
    again = ["rdmf", "bench", *(word for name in sheets for word in ("--from", name)), "--page", page.as_posix()]
    parts = [
        "# Performance\n",
        f"Written by `{shlex.join(again)}` from measured figures; not edited by hand. A figure is a median, ± half the "
        "distance between the quartiles. With one thread times are that thread's own, which other work on the machine "
        "stretches less than it stretches the clock. Ways of the same thing take turns, and were first seen to give "
        "the same result.\n",
    ]
    for name, sheet in sheets.items():
        parts.append(f"`{sheet.command}` ({name}): {machine_line(sheet)}.\n")
    pictures = _pictures(sheets)
    for name, sheet in sheets.items():
        aims = reached(sheet)
        for group in sheet.groups():
            below = aims.get(group, [])
            if group == LENGTH:
                folder = page.with_suffix("").name
                below = [f"![Seconds and memory of a prediction over length]({folder}/{pictures[name]})", *below]
            parts.append(section(sheet, group, below=below))
    if notes:
        parts.append(f"{notes.strip()}\n")
    return "\n".join(parts)
