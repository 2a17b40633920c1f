"""Small caches for the store's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rdmf.store import Failure, Provenance, QueryRecord, TextRecord, VideoRecord, write_cache

PROVENANCE = Provenance(
    video={"encoder": "test", "fps": 2.0, "mean": [0.5, 0.5, 0.5], "dim": 8},
    text={"encoder": "words", "max_tokens": 32},
    notes={"licence": "CC BY 4.0"},
)


def video(vid: str, rows: int, seed: int = 0, width: int = 8) -> VideoRecord:
    """A video of `rows` rows of 2 s."""
    starts = 2.0 * np.arange(rows)
    features = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return VideoRecord(vid, features, np.stack([starts, starts + 2], axis=1), 2.0 * rows, decoder="pyav 1")


def text(words: str, tokens: int = 4, width: int = 5) -> TextRecord:
    """A sentence whose token features depend on its words only."""
    generator = np.random.default_rng(list(words.encode()))
    return TextRecord(words, generator.normal(size=(tokens, width)).astype(np.float32))


def videos(count: int = 6, prefix: str = "video") -> list[VideoRecord]:
    """Videos of 1, 2, 3, ... rows."""
    return [video(f"{prefix}-{i:02d}", i + 1, seed=i) for i in range(count)]


def texts() -> list[TextRecord]:
    """Three sentences of different lengths."""
    return [text(f"someone opens the {thing}", 3 + i) for i, thing in enumerate(("door", "fridge", "fenêtre"))]


def queries(vids: list[str]) -> list[QueryRecord]:
    """A query a video, every annotation the records know of appearing somewhere; ids are int and str by turns."""
    sentences = [record.text for record in texts()]
    return [
        QueryRecord(
            qid=i if i % 2 else f"q{i}",
            vid=vid,
            text=sentences[i % len(sentences)],
            split=("train", "val")[i % 3 == 2],
            windows=((0.0, 1.5), (2.0, 4.25))[: i % 3],
            saliency_clips=(0, 2)[: 2 * (i % 2)],
            saliency_scores=((1.0, 2.0, 4.0), (0.0, 1.0, 3.0))[: 2 * (i % 2)],
            kind=("action", "")[i % 2],
            duration=30.0 if i % 2 else float("nan"),
        )
        for i, vid in enumerate(vids)
    ]


def sample_cache(path: Path, *, count: int = 6, prefix: str = "video") -> Path:
    """A cache with everything in it, one video asked about but missing among it."""
    records = videos(count, prefix)
    asked = [*(record.vid for record in records), f"{prefix}-missing"]
    failures = [Failure(f"{prefix}-missing", "moov atom not found")]
    return write_cache(path, PROVENANCE, records, texts(), queries(asked), failures)
