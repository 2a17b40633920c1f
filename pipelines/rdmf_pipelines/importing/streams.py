"""Several feature streams of one video joined row by row, with the policy for unequal lengths in the open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rdmf.store.errors import InputError
from rdmf_pipelines.importing.feature_files import FeatureFolder, Features

EQUAL_LENGTH = ("error", "trim", "pad")
NORMALIZE = ("none", "l2")
FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass
class VideoStreams:
    """Folders of video features whose rows stand side by side in the cache.

    Attributes:
        folders: one per stream, in the order of their columns.
        equal_length: "error" refuses a video whose streams have different numbers of rows; "trim" cuts all to the
            shortest; "pad" repeats the last row of the shorter ones.
        normalize: "none", or "l2": each row of each stream is divided by its Euclidean norm before they are joined.
        changed: how many videos were trimmed or padded so far.
    """

    folders: Sequence[FeatureFolder]
    equal_length: str = "error"
    normalize: str = "none"
    changed: int = 0

    @classmethod
    def open(cls, paths: Sequence[Path], *, equal_length: str, normalize: str) -> VideoStreams:
        """Look at the folders and check the settings."""
        check_choice("--equal-length", equal_length, EQUAL_LENGTH)
        check_choice("--normalize", normalize, NORMALIZE)
        return cls([FeatureFolder(path, key="features") for path in paths], equal_length, normalize)

    def absent(self, vid: str) -> str | None:
        """Why a video has no features: which folders lack its file; None where all have it."""
        lacking = [str(folder.path) for folder in self.folders if folder.find(vid) is None]
        return f"no feature file in {' and '.join(lacking)}" if lacking else None

    def load(self, vid: str) -> Features:
        """(rows, sum of the streams' dims) float32.

        Raises:
            InputError: a file is unusable; the streams' lengths differ and that is refused; a value that half
                precision cannot hold.
        """
        parts = [normalized(folder.load(vid), self.normalize) for folder in self.folders]
        lengths = [len(part) for part in parts]
        if len(set(lengths)) > 1:
            parts = self._equalize(vid, parts, lengths)
        for folder, part in zip(self.folders, parts):
            check_float16(part, str(folder.find(vid)))
        return np.concatenate(parts, axis=1)  # (rows, sum of dims)

    def _equalize(self, vid: str, parts: list[Features], lengths: list[int]) -> list[Features]:
        if self.equal_length == "error":
            told = ", ".join(f"{length} in {folder.path}" for folder, length in zip(self.folders, lengths))
            raise InputError(
                f"video '{vid}': its streams have different numbers of rows ({told}); --equal-length trim cuts to the "
                "shortest, pad repeats the last row"
            )
        self.changed += 1
        if self.equal_length == "trim":
            return [part[: min(lengths)] for part in parts]
        return [np.pad(part, ((0, max(lengths) - len(part)), (0, 0)), mode="edge") for part in parts]


def normalized(features: Features, how: str) -> Features:
    """Rows divided by their Euclidean norm where `how` is "l2" (a tiny constant keeps rows of zeros zero)."""
    if how == "none":
        return features
    return np.asarray(features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-5), dtype=np.float32)


def check_float16(features: Features, where: str) -> None:
    """Refuse values that the cache's half precision cannot hold.

    Raises:
        InputError: naming the file and the value.
    """
    largest = float(np.abs(features).max())
    if largest > FLOAT16_MAX:
        raise InputError(
            f"{where}: holds the value {largest:g}, beyond half precision's {FLOAT16_MAX:g}; --normalize l2 scales "
            "each row to length 1"
        )


def check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that is not among the known ones, naming them."""
    if value not in choices:
        raise InputError(f"{option} '{value}' is unknown; choose one of {', '.join(choices)}")
