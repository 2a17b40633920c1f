"""A tiny cache with a signal to learn: the word of a query names the channel that is high inside its window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rdmf.store import Provenance, QueryRecord, TextRecord, VideoRecord, write_cache

torch.set_num_threads(1)  # small tensors: a second thread costs more than it brings

WORDS = ("alpha", "beta")
STRIDE = 2.0  # seconds per feature row
D_VIDEO, D_TEXT = 6, 5

#: Settings under which a model is as small as it can be and training takes seconds.
TINY: dict[str, Any] = {
    "hidden": 16,
    "dropout": 0.0,
    "input_dropout": 0.0,
    "fusion.blocks": 1,
    "fusion.scales": 2,
    "fusion.heads": 2,
    "fusion.steps": 2,
    "diffusion.steps": 2,
    "decoder.queries": 8,
    "decoder.segments": 2,
    "decoder.layers": 1,
    "decoder.heads": 2,
    "decoder.runs": 2,
    "decoder.levels": [0.0, -1.0],
    "epochs": 2,
    "batch": 8,
    "lr": 3e-3,
    "patience": 0,
    "train.device": "cpu",
}

PROVENANCE = Provenance(
    video={"encoder": "made-up", "fps": 0.5, "dim": D_VIDEO}, text={"encoder": "words", "dim": D_TEXT}
)


def token_features(word: str) -> np.ndarray[Any, Any]:
    """(3, D_TEXT): a start and an end token around the word's own."""
    out = np.zeros((3, D_TEXT), np.float32)
    out[0, 0], out[2, 1] = 1.0, 1.0
    out[1, 2 + WORDS.index(word)] = 3.0
    return out


def make_video(name: str, rng: np.random.Generator, length: int) -> tuple[VideoRecord, dict[str, tuple[float, float]]]:
    """A video in which each word happens once, and when."""
    features = 0.2 * rng.standard_normal((length, D_VIDEO)).astype(np.float32)
    windows = {}
    for channel, word in enumerate(WORDS):
        size = int(rng.integers(3, max(4, length // 3)))
        start = int(rng.integers(0, length - size + 1))
        features[start : start + size, channel] += 3.0
        windows[word] = (start * STRIDE, (start + size) * STRIDE)
    starts = np.arange(length) * STRIDE
    times = np.stack((starts, starts + STRIDE), 1)
    return VideoRecord(name, features, times, duration=length * STRIDE), windows


def make_cache(
    path: Path,
    *,
    train: int = 24,
    test: int = 10,
    seed: int = 0,
    windows: bool = True,
    annotators: int = 0,
    missing: int = 0,
    bare: tuple[str, ...] = (),
    spoil: Callable[[list[VideoRecord]], None] | None = None,
    provenance: Provenance = PROVENANCE,
) -> Path:
    """Write a cache of `train` and `test` videos with one query a word.

    Args:
        windows: with moment annotation. annotators: columns of saliency scores (0: none).
        missing: training queries about videos that have no features. bare: splits without annotation.
        spoil: called on the videos before writing.
    """
    rng = np.random.default_rng(seed)
    videos, queries = [], []
    for split, count in (("train", train), ("test", test)):
        for v in range(count):
            video, found = make_video(f"{split}-{v}", rng, int(rng.integers(12, 25)))
            videos.append(video)
            for word, (start, end) in found.items():
                clips = tuple(range(len(video.features))) if annotators and split not in bare else ()
                inside = [start <= (c + 0.5) * STRIDE < end for c in clips]
                queries.append(
                    QueryRecord(
                        qid=len(queries),
                        vid=video.vid,
                        text=word,
                        split=split,
                        windows=((start, end),) if windows and split not in bare else (),
                        saliency_clips=clips,
                        saliency_scores=tuple((4.0 if hit else 0.0,) * annotators for hit in inside),
                        duration=video.duration,
                    )
                )
    for m in range(missing):
        queries.append(QueryRecord(f"gone-{m}", f"gone-{m}", WORDS[0], "train", windows=((0.0, 2.0),)))
    if spoil is not None:
        spoil(videos)
    texts = [TextRecord(word, token_features(word)) for word in WORDS]
    return write_cache(path, provenance, videos, texts, queries, feature_dtype="float32")


@pytest.fixture(scope="module", autouse=True)
def _undrawn(undrawn_curves: None) -> None:
    """In all of these tests."""


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """Overrides for `rdmf.train.train`."""
    return dict(TINY)


@pytest.fixture(scope="session")
def build_cache() -> Callable[..., Path]:
    """`make_cache`."""
    return make_cache


@pytest.fixture(scope="session")
def cache_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ordinary tiny cache; not to be changed."""
    return make_cache(tmp_path_factory.mktemp("cache") / "tiny.h5")
