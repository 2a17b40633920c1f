"""Finding the video files that annotations name, wherever they lie in a folder tree."""

from __future__ import annotations

import os
from pathlib import Path

from rdmf.store.errors import InputError

VIDEO_EXTENSIONS = frozenset(
    {".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".gif", ".mpg", ".mpeg"}
    | {".wmv", ".flv", ".ts", ".mts", ".m2ts", ".3gp", ".ogv", ".vob", ".asf"}
)


class VideoIndex:
    """The video files under a folder, by name.

    A file `DIR/train/abc.mp4` is found as "abc", "abc.mp4", "train/abc" and "train/abc.mp4". Hidden files are left
    out; links to folders are followed (each folder once).
    """

    def __init__(self, folder: Path) -> None:
        """Walk the tree once.

        Raises:
            InputError: `folder` is missing or a file.
        """
        if not folder.is_dir():
            kind = "is a file, not a folder" if folder.exists() else "not found"
            raise InputError(f"video folder {folder} {kind}; name the folder that holds the videos with --videos")
        self.folder = folder
        self._files: dict[str, list[Path]] = {}
        self.count = 0
        seen: set[str] = set()
        for root, folders, names in os.walk(folder, followlinks=True):
            real = os.path.realpath(root)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(root, name)
                if path.suffix.lower() in VIDEO_EXTENSIONS and not name.startswith("."):
                    self._add(path)

    def find(self, name: str) -> Path | None:
        """The file of a video, or None.

        Raises:
            InputError: several files answer to that name.
        """
        found = self._files.get(name, [])
        if len(found) > 1:
            whole = [path for path in found if path.relative_to(self.folder).as_posix() == name]
            if whole:  # named in full
                return whole[0]
            raise InputError(
                f"video '{name}' could be {found[0]} or {found[1]}; remove one, or name the file with its folder and "
                "ending in the annotations"
            )
        if found:
            return found[0]
        # A file named in full need not look like a video: whether it is one, decoding will tell.
        exact = self.folder / name
        return exact if name and exact.is_file() else None

    def example(self) -> str:
        """One file's name, for messages."""
        return next(iter(self._files.values()))[0].name if self._files else "nothing"

    def _add(self, path: Path) -> None:
        self.count += 1
        relative = path.relative_to(self.folder)
        names = {relative.as_posix(), relative.with_suffix("").as_posix(), path.name, path.stem}
        for name in names:
            self._files.setdefault(name, []).append(path)
