"""Training end to end on a tiny cache: it learns, it takes every kind of annotation, it refuses in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from spoiling import NAN_ROW, spoil_bytes

from rdmf.config import Config
from rdmf.evaluation import moment_metrics, query_blind_baseline
from rdmf.evaluation.records import annotations_from_cache
from rdmf.predict import predict_split
from rdmf.run import load_run
from rdmf.store import InputError, Provenance, TextRecord, VideoRecord, open_cache, write_cache
from rdmf.train import run_directory, train
from rdmf.train.curves import draw_curves
from rdmf.train.loop import choose_queries

Build = Callable[..., Path]
Overrides = dict[str, Any]

DOCUMENTED = [
    "best.safetensors",
    "config.json",
    "curves.png",
    "last.safetensors",
    "metrics.jsonl",
    "resume.pt",
    "summary.json",
]


def history(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def refusal(*args: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        train(*args, quiet=True, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def learnt(cache_path: Path, tiny: Overrides, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "learnt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_directory, "draw_curves", draw_curves)  # this one is drawn, as for users
        return train(cache_path, out, overrides={**tiny, "epochs": 22}, quiet=True)


def test_it_learns_what_there_is_to_learn(learnt: Path, cache_path: Path) -> None:
    with open_cache(cache_path) as cache:
        predictions = predict_split(load_run(learnt), cache, "test", device="cpu")
        seen, unseen = (annotations_from_cache(cache, split) for split in ("train", "test"))
    ours = moment_metrics(predictions, unseen)
    blind = moment_metrics(query_blind_baseline(seen, unseen), unseen)
    assert ours["R1@0.5"] >= 75
    assert ours["R1@0.5"] >= blind["R1@0.5"] + 30
    told = history(learnt)
    assert told[-1]["loss"] < told[0]["loss"] / 2


def test_the_run_directory_holds_what_is_documented(learnt: Path) -> None:
    assert sorted(p.name for p in learnt.iterdir()) == DOCUMENTED
    told = history(learnt)
    assert [h["epoch"] for h in told] == list(range(1, 23))
    assert told[-1]["lr"] == pytest.approx(0, abs=1e-9)
    summary = json.loads((learnt / "summary.json").read_text())
    assert summary["epochs"] == 22
    assert summary["best_epoch"] == max(told, key=lambda h: (h["monitored"], -h["epoch"]))["epoch"]
    assert summary["train_queries"] + summary["holdout_queries"] == 48
    assert (learnt / "curves.png").read_bytes().startswith(b"\x89PNG")
    saved = json.loads((learnt / "config.json").read_text())
    assert saved["config"]["train"]["epochs"] == 22
    assert saved["provenance"]["video"]["encoder"] == "made-up"


def test_the_same_seed_gives_the_same_weights(cache_path: Path, tiny: Overrides, tmp_path: Path) -> None:
    first, again, other = (
        train(cache_path, tmp_path / name, overrides={**tiny, "epochs": 1, "dropout": 0.1}, seed=seed, quiet=True)
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert (first / "last.safetensors").read_bytes() == (again / "last.safetensors").read_bytes()
    assert (first / "last.safetensors").read_bytes() != (other / "last.safetensors").read_bytes()


def test_training_leaves_the_callers_random_state_alone(cache_path: Path, tiny: Overrides, tmp_path: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    train(cache_path, tmp_path / "run", overrides={**tiny, "epochs": 1}, quiet=True)
    assert torch.equal(torch.rand(3), expected)


def test_held_out_videos_are_whole_and_the_same_for_every_seed(cache_path: Path, tiny: Overrides) -> None:
    config = Config().updated({**tiny, "holdout": 0.25})
    with open_cache(cache_path) as cache:
        learn, watch = choose_queries(cache, config)
        again = choose_queries(cache, config)
        videos = cache.queries.video_index
        assert set(videos[learn]).isdisjoint(videos[watch])
        assert len(set(videos[watch])) == 6
        assert sorted([*learn, *watch]) == cache.select("train").tolist()
        assert (again[0] == learn).all()
        assert (again[1] == watch).all()


def test_a_split_may_be_watched_instead(cache_path: Path, tiny: Overrides, tmp_path: Path) -> None:
    run = train(cache_path, tmp_path / "run", overrides={**tiny, "val_split": "test"}, quiet=True)
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["train_queries"], summary["holdout_queries"]) == (48, 20)


def test_windows_without_saliency_labels_is_the_ordinary_case_and_with_them_too(
    build_cache: Build, tiny: Overrides, tmp_path: Path
) -> None:
    cache = build_cache(tmp_path / "both.h5", train=12, test=0, annotators=3)
    run = train(cache, tmp_path / "run", overrides=tiny, quiet=True)
    losses = {"saliency", "segment", "expected", "border", "vote", "span", "giou", "label", "iou"}
    assert losses == set(history(run)[-1]["losses"])


def test_saliency_alone_trains(build_cache: Build, tiny: Overrides, tmp_path: Path) -> None:
    cache = build_cache(tmp_path / "saliency.h5", train=16, test=4, windows=False, annotators=2)
    run = train(cache, tmp_path / "run", overrides={**tiny, "epochs": 10}, quiet=True)
    told = history(run)
    assert set(told[-1]["losses"]) == {"saliency"}
    assert set(told[-1]["scores"]) == {"saliency mAP", "mean"}
    assert told[-1]["losses"]["saliency"] < told[0]["losses"]["saliency"]
    with open_cache(cache) as opened:
        (first, *_) = predict_split(load_run(run), opened, "test", device="cpu")
        video, _ = opened.video(first["vid"])
    assert len(first["pred_saliency_scores"]) == len(video)


def test_too_few_videos_for_a_hold_out(build_cache: Build, tiny: Overrides, tmp_path: Path) -> None:
    cache = build_cache(tmp_path / "few.h5", train=3, test=0)
    run = train(cache, tmp_path / "run", overrides={**tiny, "patience": 1, "epochs": 3}, quiet=True)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["holdout_queries"] == 0
    assert summary["best_epoch"] == summary["epochs"] == 3  # with nothing to watch there is nothing to stop by
    assert (run / "best.safetensors").read_bytes() == (run / "last.safetensors").read_bytes()


def test_one_video_with_one_query(build_cache: Build, tiny: Overrides, tmp_path: Path) -> None:
    cache = build_cache(tmp_path / "one.h5", train=1, test=0)
    assert (train(cache, tmp_path / "run", overrides=tiny, quiet=True) / "best.safetensors").is_file()


def test_early_stopping(cache_path: Path, tiny: Overrides, tmp_path: Path) -> None:
    options = {**tiny, "lr": 0.0, "ema": 0.0, "patience": 2, "epochs": 9}
    run = train(cache_path, tmp_path / "run", overrides=options, quiet=True)
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["epochs"], summary["best_epoch"]) == (3, 1)  # nothing moves, so the first epoch stays the best


def test_missing_videos_need_consent(build_cache: Build, tiny: Overrides, tmp_path: Path) -> None:
    cache = build_cache(tmp_path / "gaps.h5", train=8, test=0, missing=7)
    message = refusal(cache, tmp_path / "run", overrides=tiny)
    assert "7 annotated videos" in message
    assert "gone-0" in message
    assert "data.allow_missing=true" in message
    assert not (tmp_path / "run").exists()
    run = train(cache, tmp_path / "run", overrides={**tiny, "allow_missing": True}, quiet=True)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["train_queries"] + summary["holdout_queries"] == 16


def test_an_unknown_split_gets_the_known_ones(cache_path: Path, tiny: Overrides, tmp_path: Path) -> None:
    for name in ("train_split", "val_split"):
        message = refusal(cache_path, tmp_path / "run", overrides={**tiny, name: "trian"})
        assert "trian" in message
        assert "train" in message.replace("trian", "")
        assert "test" in message


def test_nothing_to_learn_from(build_cache: Build, tiny: Overrides, tmp_path: Path) -> None:
    cache = build_cache(tmp_path / "bare.h5", train=4, test=0, windows=False)
    assert "no query with windows or saliency" in refusal(cache, tmp_path / "run", overrides=tiny)


def test_nan_features_are_refused_before_anything_is_written(
    build_cache: Build, tiny: Overrides, tmp_path: Path
) -> None:
    cache = build_cache(tmp_path / "nan.h5", train=4, test=0, spoil=lambda videos: NAN_ROW.put(videos[2]))
    spoil_bytes(cache)
    message = refusal(cache, tmp_path / "run", overrides=tiny)
    assert "'train-2'" in message
    assert not (tmp_path / "run").exists()  # else the next attempt would be told that a run is there


def test_a_diverging_training_says_what_to_lower(cache_path: Path, tiny: Overrides, tmp_path: Path) -> None:
    message = refusal(cache_path, tmp_path / "run", overrides={**tiny, "lr": 1e6})
    assert "diverged in epoch 1" in message
    assert "train.lr" in message
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_an_existing_run_is_not_overwritten(learnt: Path, cache_path: Path, tiny: Overrides) -> None:
    before = (learnt / "best.safetensors").read_bytes()
    message = refusal(cache_path, learnt, overrides=tiny)
    assert "--resume" in message
    assert "--out" in message
    assert (learnt / "best.safetensors").read_bytes() == before


def test_the_run_directory_may_not_be_a_file(cache_path: Path, tiny: Overrides, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert str(tmp_path / "file") in refusal(cache_path, tmp_path / "file", overrides=tiny)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_device_that_is_not_there(cache_path: Path, tiny: Overrides, tmp_path: Path) -> None:
    """Unknown ones, one too many, and kinds that PyTorch knows and nobody has here: each fails in a way of its own."""
    for device in ("quantum", "cuda:99", "meta", "hpu", "vulkan"):
        said = refusal(cache_path, tmp_path / "run", overrides={**tiny, "train.device": device})
        assert said.startswith(f"device '{device}'")
        assert said.endswith("; use auto, cpu, cuda or cuda:N")
        assert len(said) < 300
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("change", ["setting", "seed", "cache"])
def test_resuming_otherwise_is_refused_by_name(
    change: str, learnt: Path, cache_path: Path, build_cache: Build, tiny: Overrides, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"overrides": {**tiny, "epochs": 22}, "resume": True}
    path, says = cache_path, ""
    if change == "setting":
        options["overrides"]["lr"], says = 1e-2, "config.train.lr was 0.003, now 0.01"
    elif change == "seed":
        options["seed"], says = 4, "seed was 0, now 4"
    else:
        other = Provenance({"encoder": "another", "dim": 6}, {"dim": 5})
        path, says = build_cache(tmp_path / "other.h5", provenance=other), "fingerprint was"
    before = (learnt / "config.json").read_bytes()
    assert says in refusal(path, learnt, **options)
    assert (learnt / "config.json").read_bytes() == before


def test_resuming_a_finished_run_changes_nothing(cache_path: Path, tiny: Overrides, tmp_path: Path) -> None:
    run = train(cache_path, tmp_path / "run", overrides=tiny, quiet=True)
    names = ("best.safetensors", "last.safetensors", "metrics.jsonl")
    before = [(run / name).read_bytes() for name in names]
    train(cache_path, run, overrides=tiny, quiet=True, resume=True)
    assert [(run / name).read_bytes() for name in names] == before


def test_resuming_a_finished_run_that_kept_its_best_weights_alone_trains_nothing(
    cache_path: Path, tiny: Overrides, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`rdmf ablate --keep best` leaves such runs; started anew they would overwrite what their scores are of."""
    run = train(cache_path, tmp_path / "run", overrides=tiny, quiet=True)
    for name in ("resume.pt", "last.safetensors"):
        (run / name).unlink()
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.iterdir()}
    assert train(cache_path, run, overrides=tiny, resume=True) == run
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.iterdir()} == before
    assert "finished" in capsys.readouterr().err
    # Without its summary it was in the middle: that one starts anew.
    (run / "summary.json").unlink()
    train(cache_path, run, overrides=tiny, quiet=True, resume=True)
    assert (run / "resume.pt").is_file()


