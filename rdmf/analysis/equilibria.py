"""Where the reaction rests: homogeneous states of Gray-Scott, when they exist, and the curves that they lie on.

    a' = a a s - (F + k) a,   s' = F (1 - s) - a a s

The trivial state (a, s) = (0, 1) always rests. With c = F + k, any other satisfies a s = c and F (1 - s) = c a, hence
s (1 - s) = c^2 / F: two states where F > 4 c^2, one where F = 4 c^2 (the fold), none beyond. The product of the two
concentrations of the activator is F.

The `split` step takes the consumption of the substrate implicitly, and rests where a s = c (1 + eta a^2) instead;
that is the same equation with F / (1 + eta F) in place of F, so its fold lies a little inside the system's. Every
function takes `implicit`: 0 for the system and for Euler, which rest at the same states, and eta for the split step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

#: |1 - 4 c^2 / F| below this counts as on the fold: coefficients kept in single precision are no nearer to it.
FOLD_TOLERANCE = 1e-5


@dataclass(frozen=True)
class States:
    """The non-trivial states, NaN where there is none; the trivial one is (0, 1).

    Attributes:
        upper_a, upper_s: the state of more activator. lower_a, lower_s: the other, always a saddle.
    """

    upper_a: Floats
    upper_s: Floats
    lower_a: Floats
    lower_s: Floats


def effective_feed(feed: ArrayLike, implicit: float = 0.0) -> Floats:
    """F / (1 + implicit F), which plays the part of F in the equation of the states."""
    f = np.asarray(feed, dtype=np.float64)
    return f / (1 + implicit * f)


def fold_margin(feed: ArrayLike, kill: ArrayLike, implicit: float = 0.0) -> Floats:
    """1 - 4 (F + k)^2 / F: positive where non-trivial states exist, 0 on the fold, negative beyond it."""
    effective = effective_feed(feed, implicit)
    return 1 - 4 * (np.asarray(feed) + np.asarray(kill)) ** 2 / effective


def fold(feed: ArrayLike, implicit: float = 0.0) -> Floats:
    """The k on the fold for each F, `sqrt(F) / 2 - F`; negative where no k > 0 leaves a non-trivial state."""
    return np.sqrt(effective_feed(feed, implicit)) / 2 - np.asarray(feed, dtype=np.float64)


def hopf(a: ArrayLike) -> tuple[Floats, Floats]:
    """(F, k) where the upper state loses its stability to an oscillation, by its activator a in (0, 1/4].

    The trace k - a^2 is 0: k = a^2 and F = a ((1 - sqrt(1 - 4 a)) / 2)^2. The line ends at F = k = 1/16 on the fold.
    """
    up = np.asarray(a, dtype=np.float64)
    return up * ((1 - np.sqrt(np.maximum(1 - 4 * up, 0))) / 2) ** 2, up**2


def states(feed: ArrayLike, kill: ArrayLike, implicit: float = 0.0) -> States:
    """The two non-trivial states; on the fold (within FOLD_TOLERANCE) they are one."""
    effective = effective_feed(feed, implicit)
    c = np.asarray(feed, dtype=np.float64) + np.asarray(kill, dtype=np.float64)
    margin = fold_margin(feed, kill, implicit)
    apart = np.sqrt(np.where(np.abs(margin) <= FOLD_TOLERANCE, 0.0, np.where(margin < 0, np.nan, margin)))
    upper, lower = (effective * (1 + sign * apart) / (2 * c) for sign in (1, -1))
    return States(upper, c * (1 + implicit * upper**2) / upper, lower, c * (1 + implicit * lower**2) / lower)


def activator_nullcline(a: ArrayLike, feed: ArrayLike, kill: ArrayLike, implicit: float = 0.0) -> Floats:
    """The s at which a does not change, `(F + k) / a`; beside it lies the line a = 0."""
    x = np.asarray(a, dtype=np.float64)
    return (np.asarray(feed) + np.asarray(kill)) * (1 + implicit * x**2) / x


def substrate_nullcline(a: ArrayLike, feed: ArrayLike, implicit: float = 0.0) -> Floats:
    """The s at which s does not change, `F / (F + a^2)`."""
    x, f = np.asarray(a, dtype=np.float64), np.asarray(feed, dtype=np.float64)
    return f / (f + x**2 / (1 + implicit * x**2))
