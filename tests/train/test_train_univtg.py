"""UniVTG in the trainer: two epochs, and the same again after a stop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from rdmf.predict import predict_split
from rdmf.run import load_run
from rdmf.store import open_cache
from rdmf.train import train

OWN: dict[str, Any] = {
    "model.name": "univtg",
    "univtg.encoder_layers": 1,
    "univtg.heads": 2,
    "univtg.feedforward": 32,
    "train.decay": "all",
}


def test_two_epochs(build_cache: Callable[..., Path], tiny: dict[str, Any], tmp_path: Path) -> None:
    features = build_cache(tmp_path / "tiny.h5", annotators=2, train=16, test=4)
    run = train(features, tmp_path / "run", overrides={**tiny, **OWN}, quiet=True)
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(history) == 2
    assert history[1]["loss"] < history[0]["loss"]
    assert set(history[0]["losses"]) == {"boundary", "giou", "foreground", "within", "across"}
    with open_cache(features) as cache:
        answers = predict_split(load_run(run), cache, "test", device="cpu")
    for answer in answers:
        scores = [score for _, _, score in answer["pred_relevant_windows"]]
        assert scores
        assert scores == sorted(scores, reverse=True)


def test_resumed_training_draws_the_same_clips(cache_path: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    overrides = {**tiny, **OWN}
    whole = train(cache_path, tmp_path / "whole", overrides=overrides, quiet=True)
    train(cache_path, tmp_path / "parts", overrides=overrides, quiet=True, stop_after=1)
    parts = train(cache_path, tmp_path / "parts", overrides=overrides, quiet=True, resume=True)
    first, second = load_file(whole / "last.safetensors"), load_file(parts / "last.safetensors")
    assert first.keys() == second.keys()
    assert all(first[name].equal(second[name]) for name in first)
