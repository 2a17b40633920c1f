"""Tiny encoders that show what an encoder must have, fast enough for any test of the pipeline."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rdmf.store import InputError
from rdmf_extract.sampling import Sampling

SAMPLING = Sampling(fps=4.0, window_seconds=1.0, stride_seconds=0.5, frames_per_window=4, resize=64, crop=48)
#: So many looks that "auto" means Decord first.
DENSE = Sampling(fps=16.0, window_seconds=1.0, stride_seconds=0.5, frames_per_window=16, resize=64, crop=48)


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


class TroubledVideoEncoder(FakeVideoEncoder):
    """Kills its own process, or raises, on batches that a file in `folder` names; see `build_troubled`."""

    def __init__(self, folder: str, device: str) -> None:
        super().__init__()
        self._folder, self._device = Path(folder), device

    def encode(self, frames: np.ndarray) -> np.ndarray:
        for what in ("kill", "raise", "stop"):
            for mark in sorted(self._folder.glob(f"{self._device}-{what}-*")):
                if not mark.name.endswith("always"):
                    mark.unlink()
                if what == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if what == "stop":
                    time.sleep(3600)
                raise RuntimeError("the device has had enough")
        return super().encode(frames)


def build_fake(name: str, *, device: str) -> FakeVideoEncoder:
    """A builder that other processes find by its name."""
    return FakeVideoEncoder()


def build_troubled(name: str, *, folder: str, device: str) -> TroubledVideoEncoder:
    """DEVICE-kill-1, DEVICE-raise-1, ... in `folder`: what goes wrong on that device, once; DEVICE-kill-always."""
    return TroubledVideoEncoder(folder, device)


def build_refused(name: str, *, device: str) -> FakeVideoEncoder:
    """As an encoder without weights, or a device that is not there."""
    raise InputError(f"no {device} here")


def build_of_its_own(name: str, *, device: str) -> FakeVideoEncoder:
    """Another encoder on every device."""
    return FakeVideoEncoder(device=device)


def build_of_its_precision(name: str, *, device: str) -> FakeVideoEncoder:
    """bfloat16 on GPUs, as "auto" has it, and nothing recorded on a CPU."""
    return FakeVideoEncoder() if device == "cpu" else FakeVideoEncoder(precision="bfloat16")


def build_fake_text(name: str, *, device: str) -> FakeTextEncoder:
    """A builder that other processes find by its name."""
    return FakeTextEncoder()


class SlowVideoEncoder(FakeVideoEncoder):
    """Gives a test time to do something meanwhile."""

    def encode(self, frames: np.ndarray) -> np.ndarray:
        time.sleep(0.3)
        return super().encode(frames)


def build_slow(name: str, *, device: str) -> SlowVideoEncoder:
    """A builder that other processes find by its name."""
    return SlowVideoEncoder()
