"""`rdmf eval`: a prediction file, and a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from rdmf.evaluation import read_jsonl
from rdmf.evaluation.records import annotations_from_cache
from rdmf.store import InputError, Provenance, QueryRecord, TextRecord, VideoRecord, open_cache, write_cache
from rdmf_pipelines.commands.eval import evaluate

KINDS = ("action", "object")
SMALL: dict[str, Any] = {
    "model.hidden": 16,
    "decoder.queries": 40,
    "decoder.layers": 1,
    "train.epochs": 1,
    "train.device": "cpu",
}


def run(*arguments: object) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(evaluate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refusal(*arguments: object) -> str:
    error = run(*arguments).exception
    assert isinstance(error, InputError)
    return str(error)


def make_cache(path: Path, learn: str = "train") -> Path:
    """12 videos of 10 to 21 clips of 2 s, a query each; one queried video has no features, one query no window."""
    rng = np.random.default_rng(0)
    videos, queries = [], []
    for i in range(12):
        clips = 10 + i
        starts = 2.0 * np.arange(clips)
        videos.append(VideoRecord(f"v{i}", rng.normal(size=(clips, 8)), np.stack([starts, starts + 2], 1), 2.0 * clips))
        windows = ((4.0, 10.0),) if i != 11 else ()
        scored = {"saliency_clips": (0, 2), "saliency_scores": ((0.0, 1.0, 1.0), (4.0, 4.0, 2.0))} if i == 9 else {}
        split = learn if i < 8 else "val"
        queries.append(QueryRecord(i, f"v{i}", "a dog", split, windows, kind=KINDS[i % 2], **scored))
    queries.append(QueryRecord(99, "lost", "a dog", "val", ((0.0, 2.0),)))
    texts = [TextRecord("a dog", rng.normal(size=(4, 6)))]
    return write_cache(path, Provenance({"encoder": "x"}, {"encoder": "y"}), videos, texts, queries)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from rdmf.train import train

    folder = tmp_path_factory.mktemp("trained")
    return train(make_cache(folder / "c.h5"), folder / "run", overrides=SMALL, quiet=True)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two queries, predicted and annotated."""
    truth = [{"qid": q, "query": "a", "vid": "v", "duration": 20, "relevant_windows": [[0, 10]]} for q in (1, 2)]
    answers: list[dict[str, Any]] = [{"qid": 1, "pred_relevant_windows": [[0, 10, 0.9]]}]
    answers.append({"qid": 2, "pred_relevant_windows": [[10, 20, 0.9]]})
    paths = tmp_path / "p.jsonl", tmp_path / "a.jsonl"
    for path, records in zip(paths, (answers, truth), strict=True):
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return paths


