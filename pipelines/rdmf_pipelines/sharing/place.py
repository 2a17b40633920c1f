"""Where caches are shared: what a place must be able to do, and which place a name means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from rdmf.store import InputError
from rdmf_pipelines.sharing.bundle import SharedFile

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class Place(Protocol):
    """A repository or a folder. All its errors are InputErrors of one line.

    Attributes:
        name: as the user gave it.
        card_name: as the card calls it, for `rdmf features pull`.
    """

    name: str
    card_name: str

    def read(self, path: str) -> bytes | None:
        """A small file, or None where the place, which exists, has none of that path."""

    def fetch(self, file: SharedFile, into: Path) -> None:
        """Brings a file, going on after the bytes that `into` holds already."""

    def put(self, files: Mapping[SharedFile, Path], texts: Mapping[str, bytes], obsolete: Sequence[str]) -> None:
        """Gives it files and small texts, and removes others; readers see the old state or the new one."""


def place_of(
    target: str, *, writing: bool, revision: str | None = None, private: bool = False, endpoint: str | None = None
) -> Place:
    """The place that a name means: a folder if it begins with / or . or ~, else USER/NAME on the hub.

    Args:
        writing: whether it is to be written to; a repository or folder that is absent is then made.
        revision, private, endpoint: of a repository only.

    Raises:
        InputError: neither of the two, or an option that does not go with it.
    """
    if re.match(r"[/.~]|[A-Za-z]:[\\/]", target):
        from rdmf_pipelines.sharing.folder import FolderPlace

        wrong = [
            name for name, given in (("revision", revision), ("private", private), ("endpoint", endpoint)) if given
        ]
        if wrong:
            raise InputError(f"--{wrong[0]} is for repositories on a hub, and {target} is a folder")
        return FolderPlace(target, writing=writing)
    if not _REPOSITORY.fullmatch(target):
        raise InputError(f"'{target}' is no repository; write USER/NAME for one on the hub, or ./NAME for a folder")
    from rdmf_pipelines.sharing.hub import HubPlace

    return HubPlace(target, writing=writing, revision=revision, private=private, endpoint=endpoint)
