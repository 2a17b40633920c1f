"""Linear stability of the system in continuous time: Jacobian, dispersion relation, Turing's condition.

At a state that rests the Jacobian of the reaction in (a, s) is [[c, a^2], [-2 c, -(a^2 + F)]] with c = F + k: trace
k - a^2, determinant c (a^2 - F). The upper state has a^2 > F, the lower a^2 < F (a saddle), so the upper one attracts
iff a^2 > k.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rdmf.analysis.matrices import eigenvalues, stack

Floats = NDArray[np.float64]


def jacobian(a: ArrayLike, s: ArrayLike, feed: ArrayLike, kill: ArrayLike) -> Floats:
    """d(a', s') / d(a, s) of the reaction at any (a, s), (..., 2, 2)."""
    x, y, f, k = (np.asarray(v, dtype=np.float64) for v in (a, s, feed, kill))
    return stack(2 * x * y - f - k, x**2, -2 * x * y, -(x**2) - f)


def with_diffusion(matrix: Floats, activator: ArrayLike, substrate: ArrayLike, mu: ArrayLike) -> Floats:
    """The Jacobian that mode mu sees: J - mu diag(D_a, D_s), D per unit of time."""
    alpha, sigma = np.asarray(mu) * np.asarray(activator), np.asarray(mu) * np.asarray(substrate)
    return matrix - stack(alpha, np.zeros_like(alpha), np.zeros_like(sigma), sigma)


def growth(matrix: Floats, activator: ArrayLike, substrate: ArrayLike, mu: ArrayLike) -> Floats:
    """The dispersion relation: growth rate of mode mu per unit of time, the greatest real part of its eigenvalues."""
    return np.asarray(eigenvalues(with_diffusion(matrix, activator, substrate, mu))[..., 0].real)


def critical_ratio(a: ArrayLike, feed: ArrayLike, kill: ArrayLike) -> Floats:
    """The D_s / D_a above which Turing's condition holds at a stable state a: (sqrt(a^2 - F) + sqrt(2) a)^2 / (F + k).

    From D_s J11 + D_a J22 = 2 sqrt(D_a D_s det J) with J22 J11 = det J - 2 c a^2. Above 1 always: the substrate, which
    inhibits, must diffuse faster. On a chain of clips a wave of the growing band must also exist (`growing_band`).
    """
    x, f = np.asarray(a, dtype=np.float64), np.asarray(feed, dtype=np.float64)
    return (np.sqrt(np.maximum(x**2 - f, 0)) + np.sqrt(2) * x) ** 2 / (f + np.asarray(kill))


def growing_band(
    a: ArrayLike, feed: ArrayLike, kill: ArrayLike, activator: ArrayLike, substrate: ArrayLike
) -> tuple[Floats, Floats]:
    """The open interval of mu in which a stable state a lets waves grow; NaN where there is none.

    The roots of D_a D_s mu^2 - (D_s c - D_a (a^2 + F)) mu + c (a^2 - F).
    """
    x, f, k, d_a, d_s = (np.asarray(v, dtype=np.float64) for v in (a, feed, kill, activator, substrate))
    c = f + k
    half = (d_s * c - d_a * (x**2 + f)) / 2
    apart = half**2 - d_a * d_s * c * (x**2 - f)
    root = np.sqrt(np.where((apart > 0) & (half > 0), apart, np.nan))
    return (half - root) / (d_a * d_s), (half + root) / (d_a * d_s)
