"""Encoders without weights, found by name in any process, as slow as a test wants them to be."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from rdmf_extract.sampling import Sampling

# Dense enough that "auto" means Decord first, whose troubles are injected too.
SAMPLING = Sampling(fps=12.0, window_seconds=0.5, stride_seconds=0.5, frames_per_window=6, resize=64, crop=48)
SECONDS_A_BATCH = float(os.environ.get("RDMF_TEST_ENCODE_SECONDS", "0"))


class Stripes:
    """Mean brightness of eight stripes of a row's frames: a row looks like no other row of the test's videos."""

    name, dim, source = "stripes", 8, "the tests"

    def __init__(self, device: str) -> None:
        self.device, self.sampling = device, SAMPLING
        self.provenance: dict[str, Any] = {"encoder": self.name, "random_weights": False, **SAMPLING.as_dict()}

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """(B, T, H, W, 3) uint8 to (B, 8) float32."""
        time.sleep(SECONDS_A_BATCH)
        stripes = frames.reshape(len(frames), -1, 8, frames.shape[3] // 8, 3)
        return stripes.mean(axis=(1, 3, 4), dtype=np.float64).astype(np.float32)


class Letters:
    """One vector a word, from its letters."""

    name, dim, max_tokens, source = "letters", 3, 32, "the tests"

    def __init__(self) -> None:
        self.provenance: dict[str, Any] = {"encoder": self.name}

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array([[len(w), ord(w[0]), ord(w[-1])] for w in text.split()], np.float32) for text in texts]


def build_video_encoder(name: str, *, device: str, **_: Any) -> Stripes:
    """In place of `rdmf_extract.encoders.registry.build_video_encoder`."""
    return Stripes(device)


def build_text_encoder(name: str, *, device: str, **_: Any) -> Letters:
    """In place of `rdmf_extract.encoders.registry.build_text_encoder`."""
    return Letters()
