"""`rdmf ablate`: what is run, what is left when it is stopped, what is written."""

from __future__ import annotations

import csv
import json
import os
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from studies_samples import FOLDS, ONE, SMALL_RUN, STUDY, TWO, fake_run, make_cache, ran, rdmf

from rdmf_pipelines.studies import job, runner
from rdmf_pipelines.studies.figure import draw
from rdmf_pipelines.studies.results import Results
from rdmf_pipelines.studies.scoring import METRICS, SCORING, Scores, scores_path


def test_a_study_from_beginning_to_end(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rdmf(*STUDY, "--seeds", 1, "--jobs", 2, "--out", "study") == 0
    printed = capsys.readouterr().out
    assert "4 runs (2 rows, 2 folds, 1 seed), 0 done, 2 at once, in study" in printed
    assert "[4/4]" in printed
    assert "R1@0.5" in printed
    assert len(ran(place)) == 4
    # One seed more: only its runs.
    monkeypatch.setattr("rdmf_pipelines.studies.sheet.draw", draw)
    assert rdmf(*STUDY, "--seeds", 2, "--out", "study") == 0
    assert "8 runs (2 rows, 2 folds, 2 seeds), 4 done, 1 at once" in capsys.readouterr().out
    assert [Path(folder).name for folder, *_ in ran(place)[4:]] == ["seed-1"] * 4

    with (place / "study/results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 8
    assert {(line["row"], line["fold"], line["seed"]) for line in lines} == {
        (row, fold, seed) for row in ("full", "without IoU head") for fold in ("fold1", "fold2") for seed in "01"
    }
    assert shlex.split(lines[0]["command"])[:2] == ["rdmf", "train"]
    assert "--set loss.iou=0" in next(line["command"] for line in lines if line["row"] == "without IoU head")

    results = Results.load(place / "study")
    assert results.decoder.shape == results.reading.shape == (2, 2, len(METRICS), 16)
    one = 100 * results.decoder[1, 1, METRICS.index("mIoU"), 8:].mean()  # row 1, seed 1, fold 2
    (line,) = (r for r in lines if (r["row"], r["fold"], r["seed"]) == ("without IoU head", "fold2", "1"))
    assert float(line["mIoU"]) == pytest.approx(one, abs=1e-3)

    page = (place / "study/table.md").read_text()
    for part in (
        "| full | 2 |",
        "| query-blind |",
        "| text-only |",
        "By fold",
        "By query type",
        "an abacus",
        "p <0.001",
    ):
        assert part in page
    assert "Incomplete" not in page
    assert (place / "study/plot.png").read_bytes().startswith(b"\x89PNG")

    # The command on the page, again: nothing is left to do, and the page is the same.
    assert rdmf(*shlex.split(page.partition("```sh\n")[2].partition("\n")[0])[1:]) == 0
    assert len(ran(place)) == 8
    assert (place / "study/table.md").read_text() == page


def test_seconds_on_a_gpu_stand_beside_those_on_a_cpu(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rdmf(*TWO, "--jobs", 1, "--out", "study") == 0
    page = (place / "study/table.md").read_text()
    assert "| s/epoch, CPU |" in page
    assert "median of the runs (CPU: processor time, or wall time where that is less, on an abacus)." in page
    monkeypatch.setenv("FAKE_GPU", "Big One")
    assert rdmf(*TWO, "--seeds", 3, "--jobs", 2, "--out", "study") == 0
    page = (place / "study/table.md").read_text()
    assert "| s/epoch, CPU | s/epoch, GPU |" in page
    # A seed more, a second more (`fake_run`): the CPU's row has seed 0 alone, the GPU's the other two.
    (full,) = (line for line in page.splitlines() if line.startswith("| full | 3 |"))
    assert full.endswith("| 1.5 | 3 |")
    assert "; GPU: wall time, on Big One, up to 2 runs at once)." in page
    assert "Big One, an abacus (1 cores), torch 2" in page


def test_what_was_made_otherwise_is_refused_until_redone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = (*ONE, "--out", "study")
    assert rdmf(*study) == 0
    changed = (*study, "--set", "train.lr=0.5")
    assert rdmf(*changed) == 2
    said = capsys.readouterr().err
    assert "seed-0 was made otherwise: train.lr was" in said
    assert "now 0.5" in said
    other = ("--table", "kinetics", "--row", "f-0.04-k-0.06")
    assert rdmf("ablate", "--features", "fold1.h5", *SMALL_RUN, *other, "--seeds", "1", "--out", "study") == 2
    assert "study holds the table components" in capsys.readouterr().err
    assert rdmf(*changed, "--redo") == 0
    assert len(ran(place)) == 2
    # Another cache under the same name is noticed too.
    (place / "fold1.h5").unlink()
    make_cache(place / "fold1.h5", train=4, test=4, seed=9)
    assert rdmf(*changed) == 2
    assert "fold1.h5 has changed since" in capsys.readouterr().err


def test_runs_of_another_study_beside_it_are_taken_over(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--features", "fold1.h5", *SMALL_RUN, "--seeds", "1")
    monkeypatch.setattr("rdmf_pipelines.studies.provenance.code", lambda: "c0de")
    assert rdmf("ablate", *common, "--table", "components", "--row", "full", "--out", "all/one") == 0
    assert rdmf("ablate", *common, "--table", "rd-steps", "--row", "n-5", "--row", "n-1", "--out", "all/two") == 0
    assert "1 of them taken from other studies in all" in capsys.readouterr().out
    assert len(ran(place)) == 2  # full, and N = 1; N = 5 is full
    one, two = Results.load(place / "all/one"), Results.load(place / "all/two")
    np.testing.assert_array_equal(one.decoder[0], two.decoder[two.labels.index("N = 5")])
    # Made by other code, they are not.
    monkeypatch.setattr("rdmf_pipelines.studies.provenance.code", lambda: "0ther")
    assert rdmf("ablate", *common, "--table", "kinetics", "--row", "f-0.04-k-0.06", "--out", "all/three") == 0
    assert len(ran(place)) == 3


def test_a_run_that_keeps_less_than_is_asked_for_is_not_taken(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rdmf_pipelines.studies.provenance.code", lambda: "c0de")
    for number, keep in enumerate(("none", "best", "best", "all", "best"), start=1):
        assert rdmf(*ONE, "--keep", keep, "--out", f"all/{number}") == 0
    assert [Path(one[0]).parts[1] for one in ran(place)] == ["1", "2", "4"]
    left = {path.name for path in (place / "all/4/runs/full/fold1/seed-0").iterdir()}
    assert {"best.safetensors", "last.safetensors", "resume.pt"} <= left


def test_a_run_is_taken_whole_or_not_at_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rdmf_pipelines.studies.provenance.code", lambda: "c0de")
    assert rdmf(*ONE, "--out", "all/one") == 0
    source = place / "all/one/runs/full/fold1/seed-0"
    (source / "log.txt").write_text("what it said\n")
    real, links = os.link, []

    def dying(*paths: str) -> None:
        links.append(paths)
        if len(links) == 3:
            raise KeyboardInterrupt
        real(*paths)

    monkeypatch.setattr(os, "link", dying)
    rdmf(*ONE, "--out", "all/two")
    assert not (place / "all/two/runs/full/fold1/seed-0").exists()
    assert rdmf(*ONE, "--out", "all/two") == 0
    assert len(ran(place)) == 1
    taken = place / "all/two/runs/full/fold1/seed-0"
    assert sorted(p.name for p in taken.parent.iterdir()) == ["seed-0"]
    # Another split is scored in the same folder; what that says is not written into the other study's log.
    assert rdmf(*ONE, "--split", "train", "--out", "all/two") == 0
    assert (source / "log.txt").read_text() == "what it said\n"


def test_rows_that_are_the_same_under_the_settings_are_run_once(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rdmf("ablate", *FOLDS, "--table", "components", *SMALL_RUN, "--set", "decoder.votes=0", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "left out: without votes, which is the same as full" in printed
    assert "without-votes" not in printed
    assert ran(place) == []


def test_the_table_of_models_gives_each_its_own_preset(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ("ablate", "--features", "fold1.h5", "--table", "models", "--seeds", "1", "--set", "train.epochs=1")
    assert rdmf(*lines, "--preset", "joined", "--dry-run") == 0
    commands = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rdmf train")]
    made = {}
    for command in commands:
        words = shlex.split(command)
        model = words[words.index("--model") + 1] if "--model" in words else "rdmf"
        made.setdefault(model, []).append(words[words.index("--preset") + 1])
        assert words[words.index("--set") + 1] == "train.epochs=1"
    assert made.pop("rdmf") == ["joined", "joined-paper"]
    assert set(made) == {"moment-detr", "qd-detr", "cg-detr", "univtg"}
    for model, presets in made.items():
        assert presets[0].endswith(model)


class Here:
    """Stands in for a worker: does its jobs in this process, for the sake of time."""

    def __init__(self, *_: object) -> None:
        self.told, self.said = os.pipe()

    def give(self, described: Path) -> None:
        os.write(self.said, b"%d\n" % job.main(str(described)))

    def fileno(self) -> int:
        return self.told

    def answer(self) -> tuple[int, bool]:
        return int(os.read(self.told, 64)), True

    def end(self) -> None:
        os.close(self.said)

    def wait(self, _: float) -> None:
        os.close(self.told)


def test_what_a_job_does(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained, scored, noted and tidied."""
    study = (*ONE, "--set", "decoder.layers=1", "--set", "train.epochs=1", "--keep", "none", "--out", "study")

    monkeypatch.setattr(runner, "Worker", Here)
    assert rdmf(*study) == 0
    results = Results.load(place / "study")
    assert np.isfinite(results.decoder).all()
    assert np.isfinite(results.reading).all()
    (line,) = results.runs
    assert int(line["parameters"]) > 1000
    assert float(line["seconds per epoch"]) > 0
    folder = place / "study/runs/full/fold1/seed-0"
    assert not list(folder.glob("*.safetensors"))
    assert not (folder / "resume.pt").exists()
    # Nothing but the scores is left, and that is enough.
    monkeypatch.setattr(runner, "Worker", pytest.fail)
    (place / "study/table.md").unlink()
    assert rdmf(*study) == 0
    assert (place / "study/table.md").exists()


def test_what_an_earlier_rdmf_scored_otherwise_is_scored_anew(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = (*ONE, "--set", "decoder.layers=1", "--set", "train.epochs=1", "--out", "study")
    monkeypatch.setattr(runner, "Worker", Here)
    assert rdmf(*study) == 0
    monkeypatch.setattr(runner, "Worker", pytest.fail)
    folder = place / "study/runs/full/fold1/seed-0"
    file = scores_path(folder, "test")
    right = Scores.load(file)
    assert right is not None

    def spoil() -> None:
        about = {**right.about, "key": {**right.about["key"], "scoring": SCORING - 1}}
        replace(right, about=about, decoder=np.zeros_like(right.decoder)).save(file)

    spoil()
    capsys.readouterr()
    assert rdmf(*study) == 0
    assert "scored anew, for an earlier rdmf scored them otherwise: 1 of the finished runs" in capsys.readouterr().out
    np.testing.assert_array_equal(Results.load(place / "study").decoder[0, 0], right.decoder)
    assert rdmf(*study) == 0
    assert "scored anew" not in capsys.readouterr().out
    # Without weights there is nothing to do it with.
    spoil()
    (folder / "best.safetensors").unlink()
    assert rdmf(*study) == 0
    assert "scored anew" not in capsys.readouterr().out
    assert Results.load(place / "study").decoder.max() == 0


def test_another_split_of_a_finished_run_is_scored_and_nothing_is_trained(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = (*ONE, "--set", "decoder.layers=1", "--set", "train.epochs=1", "--out", "study")
    monkeypatch.setattr(runner, "Worker", Here)
    assert rdmf(*study) == 0
    folder = place / "study/runs/full/fold1/seed-0"
    weights, trained = (folder / "best.safetensors").stat(), json.loads((folder / "done.json").read_text())
    monkeypatch.setattr("rdmf_pipelines.studies.provenance.code", lambda: "0ther")
    assert rdmf(*study, "--split", "train") == 0
    now, noted = (folder / "best.safetensors").stat(), json.loads((folder / "done.json").read_text())
    assert (now.st_ino, now.st_mtime_ns) == (weights.st_ino, weights.st_mtime_ns)
    assert noted == {**trained, "split": "train"}
    assert scores_path(folder, "test").is_file()
    assert scores_path(folder, "train").is_file()


def test_a_job_that_cannot_be_scored_is_not_done(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rdmf_pipelines.cli.main", lambda _: None)  # trained nothing
    described = {"arguments": [], "folder": "study/run", "features": "fold1.h5", "split": "test"}
    (place / "job.json").write_text(json.dumps({**described, "config": {"train": {"device": "cpu"}}, "keep": "all"}))
    assert job.main("job.json") == 2
    assert not (place / "study/run").exists()


def test_the_list_of_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert rdmf("ablate", "--list") == 0
    printed = capsys.readouterr().out
    for part in ("kinetics: ", "fusion.kill=0.08", "--model univtg", "(reference)"):
        assert part in printed
    assert rdmf("ablate", "--list", "--table", "roles") == 0
    assert "kinetics" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "tells"),
    {
        "ablate": "say which cache and which table",
        "ablate --features fold1.h5": "say which cache and which table",
        "ablate --features fold1.h5 --table models --set train.device=cuda:1": "by CUDA_VISIBLE_DEVICES=1",
        "ablate --features fold1.h5 --table model": "did you mean 'models'?",
        "ablate --features nowhere.h5 --table models": "no feature cache at nowhere.h5",
        "ablate --features fold1.h5 --features other/fold1.h5 --table models": "two caches are called fold1",
        "ablate --features fold1.h5 --table models --row ours": "no row 'ours'",
        "ablate --features fold1.h5 --table models --set epocs=1": "did you mean",
        "ablate --features fold1.h5 --table models --set epochs=none": "expected a whole number",
        "ablate --features fold1.h5 --table models --set model.name=univtg": "a table's rows choose their models",
        "ablate --features fold1.h5 --table models --preset no": "unknown preset 'no'",
        "ablate --features fold1.h5 --table models --split tset": "no split 'tset'",
        "ablate --features fold1.h5 --table models --keep some": "--keep some: one of all, best, none",
        "ablate --features fold1.h5 --table models --seeds 0": "--seeds",
        "ablate --features fold1.h5 --table models --out fold2.h5": "fold2.h5 is a file",
        "ablate --features fold1.h5 --table models --list --table x": "there is no table 'x'",
    }.items(),
)
def test_bad_input_is_one_line(line: str, tells: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "other").mkdir()
    make_cache(place / "other/fold1.h5", train=1, test=1)
    assert rdmf(*line.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert tells in said
    assert ran(place) == []


def test_a_study_can_be_compared_like_any_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rdmf(*STUDY, "--seeds", 1, "--keep", "none", "--out", "study") == 0
    other = fake_run(place / "mine", place / "fold1.h5", seed=0)
    capsys.readouterr()
    assert rdmf("compare", "study/runs", "--json", "c.json") == 0
    values = json.loads((place / "c.json").read_text())
    assert [row["seeds"] for row in values["rows"][:2]] == [[0], [0]]
    expected = Results.load(place / "study").values()
    found = {row["model"]: row["metrics"] for row in values["rows"]}
    assert found["study/runs/full/fold*"] == expected["rows"][0]["metrics"]
    assert rdmf("compare", "study/runs", other) == 2


def test_settings_of_rdmf_alone_do_not_make_a_published_models_runs_others(place: Path) -> None:
    models = ("ablate", "--features", "fold1.h5", *SMALL_RUN, "--table", "models", "--seeds", "1", "--out", "study")
    assert rdmf(*models, "--row", "univtg") == 0
    changed = ("--set", "model.centred=true", "--set", "loss.vote=0.5")
    assert rdmf(*models, "--row", "univtg", *changed) == 0
    assert len(ran(place)) == 1
    assert rdmf(*models, "--row", "rdmf") == 0
    assert rdmf(*models, "--row", "rdmf", *changed) == 2


def test_a_row_of_which_a_fold_is_missing_is_not_shown(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL", "without-iou-head/fold2")
    study = (*STUDY, "--seeds", "1", "--out", "study")
    assert rdmf(*study, "--jobs", 1) == 1
    page = (place / "study/table.md").read_text()
    assert "| full | 1 |" in page
    assert "| without IoU head | 1 |" not in page
    assert "without IoU head · fold2 · seed 0" in page
    monkeypatch.delenv("FAIL")
    assert rdmf(*study) == 0
    assert "| without IoU head | 1 |" in (place / "study/table.md").read_text()


def test_where_no_row_is_whole_yet_the_page_says_what_is_missing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rdmf_pipelines.studies.sheet.draw", draw)
    monkeypatch.setenv("FAIL", "/fold2")
    assert rdmf(*STUDY, "--seeds", "1", "--out", "study", "--jobs", 1) == 1
    assert "full · fold2 · seed 0" in (place / "study/table.md").read_text()
    assert (place / "study/plot.png").stat().st_size > 1000
