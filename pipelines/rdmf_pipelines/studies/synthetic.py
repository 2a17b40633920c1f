"""A feature cache out of nothing: short made-up videos in which the word of a query names what happens when.

For the short version of a plan, and for tests: no video, no encoder, and every model learns something from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rdmf.store import Provenance, QueryRecord, TextRecord, VideoRecord, write_cache

#: {word: query type}; word i is high in channel i inside its window.
WORDS = {"alpha": "action", "beta": "object"}
STRIDE_SECONDS = 2.0
D_VIDEO, D_TEXT = 6, 5
#: Settings under which any of the models trains in about a second a pass over such a cache.
SMALL: dict[str, Any] = {
    "model.hidden": 16,
    "data.holdout": 0.0,
    "data.pool": 1,
    "decoder.queries": 40,
    "decoder.layers": 1,
    "fusion.scales": 2,
    "train.epochs": 1,
    "train.batch": 8,
    "train.device": "cpu",
}


def write_synthetic_cache(path: Path, *, train: int = 16, test: int = 6, seed: int = 0, typed: bool = True) -> Path:
    """Write a cache of `train` and `test` videos of 12 to 24 clips, with one query a word about each.

    The splits are "train" and "test"; caches of other seeds have other videos and other query ids, like folds.
    """
    rng = np.random.default_rng(seed)
    videos: list[VideoRecord] = []
    queries: list[QueryRecord] = []
    for split, count in (("train", train), ("test", test)):
        for number in range(count):
            length = int(rng.integers(12, 25))
            features = 0.2 * rng.standard_normal((length, D_VIDEO)).astype(np.float32)
            starts = np.arange(length) * STRIDE_SECONDS
            vid = f"{split}-{seed}-{number}"
            for channel, (word, kind) in enumerate(WORDS.items()):
                size = int(rng.integers(3, max(4, length // 3)))
                first = int(rng.integers(0, length - size + 1))
                features[first : first + size, channel] += 3.0
                window = (first * STRIDE_SECONDS, (first + size) * STRIDE_SECONDS)
                qid = f"{seed}-{len(queries)}"
                queries.append(QueryRecord(qid, vid, word, split, windows=(window,), kind=kind if typed else ""))
            times = np.stack((starts, starts + STRIDE_SECONDS), 1)
            videos.append(VideoRecord(vid, features, times, length * STRIDE_SECONDS))
    texts = []
    for number, word in enumerate(WORDS):
        tokens = np.zeros((3, D_TEXT), np.float32)  # a start and an end token around the word's own
        tokens[0, 0], tokens[2, 1], tokens[1, 2 + number] = 1, 1, 3
        texts.append(TextRecord(word, tokens))
    provenance = Provenance(
        video={"encoder": "made up", "dim": D_VIDEO}, text={"encoder": "one number a word", "dim": D_TEXT}
    )
    return write_cache(path, provenance, videos, texts, queries, feature_dtype="float32")
