"""The waves that a video of L clips can carry, and how fast diffusion acts on each.

Between no-flux ends the Laplacian of L clips has the cosines cos(pi m (i + 1/2) / L), m = 0 ... L - 1, and
lap v = -mu v with mu = 4 sin^2(pi m / 2L). Mode m has the wavelength 2L / m clips.

Channel group g of a fusion with several time scales reaches 2^g clips to each side. Far from the ends a wave of
length w has mu = 4 sin^2(pi 2^g / w), as if w were 2^g times shorter. Exactly, ends included: clips 2^g apart form a
*comb*, no flux passes from one comb to another, and each comb is a chain of its own with no-flux ends. So the
spectrum is that of 2^g shorter chains, of ceil((L - j) / 2^g) clips for j = 0 ... 2^g - 1; a pattern that is constant
on each comb but differs between combs is not smoothed at all, and a comb of one clip does not diffuse.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def modes(clips: int) -> Floats:
    """mu of the modes of a chain, (L,), rising from 0 to below 4."""
    return 4 * np.sin(np.pi * np.arange(clips) / (2 * clips)) ** 2


def cosine(clips: int, mode: int) -> Floats:
    """Mode m of a chain, (L,): cos(pi m (i + 1/2) / L)."""
    return np.cos(np.pi * mode * (np.arange(clips) + 0.5) / clips)


def combs(clips: int, scale: int = 0) -> list[int]:
    """Lengths of the chains that a reach of 2^scale clips makes of L clips; they sum to L."""
    reach = 2**scale
    return [-(-(clips - first) // reach) for first in range(min(reach, clips))]


def scale_modes(clips: int, scale: int = 0) -> Floats:
    """The distinct mu of a channel group, rising: those of all its combs."""
    every = np.concatenate([modes(length) for length in set(combs(clips, scale))])
    return np.asarray(every[np.unique(every.round(14), return_index=True)[1]])


def wavelength(mu: ArrayLike, scale: int = 0) -> Floats:
    """Clips from crest to crest of the wave with this mu in (0, 4] in channel group `scale`; infinite for mu = 0."""
    with np.errstate(divide="ignore"):
        return 2**scale * np.pi / np.arcsin(np.sqrt(np.asarray(mu, dtype=np.float64)) / 2)


def wavenumber(clips_per_wave: ArrayLike, scale: int = 0) -> Floats:
    """mu of a wave of this length (at least 2^(scale + 1) clips) far from the ends: 4 sin^2(pi 2^scale / w)."""
    return 4 * np.sin(np.pi * 2**scale / np.asarray(clips_per_wave, dtype=np.float64)) ** 2
