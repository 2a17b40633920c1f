"""Saliency in [0, 1] from a model's scores, and the scores back out of it.

A score that a loss makes the logit of a probability is shown by the sigmoid. One that only margins and ranks have
formed has no zero: QD-DETR and CG-DETR push what a sentence does not describe down without end, to -40 and below, where
a sigmoid leaves numbers of 1e-19 that any rounding makes one. Such scores are shown by x / (1 + |x|) instead, which
keeps them apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

_SATURATED = 1e-6


def logit(saliency: NDArray[Any]) -> Floats:
    """The score before the sigmoid, of saliency in [0, 1]; what single precision saturated ends at about +-14."""
    share = np.clip(np.asarray(saliency, dtype=np.float64), _SATURATED, 1 - _SATURATED)
    return np.asarray(np.log(share) - np.log1p(-share))


def squashed(score: Tensor) -> Tensor:
    """(1 + x / (1 + |x|)) / 2 in [0, 1], written so that low scores lose no digits by being taken from one half."""
    tail = 0.5 / (1 + score.abs())
    return torch.where(score < 0, tail, 1 - tail)


def unsquashed(saliency: NDArray[Any]) -> Floats:
    """The score that `squashed` was given; the ends 0 and 1, which no score of less than a million reaches, as such."""
    share = np.clip(np.asarray(saliency, dtype=np.float64), _SATURATED / 2, 1 - _SATURATED / 2)
    return np.where(share < 0.5, 1 - 0.5 / share, 0.5 / (1 - share) - 1)