def test_prediction_file(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "scores.json"
    result = run("--predictions", files[0], "--annotations", files[1], "--json", out)
    assert result.exit_code == 0, result.output
    scores = json.loads(out.read_text())
    assert scores["brief"]["MR-full-R1@0.5"] == 50.0
    assert scores["long"]["MR-R1"]["0.5"] is None  # no such query: null, since JSON has no NaN
    assert "mIoU" in result.output


def test_prediction_file_with_other_queries(files: tuple[Path, Path]) -> None:
    files[0].write_text(files[0].read_text().splitlines()[0] + "\n")
    assert "1 annotated but not predicted (2)" in refusal("--predictions", files[0], "--annotations", files[1])
    result = run("--predictions", files[0], "--annotations", files[1], "--allow-partial")
    assert result.exit_code == 0
    assert "note: 1 annotated queries have no prediction" in result.output


def test_moments_need_no_duration_though_there_is_saliency(tmp_path: Path) -> None:
    record = {"qid": 1, "pred_relevant_windows": [[0, 5, 1]], "pred_saliency_scores": [1]}
    answers = _file(tmp_path / "p.jsonl", json.dumps(record))
    truth = _file(tmp_path / "a.jsonl", '{"qid": 1, "relevant_windows": [[0, 5]]}')
    result = run("--predictions", answers, "--annotations", truth)
    assert result.exit_code == 0, result.exception
    assert "100.0" in result.output


def test_nothing_is_written_over_what_it_is_made_of(files: tuple[Path, Path], trained: Path, tmp_path: Path) -> None:
    answers, truth = files
    given = ("--predictions", answers, "--annotations", truth)
    cache, one = trained.parent / "c.h5", tmp_path / "one.json"
    before = {path: path.read_bytes() for path in (answers, truth, cache)}
    assert "--json" in (said := refusal(*given, "--json", answers))
    assert "is the prediction file" in said
    assert "is the annotation file" in refusal(*given, "--json", truth)
    assert "is the cache" in refusal(trained, "--out", cache, "--device", "cpu")
    (tmp_path / "link.json").symlink_to(cache)
    assert "is the cache" in refusal(trained, "--features", cache, "--json", tmp_path / "link.json")
    assert "is the prediction file" in refusal(trained, "--out", one, "--json", tmp_path / "." / "one.json")
    assert {path: path.read_bytes() for path in before} == before
    assert not one.exists()


def test_other_weights_than_the_best_have_a_prediction_file_of_their_own(trained: Path) -> None:
    for weights in (trained, trained / "best.safetensors", trained / "last.safetensors"):
        assert run(weights, "--device", "cpu").exit_code == 0
    assert {path.name for path in trained.glob("predictions*")} == {
        "predictions-val.jsonl",
        "predictions-val-last.jsonl",
    }


def test_what_is_guessed_is_learnt_where_the_run_learnt(tmp_path: Path) -> None:
    from rdmf.train import train

    options = {"train_split": "learn", "holdout": 0}
    trained = train(make_cache(tmp_path / "c.h5", "learn"), tmp_path / "run", overrides=SMALL | options, quiet=True)
    assert run(trained, "--split", "val", "--json", tmp_path / "r.json").exit_code == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["baselines"]["query-blind"]["R1@0.7"] == 100.0
    assert "query-blind" in report["comparison"]


def test_arguments_that_do_not_go_together(files: tuple[Path, Path], tmp_path: Path) -> None:
    assert "go together" in refusal("--predictions", files[0])
    assert "go together" in refusal("--annotations", files[1])
    assert "--split: not used" in refusal("--predictions", files[0], "--annotations", files[1], "--split", "val")
    assert "goes with --predictions" in refusal("--allow-partial")
    assert "no such file" in refusal("--predictions", tmp_path / "none", "--annotations", files[1])
    assert "line 1" in refusal("--predictions", files[0], "--annotations", _file(tmp_path / "x.jsonl", "nonsense"))
    unlabelled = _file(tmp_path / "y.jsonl", '{"qid": 1}\n{"qid": 2}\n')
    assert "no annotated windows" in refusal("--predictions", files[0], "--annotations", unlabelled)


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_run_on_its_validation_split(trained: Path, tmp_path: Path) -> None:
    report_path, prediction_path = tmp_path / "r.json", tmp_path / "p.jsonl"
    result = run(trained, "--json", report_path, "--out", prediction_path, "--device", "cpu")
    assert result.exit_code == 0, result.output
    for name in ("rdmf", "query-blind", "text-only", "query-blind oracle", "saliency mAP", "action"):
        assert name in result.output
    assert "note: 1 of 5 queries have no video in the cache" in result.output

    report = json.loads(report_path.read_text())
    assert report["split"] == "val"
    assert (report["queries"], report["queries_without_video"]) == (4, 1)
    # Every window of this cache is [4, 10): what guessing reaches is everything.
    assert {row["R1@0.7"] for row in report["baselines"].values()} == {100.0}
    assert report["brief"]["MR-full-R1@0.5"] == report["metrics"]["R1@0.5"]
    assert set(report["by_type"]) == set(KINDS)
    assert report["comparison"]["query-blind"]["mIoU"]["difference"] <= 0

    # The file it wrote is in the official form, and scores the same when read back.
    with open_cache(trained.parent / "c.h5") as cache:
        truth = annotations_from_cache(cache, "val", with_video_only=True)
    annotations = _file(tmp_path / "a.jsonl", "".join(json.dumps(record) + "\n" for record in truth))
    again = tmp_path / "again.json"
    assert run("--predictions", prediction_path, "--annotations", annotations, "--json", again).exit_code == 0
    scores = json.loads(again.read_text())
    assert scores == {key: report[key] for key in scores}
    assert [record["qid"] for record in read_jsonl(prediction_path)] == [8, 9, 10, 11]


def test_run_arguments(trained: Path, tmp_path: Path) -> None:
    assert "train, val" in refusal(trained, "--split", "tset").replace("'", "")
    assert "no run at" in refusal(tmp_path / "none")
    assert str(tmp_path / "none.h5") in refusal(trained, "--features", tmp_path / "none.h5")


def test_annotations_from_cache(trained: Path) -> None:
    with open_cache(trained.parent / "c.h5") as cache:
        every = annotations_from_cache(cache, "val")
        assert len(annotations_from_cache(cache, "val", with_video_only=True)) == len(every) - 1
        with pytest.raises(InputError):
            annotations_from_cache(cache, "absent")
    by_qid = {record["qid"]: record for record in every}
    assert by_qid[9] == {
        "qid": 9,
        "query": "a dog",
        "vid": "v9",
        "duration": 38.0,
        "relevant_windows": [[4.0, 10.0]],
        "relevant_clip_ids": [0, 2],
        "saliency_scores": [[0.0, 1.0, 1.0], [4.0, 4.0, 2.0]],
        "clip_length": 2.0,
        "type": "object",
    }
    assert by_qid[11]["relevant_windows"] == by_qid[11]["saliency_scores"] == []
    assert by_qid[99]["duration"] is None  # not annotated, and its video is not there to measure


def test_command_module_imports_nothing_heavy() -> None:
    code = "import sys, rdmf_pipelines.commands.eval; print('numpy' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.split() == ["False", "False"]
