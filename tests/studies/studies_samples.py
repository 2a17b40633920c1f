"""Tiny caches with a signal to learn, and settings under which a model learns it in a second or two."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdmf.store import Provenance, QueryRecord, TextRecord, VideoRecord, write_cache

torch.set_num_threads(1)  # small tensors: a second thread costs more than it brings

WORDS = {"alpha": "action", "beta": "object"}
STRIDE = 2.0
TINY: dict[str, Any] = {
    "model.hidden": 16,
    "model.dropout": 0.0,
    "model.input_dropout": 0.0,
    "fusion.blocks": 1,
    "fusion.scales": 2,
    "fusion.heads": 2,
    "fusion.steps": 2,
    "diffusion.steps": 2,
    "decoder.queries": 24,
    "decoder.layers": 1,
    "decoder.heads": 2,
    "decoder.runs": 2,
    "decoder.levels": [0.0, -1.0],
    "train.epochs": 1,
    "train.batch": 8,
    "train.lr": 3e-3,
    "data.holdout": 0.0,
    "train.device": "cpu",
}


def make_cache(path: Path, *, train: int = 16, test: int = 6, seed: int = 0, typed: bool = True) -> Path:
    """A cache of short videos with one query a word; the word names the channel that is high inside its window.

    Splits "train" and "test"; the query's type is the word's, or none where `typed` is False.
    """
    rng = np.random.default_rng(seed)
    videos, queries = [], []
    for split, count in (("train", train), ("test", test)):
        for v in range(count):
            length = int(rng.integers(12, 25))
            features = 0.2 * rng.standard_normal((length, 6)).astype(np.float32)
            starts = np.arange(length) * STRIDE
            vid = f"{split}-{seed}-{v}"
            for channel, (word, kind) in enumerate(WORDS.items()):
                size = int(rng.integers(3, max(4, length // 3)))
                first = int(rng.integers(0, length - size + 1))
                features[first : first + size, channel] += 3.0
                window = (first * STRIDE, (first + size) * STRIDE)
                queries.append(
                    QueryRecord(
                        f"{seed}-{len(queries)}", vid, word, split, windows=(window,), kind=kind if typed else ""
                    )
                )
            videos.append(VideoRecord(vid, features, np.stack((starts, starts + STRIDE), 1), length * STRIDE))
    texts = []
    for number, word in enumerate(WORDS):
        tokens = np.zeros((3, 5), np.float32)
        tokens[0, 0], tokens[2, 1], tokens[1, 2 + number] = 1, 1, 3
        texts.append(TextRecord(word, tokens))
    provenance = Provenance(video={"encoder": "made-up", "dim": 6}, text={"encoder": "words", "dim": 5})
    return write_cache(path, provenance, videos, texts, queries, feature_dtype="float32")


def settings() -> list[str]:
    """`TINY` as `--set` arguments."""
    return [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]


def fake_run(
    path: Path,
    cache: Path,
    *,
    seed: int = 0,
    shift: float = 0.0,
    read: bool = True,
    overrides: dict[str, Any] | None = None,
) -> Path:
    """A run directory that was never trained: settings, and scores that are better by `shift` than chance.

    Such a directory is what is left of a run whose weights were deleted to save room.
    """
    from rdmf.config import Config
    from rdmf.store import open_cache
    from rdmf_pipelines.studies.files import write_json
    from rdmf_pipelines.studies.scoring import SCORING, Scores, score_guesses, scores_path

    config = Config().updated({**TINY, **(overrides or {})}).to_dict()
    with open_cache(cache) as opened:
        fingerprint, content = opened.fingerprint, opened.header.sha256[:16] if opened.header else ""
    saved = {"schema": 1, "config": config, "seed": seed, "fingerprint": fingerprint, "features": str(cache)}
    write_json(path / "config.json", {**saved, "video_dim": 6, "text_dim": 5})
    guess = score_guesses(cache, None, None)["query-blind"]
    rng = np.random.default_rng([seed, int(1000 * shift)])
    values = np.round(rng.random(guess.decoder.shape) * 0.5 + shift, 3)
    values[:4] = values[:4] > 0.35
    key = {"scoring": SCORING, "weights": "gone", "config": _digest(config), "cache": content, "split": "test"}
    about = {"key": key, "truth": guess.about["truth"], "reading": {"level": 0.5}, "parameters": 12345}
    facts = {"seed": seed, "epochs": 3, "seconds per epoch": 1.5 + seed}
    scores = Scores({**about, **facts}, guess.qids, guess.types, values, values / 2 if read else None)
    scores.save(scores_path(path, "test"))
    return path


def _digest(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]