def test_resuming_on_other_videos_of_the_same_features_is_refused(
    cache_path: Path, build_cache: Build, tiny: Overrides, tmp_path: Path
) -> None:
    """Folds of one dataset have one fingerprint: a run that goes on on another fold learns what it is tested on."""
    run = train(cache_path, tmp_path / "run", overrides=tiny, quiet=True, stop_after=1)
    before = (run / "config.json").read_bytes()
    other = build_cache(tmp_path / "other.h5", seed=1)
    assert "other.h5 holds other videos or queries" in refusal(other, run, overrides=tiny, resume=True)
    assert (run / "config.json").read_bytes() == before
    # The same made again, under another name, is none other; and an older rdmf did not write what a cache held.
    train(build_cache(tmp_path / "again.h5"), run, overrides=tiny, quiet=True, resume=True)
    assert json.loads((run / "summary.json").read_text())["epochs"] == 2


def test_a_split_to_watch_must_be_annotated_for_what_is_watched(
    build_cache: Build, tiny: Overrides, tmp_path: Path
) -> None:
    """Otherwise every epoch would score the same, and the first would be kept as the best."""
    bare = build_cache(tmp_path / "bare.h5", train=4, test=2, bare=("test",))
    said = refusal(bare, tmp_path / "run", overrides={**tiny, "val_split": "test"})
    assert "split 'test' has no query with windows or saliency" in said
    cache = build_cache(tmp_path / "saliency.h5", train=4, test=2, windows=False, annotators=2)
    options = {**tiny, "val_split": "test", "train.monitor": "mIoU"}
    said = refusal(cache, tmp_path / "run", overrides=options)
    assert said.endswith("train.monitor: the hold-out is not annotated for mIoU; there are saliency mAP, mean")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", ["truncate", "empty", "foreign"])
