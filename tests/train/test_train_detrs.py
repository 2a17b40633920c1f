"""The DETR-like models through the trainer, and back from disk: each kind of annotation, each way of going on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rdmf.evaluation.records import annotations_from_cache
from rdmf.evaluation.summary import per_query
from rdmf.predict import predict_split
from rdmf.reading import predict_split_by_reading
from rdmf.run import load_run
from rdmf.store import InputError, open_cache
from rdmf.train import train

MODELS = ("moment-detr", "qd-detr", "cg-detr")
#: One of the kind is quick enough for every run of the tests.
QUICK = [name if name == "qd-detr" else pytest.param(name, marks=pytest.mark.long) for name in MODELS]
#: Losses that a model has beyond saliency and moments.
MORE = {"cg-detr": {"alignment", "distillation", "apartness"}}
TINY: dict[str, Any] = {
    "hidden": 16,
    "dropout": 0.1,
    "input_dropout": 0.0,
    "epochs": 2,
    "batch": 8,
    "lr": 1e-3,
    "patience": 0,
    "train.decay": "all",
    "train.device": "cpu",
}


def overrides(name: str, **more: Any) -> dict[str, Any]:
    section = name.replace("-", "_")
    own = {f"{section}.{k}": v for k, v in {"heads": 2, "feedforward": 32, "queries": 6}.items()}
    return {**TINY, "model.name": name, **own, **more}


def history(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", MODELS)
def test_it_trains_and_predicts(name: str, cache_path: Path, tmp_path: Path) -> None:
    out = train(cache_path, tmp_path / "run", overrides=overrides(name), quiet=True)
    told = history(out)
    assert len(told) == 2
    assert set(told[-1]["losses"]) == {"saliency", "span", "giou", "label"} | MORE.get(name, set())
    assert told[-1]["loss"] < told[0]["loss"]
    run = load_run(out)
    assert run.config.model.name == name
    with open_cache(cache_path) as cache:
        records = predict_split(run, cache, "test", device="cpu")
        video, times = cache.video(records[0]["vid"])
        tokens = cache.text_rows()[: cache.token_offsets[1]]
    assert len(records) == 20
    for record in records:
        windows = record["pred_relevant_windows"]
        assert 1 <= len(windows) <= 6
        assert [w[2] for w in windows] == sorted((w[2] for w in windows), reverse=True)
        assert all(0 <= start <= end for start, end, _ in windows)
        assert all(0 <= value <= 1 for value in record["pred_saliency_scores"])
    answer = run.predict_features(video, times, float(times[-1, 1]), tokens, device="cpu")
    assert len(answer["saliency"]) == len(video)
    assert answer["pred_relevant_windows"]


@pytest.mark.parametrize(
    ("name", "shift"), [("qd-detr", -60.0), ("moment-detr", 30.0), ("univtg", 0.0), ("rdmf", -25.0)]
)
def test_however_low_saliency_lies_its_order_is_what_is_scored(
    name: str, shift: float, cache_path: Path, tmp_path: Path
) -> None:
    """QD-DETR and CG-DETR push it down without end: to numbers that a sigmoid and eight decimals made all the same."""
    given = overrides(name) if name in MODELS else {**TINY, "model.name": name}
    run = load_run(train(cache_path, tmp_path / "run", overrides={**given, "epochs": 1}, quiet=True))
    before, found = run.model.forward, []
    with open_cache(cache_path) as cache:
        truth = annotations_from_cache(cache, "test")
        for moved in (0.0, shift):

            def forward(batch: Any, by: float = moved) -> Any:
                output = before(batch)
                output.saliency.add_(by)
                return output

            run.model.forward = forward  # type: ignore[method-assign]
            answers, reading = predict_split_by_reading(run, cache, "test", device="cpu")
            found.append((per_query(answers, truth), reading.level))
    (usual, level), (low, low_level) = found
    assert low["saliency mAP"] == pytest.approx(usual["saliency mAP"])
    assert np.nanstd(usual["saliency mAP"]) > 0
    if name in MODELS:  # their scores are read as they are; a logit ends at -14
        assert low_level == pytest.approx(level + shift, abs=1e-3)
        assert low["mIoU"] == pytest.approx(usual["mIoU"], abs=1e-3)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.long
def test_a_stopped_run_goes_on_to_the_same_weights(name: str, cache_path: Path, tmp_path: Path) -> None:
    """Drawn pairs and dropout depend on (seed, epoch) alone."""
    options = overrides(name)
    whole = train(cache_path, tmp_path / "whole", overrides=options, quiet=True)
    part = train(cache_path, tmp_path / "part", overrides=options, quiet=True, stop_after=1)
    train(cache_path, part, overrides=options, quiet=True, resume=True)
    assert (whole / "last.safetensors").read_bytes() == (part / "last.safetensors").read_bytes()
    other = train(cache_path, tmp_path / "other", overrides=options, quiet=True, seed=1)
    assert (whole / "last.safetensors").read_bytes() != (other / "last.safetensors").read_bytes()


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize(
    "kind", [{"annotators": 3}, {"windows": False, "annotators": 2}], ids=["rated", "saliency only"]
)
def test_every_kind_of_annotation_trains(
    name: str, kind: dict[str, Any], build_cache: Callable[..., Path], tmp_path: Path
) -> None:
    cache = build_cache(tmp_path / "cache.h5", train=12, test=0, **kind)
    # Enough epochs that the fall is no matter of which pairs and which dropout were drawn.
    told = history(train(cache, tmp_path / "run", overrides=overrides(name, epochs=8), quiet=True))
    expected = {"saliency"} if "windows" in kind else {"saliency", "span", "giou", "label"}
    assert set(told[-1]["losses"]) == expected | MORE.get(name, set())
    assert told[-1]["losses"]["saliency"] < told[0]["losses"]["saliency"]


@pytest.mark.parametrize("name", MODELS)
def test_one_video_with_one_query(name: str, build_cache: Callable[..., Path], tmp_path: Path) -> None:
    cache = build_cache(tmp_path / "one.h5", train=1, test=0)
    assert (train(cache, tmp_path / "run", overrides=overrides(name), quiet=True) / "best.safetensors").is_file()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.long
def test_it_learns_what_there_is_to_learn(name: str, cache_path: Path, tmp_path: Path) -> None:
    more = {"hidden": 32, "dropout": 0.0, "epochs": 60, "lr": 2e-3, "train.ema": 0.0, "train.schedule": "cosine"}
    out = train(cache_path, tmp_path / "run", overrides=overrides(name, **more), quiet=True)
    scores = json.loads((out / "summary.json").read_text())["holdout"]
    assert scores["saliency mAP"] > 85
    assert scores["R1@0.5"] > 40


def test_another_models_run_is_not_resumed(cache_path: Path, tmp_path: Path) -> None:
    out = train(cache_path, tmp_path / "run", overrides=overrides("moment-detr"), quiet=True, stop_after=1)
    with pytest.raises(InputError, match=r"config\.model\.name was 'moment-detr', now 'qd-detr'|config\.\w+\.\w+ was"):
        train(cache_path, out, overrides=overrides("qd-detr"), quiet=True, resume=True)


def test_a_diverging_training_names_no_setting_of_another_model(cache_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.lr") as caught:
        train(cache_path, tmp_path / "run", overrides=overrides("moment-detr", lr=1e9, clip_norm=0.0), quiet=True)
    assert "fusion" not in str(caught.value)
