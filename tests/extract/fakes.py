"""Tiny encoders that show what an encoder must have, fast enough for any test of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rdmf.store import InputError
from rdmf_extract.sampling import Sampling

SAMPLING = Sampling(fps=4.0, window_seconds=1.0, stride_seconds=0.5, frames_per_window=4, resize=64, crop=48)


class FakeVideoEncoder:
    """Mean red, green and blue of a window's first and last frame, in [0, 1]: features that a test can predict."""

    name, dim, source = "fake", 6, "here"

    def __init__(self, sampling: Sampling = SAMPLING, **settings: Any) -> None:
        self.sampling = sampling
        self.provenance = {"encoder": self.name, "pooling": "mean", **settings}
        self.batches: list[int] = []

    def encode(self, frames: np.ndarray) -> np.ndarray:
        s = self.sampling
        assert frames.dtype == np.uint8
        assert frames.shape[1:] == (s.frames_per_window, s.crop, s.crop, 3)
        self.batches.append(len(frames))
        means = frames.mean(axis=(2, 3), dtype=np.float64) / 255.0  # (B, T, 3)
        return np.concatenate([means[:, 0], means[:, -1]], axis=1).astype(np.float32)


class FakeTextEncoder:
    """One vector per word, from its letters."""

    name, dim, max_tokens, source = "fake-text", 4, 20, "here"

    def __init__(self) -> None:
        self.provenance: dict[str, Any] = {"encoder": self.name, "max_tokens": self.max_tokens}
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        self.seen += texts
        features = []
        for text in texts:
            words = text.split()
            if len(words) > self.max_tokens:
                raise InputError(f"text of {len(words)} words is over the limit of {self.max_tokens}")
            features.append(np.array([[len(w), ord(w[0]), ord(w[-1]), 1.0] for w in words], np.float32))
        return features
