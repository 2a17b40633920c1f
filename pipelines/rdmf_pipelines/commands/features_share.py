"""`rdmf features push` and `rdmf features pull`: caches shared with others, every byte checked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

_TARGET = "USER/NAME, a dataset repository on the Hugging Face Hub; or a folder, with / or . or ~ in front."
_REVISION = "Branch of the repository; `pull` also takes a tag or a commit. Default: its main branch."
_ENDPOINT = "A hub that speaks the same protocol, or a mirror. Default: HF_ENDPOINT, else the Hub itself."


def push(
    cache: Annotated[Path, typer.Argument(help="A feature cache (.h5), or an index over parts beside or below it.")],
    target: Annotated[str, typer.Argument(metavar="REPO", help=_TARGET)],
    licence: Annotated[
        str | None,
        typer.Option(
            "--license", "--licence", help="Under which licence the features are shared: an identifier like cc-by-4.0."
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help=_REVISION)] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private, if it is made now.")] = False,
    endpoint: Annotated[str | None, typer.Option(help=_ENDPOINT)] = None,
) -> None:
    """Share a cache: the files, a card that says how they were made, and checksums; a second push replaces the first.

    The token to write with is HF_TOKEN's or the login's. Readers see all of a push or nothing of it.
    """
    from rdmf_pipelines.sharing.place import place_of
    from rdmf_pipelines.sharing.push import push as share

    place = place_of(target, writing=True, revision=revision, private=private, endpoint=endpoint)
    bundle = share(cache, place, licence=licence)
    count = "1 file" if len(bundle.files) == 1 else f"{len(bundle.files):,} files"
    typer.echo(f"{place.name}: {bundle.cache}, {count}, {bundle.n_bytes / 1e6:,.1f} MB, with card and checksums")
    typer.echo(f"others get it by `rdmf features pull {place.name}`")
    if licence is None:
        print("no --license was given: the card says that nobody said who may use this", file=sys.stderr)


def pull(
    target: Annotated[str, typer.Argument(metavar="REPO", help=_TARGET)],
    out: Annotated[
        Path | None,
        typer.Option(help="The file it is to be. Default: features/, by the name that it was shared under."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help=_REVISION)] = None,
    endpoint: Annotated[str | None, typer.Option(help=_ENDPOINT)] = None,
) -> None:
    """Fetch a shared cache. Run it again to go on after a break; a file gets its name when its checksum is right."""
    from rdmf_pipelines.sharing.place import place_of
    from rdmf_pipelines.sharing.pull import pull as fetch

    pulled = fetch(place_of(target, writing=False, revision=revision, endpoint=endpoint), out)
    n_files = len(pulled.bundle.files)
    fetched = (
        "all of it was here already" if not pulled.n_fetched else f"{pulled.n_fetched:,} of {n_files:,} files fetched"
    )
    typer.echo(f"{pulled.path}: {pulled.bundle.n_bytes / 1e6:,.1f} MB, {fetched}, every checksum matches")
    typer.echo(f"use it by `rdmf train --features {pulled.path}`")
