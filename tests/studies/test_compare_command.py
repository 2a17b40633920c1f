"""`rdmf compare`: which runs are one model, what is kept, what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from studies_samples import TINY, fake_run, make_cache

from rdmf.store import InputError
from rdmf_pipelines.cli import main
from rdmf_pipelines.studies.models import differing, find_runs, group_runs
from rdmf_pipelines.studies.scoring import Scores, score_run, scores_path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds; model "good" with two seeds on each, "bad" with one, "other" on fold 1 alone."""
    folder = tmp_path_factory.mktemp("compare")
    folds = [make_cache(folder / f"fold{i}.h5", seed=i) for i in (1, 2)]
    for cache in folds:
        for seed in (0, 1):
            fake_run(folder / "good" / cache.stem / f"seed-{seed}", cache, seed=seed, shift=0.2)
        fake_run(folder / f"bad-{cache.stem}", cache, overrides={"decoder.runs": 0})
    fake_run(folder / "other", folds[0], overrides={"train.lr": 0.1}, read=False)
    (folder / "empty").mkdir()
    (folder / "unfinished").mkdir()
    (folder / "unfinished/config.json").write_text((folder / "other/config.json").read_text())
    return folder


@pytest.fixture(autouse=True)
def standing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def rdmf(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_seeds_and_folds_are_one_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {kind: tmp_path / f"c.{kind}" for kind in ("json", "csv", "markdown")}
    written = [part for kind, path in paths.items() for part in (f"--{kind}", path)]
    assert rdmf("compare", "good", "bad-fold1", "bad-fold2", "--reading", *written) == 0
    printed = capsys.readouterr().out
    values = json.loads(paths["json"].read_text())
    names = [row["model"] for row in values["rows"]]
    assert names == [
        "good/fold*",
        "bad-fold*",
        "good/fold*, read off",
        "bad-fold*, read off",
        "query-blind",
        "text-only",
    ]
    assert values["folds"] == {"fold1": 12, "fold2": 12}
    good, bad = values["rows"][:2]
    assert good["seeds"] == [0, 1]
    assert good["metrics"]["mIoU"]["spread"] > 0
    assert bad["metrics"]["mIoU"]["spread"] is None
    assert bad["against"]["mIoU"]["p"] < 0.01
    assert bad["against"]["mIoU"]["high"] < 0
    assert values["settings"] == {"good/fold*": {"decoder.runs": 2}, "bad-fold*": {"decoder.runs": 0}}
    assert set(values["by_type"]) == {"action", "object"}
    for part in ("24 queries", "bad-fold*: decoder.runs=0", "by query type", "by fold", "12 k"):
        assert part in printed
    with paths["csv"].open() as file:
        lines = list(csv.DictReader(file))
    (line,) = (r for r in lines if (r["part"], r["model"], r["metric"]) == ("all", "bad-fold*", "mIoU"))
    assert float(line["difference"]) == pytest.approx(bad["against"]["mIoU"]["difference"], abs=1e-3)
    assert "| bad-fold* |" in paths["markdown"].read_text()


def test_a_single_fold_needs_no_table_of_folds(capsys: pytest.CaptureFixture[str]) -> None:
    assert rdmf("compare", "other", "good/fold1", "--reading") == 0
    printed = capsys.readouterr().out
    assert "by fold" not in printed
    # "other" kept no reading, so it has no such row; nor does its group's absence stop the rest.
    assert "other, read off" not in printed
    assert "good/fold1, read off" in printed


def test_runs_of_the_same_settings_and_seed_stay_apart(place: Path, tmp_path: Path) -> None:
    again = fake_run(tmp_path / "again", place / "fold1.h5", seed=0, shift=0.2)
    groups = group_runs(find_runs([place / "good/fold1", again]))
    assert [len(group.runs) for group in groups] == [2, 1]
    assert differing(groups) == {group.label: {} for group in groups}
    # Named twice, a run is still one.
    assert [len(group.runs) for group in group_runs(find_runs([again, again]))] == [1]


def test_two_runs_of_one_seed_on_the_same_queries_are_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cache under two names makes two folds of one: one of the runs would be left out."""
    shutil.copy(place / "fold1.h5", tmp_path / "copy.h5")
    again = fake_run(tmp_path / "again", tmp_path / "copy.h5", seed=0, shift=0.2)
    assert rdmf("compare", "good/fold1", again) == 2
    assert "two of its runs have one seed and answer the same queries" in capsys.readouterr().err


def test_paths_may_be_absolute_and_relative(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rdmf("compare", "good/fold1/seed-0", place / "good/fold1/seed-1") == 0
    assert rdmf("compare", "bad-fold1", place / "bad-fold2") == 0
    assert "24 queries" in capsys.readouterr().out


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.95])
def test_scores_cut_short_are_no_scores(keep: float, place: Path, tmp_path: Path) -> None:
    whole = scores_path(place / "other", "test").read_bytes()
    path = tmp_path / "scores-test.npz"
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    assert Scores.load(path) is None
    path.write_bytes(whole[:200] + bytes(50) + whole[250:])
    assert Scores.load(path) is None


def test_machine_settings_do_not_make_another_model(place: Path, tmp_path: Path) -> None:
    moved = fake_run(tmp_path / "moved", place / "fold1.h5", seed=7, overrides={"train.device": "cuda:1"})
    home = fake_run(tmp_path / "home", place / "fold1.h5", seed=8)
    assert len(group_runs(find_runs([moved, home]))) == 1


def test_scores_are_kept_until_weights_or_queries_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rdmf.train import train

    cache = make_cache(tmp_path / "c.h5", train=4, test=3)
    run = train(cache, tmp_path / "run", overrides=TINY, quiet=True)
    first = score_run(run)
    assert first.about["parameters"] > 0
    assert first.about["reading"]["train queries"] == 8
    assert first.reading is not None
    monkeypatch.setattr("rdmf_pipelines.studies.scoring._work_out", lambda *_: pytest.fail("scored again"))
    second = score_run(run)
    assert (second.decoder == first.decoder).all()
    (run / "best.safetensors").rename(run / "gone")  # scores outlive the weights
    assert (score_run(run).decoder == first.decoder).all()
    (run / "best.safetensors").write_bytes(b"other weights")
    with pytest.raises((pytest.fail.Exception, Exception), match=r"scored again|damaged"):
        score_run(run)
    (run / "best.safetensors").unlink()
    monkeypatch.setattr("rdmf_pipelines.studies.scoring.SCORING", 1000)
    with pytest.raises(InputError, match="weights were deleted, and its scores are an"):
        score_run(run)
    (run / "gone").replace(run / "best.safetensors")
    (run / "scores-test.npz").write_bytes(b"cut")
    with pytest.raises(pytest.fail.Exception, match="scored again"):
        score_run(run)


@pytest.mark.parametrize(
    ("line", "tells"),
    {
        "compare": "Missing argument",
        "compare nowhere": "no run at nowhere",
        "compare empty": "empty is not a run and holds none",
        "compare unfinished": "unfinished has no best.safetensors yet",
        "compare good other": "other has no run on",
        "compare other good": "answers other queries than other",
        "compare other --split tset": "no split 'tset'",
        "compare other --features nowhere.h5": "no feature cache at nowhere.h5",
        "compare other --features a.h5 --features b.h5": "--features gives only a.h5, b.h5",
        "compare good --features fold1.h5": "gives fold1.h5 alone, and the runs were trained on fold1.h5, fold2",
        "compare other --json empty": "empty: is a directory",
        "compare other --csv fold1.h5/x.csv": "fold1.h5 is a file",
    }.items(),
)
def test_bad_input_is_one_line(line: str, tells: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert rdmf(*line.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert tells in said
