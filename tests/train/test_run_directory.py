"""Finished runs: read back, used, and refused when damaged or of another kind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rdmf.predict import clip_saliency, predict_split
from rdmf.run import latest_run, load_run, refuse_mismatch
from rdmf.store import InputError, Provenance, open_cache
from rdmf.train import train


@pytest.fixture(scope="module")
def finished(cache_path: Path, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(cache_path, tmp_path_factory.mktemp("finished") / "run", overrides=tiny, quiet=True)


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A run to damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load_run(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def test_a_run_reads_back(finished: Path, cache_path: Path) -> None:
    run = load_run(finished)
    assert run.config.model.hidden == 16
    assert not run.model.training
    assert run.features == cache_path
    with open_cache(cache_path) as cache:
        assert run.fingerprint == cache.fingerprint
        assert run.provenance == cache.provenance
    assert run.metrics["epochs"] == 2
    saved = load_file(finished / "best.safetensors")
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, saved[name])


def test_a_checkpoint_file_stands_for_its_run(finished: Path) -> None:
    best, last = (load_run(finished / f"{name}.safetensors") for name in ("best", "last"))
    assert best.path == last.path == finished
    expected = load_file(finished / "last.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in last.model.state_dict().items())


def test_a_run_from_before_the_published_models_loads_and_goes_on(
    cache_path: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    out = train(cache_path, tmp_path / "run", overrides=tiny, quiet=True, stop_after=1)
    saved = json.loads((out / "config.json").read_text())
    for section in ("moment_detr", "qd_detr", "cg_detr", "univtg"):
        del saved["config"][section]
    del saved["config"]["model"]["name"], saved["config"]["train"]["decay"]
    (out / "config.json").write_text(json.dumps(saved))
    assert load_run(out).config.model.name == "rdmf"
    train(cache_path, out, overrides=tiny, quiet=True, resume=True)
    assert load_run(out).metrics["epochs"] == 2


def test_places_that_hold_no_run(finished: Path, tmp_path: Path) -> None:
    assert "no run at" in refusal(tmp_path / "nowhere")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("hello")
    assert "is not a run" in refusal(tmp_path / "foreign")
    assert "no run at" in refusal(finished / "config.json")
    assert "first.safetensors" in refusal(finished, weights="first")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "damaged"),
        ('{"schema": 1, "config": {', "damaged"),
        ("[]", "run format None"),
        ('{"schema": 99}', "run format 99"),
        ('{"name": "somebody else\'s"}', "run format None"),
        ('{"schema": 1}', "damaged"),
    ],
)
def test_a_damaged_or_foreign_config(content: str, says: str, copy: Path) -> None:
    (copy / "config.json").write_text(content)
    message = refusal(copy)
    assert "config.json" in message
    assert says in message


@pytest.mark.parametrize(
    ("key", "value"),
    [("config", []), ("config", {"model": {"nothing": 1}}), ("provenance", []), ("video_dim", "six"), ("features", 7)],
)
def test_config_entries_of_the_wrong_kind(key: str, value: object, copy: Path) -> None:
    saved = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**saved, key: value}))
    assert "config.json" in refusal(copy)


@pytest.mark.parametrize("keep", [0, 7, 100, 5000])
def test_a_truncated_checkpoint(keep: int, copy: Path) -> None:
    path = copy / "best.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    message = refusal(copy)
    assert "best.safetensors" in message
    assert "damaged" in message


def test_a_checkpoint_that_is_something_else(copy: Path) -> None:
    (copy / "best.safetensors").write_bytes(b"\x89HDF\r\n\x1a\n" + b"x" * 4000)
    assert "best.safetensors" in refusal(copy)
    (copy / "best.safetensors").unlink()
    assert "no checkpoint at" in refusal(copy)


def test_a_checkpoint_that_does_not_fit_names_a_tensor(copy: Path) -> None:
    path = copy / "best.safetensors"
    state = load_file(path)
    name = "saliency.weight"
    save_file({**state, name: torch.zeros(1, 99)}, path)
    assert name in refusal(copy)
    save_file({k: v for k, v in state.items() if k != name}, path)
    assert name in refusal(copy)
    save_file({**state, "stranger": torch.zeros(1)}, path)
    assert "stranger" in refusal(copy)


def test_another_cache_is_refused_by_the_field_that_differs(
    finished: Path, cache_path: Path, build_cache: Callable[..., Path], tmp_path: Path
) -> None:
    run = load_run(finished)
    with open_cache(cache_path) as same:
        refuse_mismatch(run, same)
    other = Provenance({**run.provenance.video, "fps": 8.0}, run.provenance.text)
    with open_cache(build_cache(tmp_path / "other.h5", train=1, test=0, provenance=other)) as cache:
        with pytest.raises(InputError, match=r"video\.fps") as caught:
            refuse_mismatch(run, cache)
        assert "0.5" in str(caught.value)
        assert "8.0" in str(caught.value)
        with pytest.raises(InputError, match=r"video\.fps"):
            predict_split(run, cache, "train", device="cpu")
    run.model.video_dim = 768
    with open_cache(cache_path) as narrow, pytest.raises(InputError, match="768-d video"):
        refuse_mismatch(run, narrow)


def test_notes_do_not_part_a_run_from_its_cache(
    finished: Path, build_cache: Callable[..., Path], tmp_path: Path
) -> None:
    run = load_run(finished)
    noted = Provenance(run.provenance.video, run.provenance.text, {"host": "elsewhere"})
    with open_cache(build_cache(tmp_path / "noted.h5", train=1, test=0, provenance=noted)) as cache:
        refuse_mismatch(run, cache)


def test_latest_run(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rdmf train"):
        latest_run(tmp_path)
    for age, name in ((100, "b"), (10, "deep/a"), (50, "c")):
        run = shutil.copytree(finished, tmp_path / name)
        stamp = (run / "config.json").stat().st_mtime - age
        os.utime(run / "best.safetensors", (stamp, stamp))
    assert latest_run(tmp_path) == tmp_path / "deep" / "a"


def test_prediction_records(finished: Path, cache_path: Path) -> None:
    run = load_run(finished)
    with open_cache(cache_path) as cache:
        told = predict_split(run, cache, "test", device="cpu")
        wanted = cache.query_records("test")
        lengths = {vid: float(d) for vid, d in zip(cache.vids, cache.durations)}
    assert [(r["qid"], r["vid"], r["query"]) for r in told] == [(q.qid, q.vid, q.text) for q in wanted]
    for record in told:
        windows = np.array(record["pred_relevant_windows"])
        assert 1 <= len(windows) <= run.config.score.top_k
        assert (windows[:, 0] < windows[:, 1]).all()
        assert windows[:, 0].min() >= 0
        assert windows[:, 1].max() <= lengths[record["vid"]] + 1e-3
        assert (np.diff(windows[:, 2]) <= 0).all()
        assert ((windows[:, 2] >= 0) & (windows[:, 2] <= 1)).all()
        assert len(record["pred_saliency_scores"]) == lengths[record["vid"]] / 2
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(("max_tokens", "pool"), [(0, 1), (2, 1), (0, 3)])
def test_one_video_by_hand_is_the_split(max_tokens: int, pool: int, finished: Path, cache_path: Path) -> None:
    """`rdmf predict` and `rdmf eval` must say the same of the same video."""
    run = load_run(finished)
    run.config = run.config.updated({"max_tokens": max_tokens, "data.pool": pool})
    with open_cache(cache_path) as cache:
        told = predict_split(run, cache, "test", device="cpu")[3]
        features, times = cache.video(told["vid"])
        duration = float(cache.durations[cache.vids.index(told["vid"])])
        tokens = cache.text(cache.texts.index(told["query"]))
        alone = run.predict_features(features, times, duration, tokens, device="cpu")
    np.testing.assert_allclose(alone["pred_relevant_windows"], told["pred_relevant_windows"], atol=2e-3 * duration)
    np.testing.assert_allclose(alone["pred_saliency_scores"], told["pred_saliency_scores"], atol=1e-4)
    assert len(alone["saliency"]) == len(alone["times"]) == -(-len(features) // pool)
    if pool == 1:
        assert alone["times"] == np.asarray(times).tolist()


def test_top_k_and_clip_length_of_a_single_prediction(finished: Path) -> None:
    run = load_run(finished)
    rng = np.random.default_rng(0)
    start = np.arange(9) * 2.0
    features = rng.standard_normal((9, 6)).astype(np.float16)  # as a cache stores them
    found = run.predict_features(
        features, np.stack((start, start + 2), 1), 17.5, np.ones((4, 5)), top_k=2, clip_length=5.0, device="cpu"
    )
    assert len(found["pred_relevant_windows"]) <= 2
    assert len(found["pred_saliency_scores"]) == 4
    assert all(0 <= s < e <= 17.5 for s, e, _ in found["pred_relevant_windows"])


def test_clip_saliency_takes_the_row_that_holds_the_clips_centre() -> None:
    values, edges = np.array([0.1, 0.9, 0.4]), np.array([0, 0.2, 0.6, 1.0])
    assert clip_saliency(values, edges, 10.0, 2.0).tolist() == [0.1, 0.9, 0.9, 0.4, 0.4]
    assert clip_saliency(values, edges, 10.0, 4.0).tolist() == [0.9, 0.4, 0.4]
    assert clip_saliency(values, edges, 10.0, 60.0).tolist() == [0.4]
    assert clip_saliency(np.array([0.3]), np.array([0.0, 1.0]), 5.0, 2.0).tolist() == [0.3] * 3
