"""Closed forms for many 2 x 2 matrices at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def stack(first: ArrayLike, second: ArrayLike, third: ArrayLike, fourth: ArrayLike) -> Floats:
    """[[first, second], [third, fourth]] over arrays that broadcast: (..., 2, 2)."""
    parts = np.broadcast_arrays(*(np.asarray(p, dtype=np.float64) for p in (first, second, third, fourth)))
    return np.stack(parts, -1).reshape(*parts[0].shape, 2, 2)


def trace(matrix: Floats) -> Floats:
    """(..., 2, 2) to (...)."""
    return matrix[..., 0, 0] + matrix[..., 1, 1]


def determinant(matrix: Floats) -> Floats:
    """(..., 2, 2) to (...)."""
    return matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]


def eigenvalues(matrix: Floats) -> NDArray[np.complex128]:
    """(..., 2, 2) to (..., 2), the one of greater real part first; NaN stays NaN."""
    half = trace(matrix) / 2
    apart = half**2 - determinant(matrix)
    root = np.sqrt(np.abs(apart))
    real, turn = np.where(apart > 0, root, 0.0), np.where(apart > 0, 0.0, root)
    out = np.stack((half + real + 1j * turn, half - real - 1j * turn), -1)
    return np.where(np.isnan(half)[..., None], np.nan + 0j, out)


def radius(matrix: Floats) -> Floats:
    """The greatest absolute value of the eigenvalues: (..., 2, 2) to (...)."""
    return radius_of(trace(matrix), determinant(matrix))


def radius_of(trace: Floats, determinant: Floats) -> Floats:
    """The same from trace and determinant, for where no matrix is at hand."""
    apart = trace**2 / 4 - determinant
    real = np.abs(trace) / 2 + np.sqrt(np.maximum(apart, 0))
    return np.where(apart >= 0, real, np.sqrt(np.maximum(determinant, 0)))
