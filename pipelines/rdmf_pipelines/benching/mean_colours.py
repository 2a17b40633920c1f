"""An encoder that costs next to nothing, so that decoding is what an extraction waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rdmf_extract.encoders.base import Features, Frames
from rdmf_extract.sampling import Sampling

GRID = 7


class MeanColours:
    """Red, green and blue in `GRID` x `GRID` places, mean over a window's frames; see `VideoEncoder`."""

    name, source, device = "mean colours", "here", "cpu"
    dim = GRID * GRID * 3

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self.provenance: dict[str, Any] = {"encoder": self.name}

    def encode(self, frames: Frames) -> Features:
        """(B, T, H, W, 3) uint8 to (B, dim) float32."""
        step = max(1, frames.shape[2] // GRID)
        seen = frames[:, :, step // 2 :: step, step // 2 :: step][:, :, :GRID, :GRID]  # (B, T, GRID, GRID, 3)
        return (seen.mean(axis=1, dtype=np.float32) / 255).reshape(len(frames), -1)


class OneToken:
    """A text encoder that costs nothing; see `TextEncoder`."""

    name, dim, max_tokens, source = "one token", 1, 1000, "here"

    def __init__(self) -> None:
        self.provenance: dict[str, Any] = {"encoder": self.name}

    def encode(self, texts: Sequence[str]) -> list[Features]:
        """One token a sentence, its length."""
        return [np.array([[len(text)]], np.float32) for text in texts]
