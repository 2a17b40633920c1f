"""`rdmf demo` around its videos: whose folder it is, what is shown in the report, and (long) the whole of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rdmf.store import InputError
from rdmf_pipelines.cli import main
from rdmf_pipelines.demo import steps
from rdmf_pipelines.demo.results import Example, Results, first_iou, iou
from rdmf_pipelines.demo.steps import Place, claim


def rdmf(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def example(qid: int, overlap: float, kind: str = "scene") -> Example:
    return Example({"qid": qid, "vid": "v", "type": kind}, {"qid": qid}, overlap)


def results(*examples: Example) -> Results:
    return Results(examples, metrics={}, history=(), train_queries=0, train_videos=0)


def test_a_fresh_folder_is_claimed_and_gone_on_with_by_the_same_demo_only(tmp_path: Path) -> None:
    place = Place(tmp_path / "new" / "demo")
    assert not claim(place, seed=1, videos=10)
    assert claim(place, seed=1, videos=10)
    for seed, videos in ((2, 10), (1, 11)):
        with pytest.raises(InputError, match="other settings"):
            claim(place, seed=seed, videos=videos)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert rdmf("demo", "--out", tmp_path) == 2
    assert "no earlier demo" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    assert rdmf("demo", "--out", tmp_path / "thesis.tex") == 2
    (tmp_path / "thesis.tex").rename(tmp_path / "demo.json")
    assert rdmf("demo", "--out", tmp_path) == 2  # a card that cannot be read is not ours either


def test_missing_encoder_packages_are_named_with_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(steps, "PACKAGES", {"no_such_module_here": "no-such-package"})
    assert rdmf("demo", "--out", tmp_path / "demo") == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "pip install no-such-package" in said[0]
    assert not (tmp_path / "demo").exists()


def test_too_few_videos_or_a_negative_seed_are_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (("--videos", 2), ("--seed", -1)):
        assert rdmf("demo", "--out", tmp_path / "demo", *wrong) == 2
        assert str(wrong[0]) in capsys.readouterr().err


def test_iou_of_intervals() -> None:
    assert iou((0, 4), (2, 6)) == pytest.approx(2 / 6)
    assert iou((0, 1), (2, 3)) == 0
    assert iou((1, 3, 0.9), (1, 3)) == 1
    rows = {"relevant_windows": [[0, 2], [8, 10]]}
    assert first_iou({"pred_relevant_windows": [[8, 10, 0.5], [0, 2, 0.4]]}, rows) == 1
    assert first_iou({"pred_relevant_windows": []}, rows) == 0


def test_the_examples_are_spread_over_the_ranking_with_both_ends() -> None:
    ranked = results(*(example(i, 1 - i / 99) for i in range(100)))
    spread = [e.query["qid"] for e in ranked.spread(8)]
    assert (spread[0], spread[-1], len(spread)) == (0, 99, 8)
    assert np.diff(spread).min() >= 14
    assert np.diff(spread).max() <= 15
    assert [e.query["qid"] for e in results(example(5, 0.3), example(6, 0.1)).spread(8)] == [5, 6]
    assert ranked.found == sum(1 - i / 99 >= 0.5 for i in range(100))


def test_the_showcase_asks_for_something_new() -> None:
    ranked = results(example(3, 0.9), example(2, 0.1, "action (new)"), example(7, 0.8, "action (new)"))
    assert ranked.showcase()["qid"] == 2
    assert results(example(3, 0.9), example(1, 0.2)).showcase()["qid"] == 1


@pytest.mark.long
def test_a_small_demo_runs_whole_and_a_second_time_only_goes_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in steps.PACKAGES:
        pytest.importorskip(module)
    monkeypatch.setitem(steps.SETTINGS, "train.epochs", 1)
    out = tmp_path / "demo"
    assert rdmf("demo", "--out", out, "--videos", 8) == 0
    said = capsys.readouterr().out
    assert "query-blind" in said
    assert list(out.glob("**/*.h5"))
    assert list(out.glob("**/*.safetensors"))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 3
    assert "http" not in page.replace("<!doctype html>", "")  # self-contained
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert {"query-blind", "text-only", "query-blind oracle"} <= set(metrics["baselines"])
    weights = (out / "run" / "best.safetensors").read_bytes()

    assert rdmf("demo", "--out", out, "--videos", 8) == 0
    assert "8 videos were there" in capsys.readouterr().out
    assert (out / "run" / "best.safetensors").read_bytes() == weights
