"""bfloat16 in training: when it is used, and that it learns what float32 learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rdmf.train import train
from rdmf.train.precision import precision


@pytest.mark.parametrize(
    ("word", "device", "has", "expected"),
    [
        ("auto", "cpu", False, None),
        ("on", "cpu", False, torch.bfloat16),
        ("off", "cpu", False, None),
        ("auto", "cuda", True, torch.bfloat16),
        ("auto", "cuda", False, None),
        ("on", "cuda", False, None),
        ("off", "cuda", True, None),
    ],
)
def test_where_it_is_used(
    word: str, device: str, has: bool, expected: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has)
    assert precision(word, torch.device(device)) is expected


@pytest.mark.long
def test_on_the_cpu_it_learns_and_differs_in_rounding_only(
    cache_path: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    told = {}
    for word in ("off", "on"):
        overrides = {**tiny, "epochs": 3, "train.amp": word}
        run = train(cache_path, tmp_path / word, overrides=overrides, quiet=True)
        told[word] = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert told["on"] != told["off"]
    assert told["on"] == pytest.approx(told["off"], rel=0.05)
    assert told["on"][-1] < told["on"][0]