def test_a_damaged_resume_state_is_named(damage: str, cache_path: Path, tiny: Overrides, tmp_path: Path) -> None:
    run = train(cache_path, tmp_path / "run", overrides={**tiny, "epochs": 1}, quiet=True)
    state = run / "resume.pt"
    content = state.read_bytes()
    state.write_bytes({"truncate": content[: len(content) // 2], "empty": b"", "foreign": b"not a checkpoint"}[damage])
    message = refusal(cache_path, run, overrides={**tiny, "epochs": 1}, resume=True)
    assert "resume.pt" in message


def test_a_video_of_one_clip_among_others(cache_path: Path, tiny: Overrides, tmp_path: Path) -> None:
    """A batch of very unlike lengths, one of them a single row."""
    with open_cache(cache_path) as cache:
        videos = []
        for index, vid in enumerate(cache.vids[:12]):
            features, times = cache.video(vid)
            keep = 1 if index % 3 == 0 else len(features)
            videos.append(VideoRecord(vid, features[:keep], times[:keep], float(cache.durations[index])))
        known = {v.vid for v in videos}
        queries = [q for q in cache.query_records("train") if q.vid in known]
        texts = [TextRecord(t, cache.text(i)) for i, t in enumerate(cache.texts)]
        path = write_cache(tmp_path / "short.h5", cache.provenance, videos, texts, queries)
    run = train(path, tmp_path / "run", overrides={**tiny, "context": 1}, quiet=True)
    assert all(torch.isfinite(torch.tensor(h["loss"])) for h in history(run))
