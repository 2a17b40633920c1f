"""`rdmf features subset` and `rdmf features merge`: caches out of caches, with their rows or as links to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_LINK = (
    "Copy no rows: write an index with relative links to the files that hold them, which must then stay where they "
    "are as seen from it."
)


def subset(
    path: Annotated[Path, typer.Argument(help="A feature cache (.h5), or an index over parts.")],
    out: Annotated[Path, typer.Option(help="The cache to write.")],
    vids: Annotated[Path | None, typer.Option(help="Text file with one video name a line: only these videos.")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Only queries of this split and the videos they ask about. Repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many of the videos left.")] = None,
    link: Annotated[bool, typer.Option("--link", help=_LINK)] = False,
) -> None:
    """Write a smaller cache: the videos that meet all conditions, their queries, and the sentences these need."""
    from rdmf.store import InputError, open_cache
    from rdmf.store import subset as write

    if vids is None and not split and limit is None:
        raise InputError("say what the subset is: --vids, --split or --limit (several together are all to be met)")
    _refuse_existing(out)
    names = None if vids is None else _names(vids)
    _tell(open_cache(write(path, out, vids=names, splits=split or (), limit=limit, self_contained=not link)).path)


def merge(
    parts: Annotated[list[Path], typer.Argument(help="Caches of one fingerprint, in the order they are to have.")],
    out: Annotated[Path, typer.Option(help="The cache to write.")],
    link: Annotated[bool, typer.Option("--link", help=_LINK)] = False,
) -> None:
    """Merge caches that were made with the same settings into one; no video may be in two of them."""
    from rdmf.store import merge as write

    _refuse_existing(out)
    _tell(write(parts, out, self_contained=not link))


def _names(path: Path) -> list[str]:
    """One name a line; blank lines are passed over."""
    from rdmf.store import InputError

    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; give one video name a line") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise InputError(f"{path} names no video; give one a line")
    return names


def _refuse_existing(out: Path) -> None:
    from rdmf.store import InputError

    if out.exists():
        raise InputError(f"{out} exists already; name another file with --out, or remove it first")


def _tell(path: Path) -> None:
    from rdmf.store import open_cache

    with open_cache(path) as cache:
        kind = f"an index over {len(cache.data_files):,} files" if cache.is_index else "self-contained"
        typer.echo(
            f"{path}: {cache.n_videos:,} videos, {len(cache.queries):,} queries, {cache.n_texts:,} sentences, "
            f"{path.stat().st_size / 1e6:,.1f} MB, {kind}"
        )
