"""A folder with one array file per video (or per query), as the peers' code writes and reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf.store.errors import InputError

Features = NDArray[np.float32]

ENDINGS = (".npz", ".npy")


class FeatureFolder:
    """`DIR/NAME.npz` or `DIR/NAME.npy` for each NAME; each holds one (rows, dim) array.

    Attributes:
        path: the folder.
        key: the array's name inside an npz; a file with one array only may call it as it likes.
        dim: length of a row, from the first file loaded; None before.
    """

    def __init__(self, path: Path, *, key: str) -> None:
        """Look at the folder.

        Raises:
            InputError: not a folder, or without npz and npy files.
        """
        if not path.is_dir():
            kind = "is a file, not a folder" if path.exists() else "not found"
            raise InputError(f"feature folder {path} {kind}; it must hold one npz or npy file per video or query")
        self.path = path
        self.key = key
        self.dim: int | None = None
        self._dim_from: Path | None = None
        self._files: dict[str, Path] = {}
        for ending in reversed(ENDINGS):  # npz wins where both are there
            self._files.update({file.name[: -len(ending)]: file for file in sorted(path.glob(f"*{ending}"))})
        if not self._files:
            raise InputError(f"feature folder {path} holds no npz or npy file")

    def find(self, name: str) -> Path | None:
        """The file of `name`, or None."""
        return self._files.get(name)

    def example(self) -> str:
        """One file's name, for messages."""
        return next(iter(self._files.values())).name

    def load(self, name: str, *, mask_key: str = "") -> Features:
        """The (rows, dim) float32 array of `name`.

        Args:
            mask_key: an array of this name in the npz, if any, tells with non-zeros which rows are valid; only those
                are returned.

        Raises:
            InputError: the file is damaged, holds no such array, or one that is not (rows, dim) finite numbers with at
                least one row and as many columns as the files before it.
        """
        path = self._files[name]
        array, mask = _read(path, self.key, mask_key)
        if array.ndim == 3 and array.shape[0] == 1:  # (1, rows, dim): a batch of one, left on by some writers
            array = array[0]
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise InputError(
                f"{path}: expected a (rows, dim) array of numbers, got {array.dtype} of shape {array.shape}"
            )
        if mask is not None:
            if mask.size != array.shape[0]:
                raise InputError(f"{path}: '{mask_key}' has {mask.size} entries for {array.shape[0]} rows")
            array = array[mask.reshape(-1) != 0]
        if 0 in array.shape:
            raise InputError(f"{path}: no feature rows (shape {array.shape})")
        features = array.astype(np.float32)
        if not np.isfinite(features).all():
            bad = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
            raise InputError(f"{path}: NaN or infinity in feature row {bad}")
        if self.dim is None:
            self.dim, self._dim_from = features.shape[1], path
        elif features.shape[1] != self.dim:
            raise InputError(
                f"{path}: rows of {features.shape[1]} numbers, but {self.dim} in {self._dim_from}; a folder must hold "
                "features of one kind"
            )
        return features


def _read(path: Path, key: str, mask_key: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    try:
        # No pickles: a features file must not be able to run code.
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            return loaded, None
        with loaded:
            mask = loaded[mask_key] if mask_key and mask_key in loaded.files else None
            names = [name for name in loaded.files if name != mask_key]
            if key not in names and len(names) != 1:
                raise InputError(f"{path}: no array '{key}' among {', '.join(names) or 'none'}")
            return loaded[key if key in names else names[0]], mask
    except InputError:
        raise
    except Exception as error:  # numpy, zipfile and zlib raise many kinds for a damaged file
        raise InputError(f"{path}: not a readable array file ({error})") from None
