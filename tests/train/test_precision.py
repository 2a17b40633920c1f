"""bfloat16 in training: when it is used, and that it learns what float32 learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rdmf.train import loop, train
from rdmf.train.precision import multiplies_bfloat16, precision


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


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "avx512_f": True}, False),
        ({"architecture": "aarch64", "arm_bf16": True}, None),
        (None, None),
    ],
)
def test_whether_the_processor_multiplies_it(
    told: dict[str, Any] | None, expected: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if told is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert multiplies_bfloat16() is expected


@pytest.mark.parametrize(("word", "multiplies", "warned"), [("on", False, 1), ("on", True, 0), ("auto", False, 0)])
def test_who_asks_for_it_where_it_is_slow_is_told(
    word: str,
    multiplies: bool,
    warned: int,
    cache_path: Path,
    tiny: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(loop, "multiplies_bfloat16", lambda: multiplies)
    train(cache_path, tmp_path / "run", overrides={**tiny, "epochs": 1, "train.amp": word})
    assert capsys.readouterr().err.count("does not multiply bfloat16") == warned


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
