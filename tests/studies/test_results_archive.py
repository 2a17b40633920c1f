"""What stands beside a page of results: it is made anew of it, and runs that are gone count as done."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from planned_studies import README, SETTINGS
from studies_samples import make_cache, rdmf

pytestmark = pytest.mark.usefixtures("without_training")


def test_a_page_is_made_anew_of_what_stands_beside_it(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = measured
    files = {path: path.read_bytes() for path in (place / "docs").rglob("*") if path.is_file()}
    assert {path.name for path in files} >= {"models.npz", "models.json", "models.csv", "rule.json"}
    shutil.rmtree(place / "all")
    for cache in place.glob("*.h5"):
        cache.unlink()
    (place / "README.md").write_text(README)
    assert rdmf("report", "--plan", "plan.yaml") == 0
    assert {path: path.read_bytes() for path in (place / "docs").rglob("*") if path.is_file()} == files
    assert "| **rdmf** |" in (place / "README.md").read_text()


@pytest.mark.long
def test_runs_beside_the_page_count_as_done(
    measured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = measured
    monkeypatch.setenv("DIARY", str(place / "diary"))
    page = (place / "docs/results.md").read_text()
    gone = place / "all/models/runs/qd-detr/fold2/seed-0"
    before = np.load(gone / "scores-test.npz")
    shutil.rmtree(place / "all")
    assert rdmf("report", "--plan", "plan.yaml", "--run") == 0
    assert "6 finished runs out of docs/results (--from-scratch leaves them out)" in capsys.readouterr().out
    assert not (place / "diary").exists()
    assert (place / "docs/results.md").read_text() == page
    after = np.load(gone / "scores-test.npz")
    assert set(after) == set(before)
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])

    # Another setting, other features: they are other runs.
    shutil.rmtree(place / "all/steps")
    plan = yaml.safe_load((place / "plan.yaml").read_text())
    plan["studies"][1]["set"] = {**SETTINGS, "train.lr": 0.25}
    (place / "other.yaml").write_text(yaml.safe_dump(plan))
    assert rdmf("report", "--plan", "other.yaml", "--run", "--jobs", 1) == 0
    assert len((place / "diary").read_text().splitlines()) == 2
    shutil.rmtree(place / "all/models")
    (place / "fold1.h5").unlink()
    make_cache(place / "fold1.h5", train=4, test=4, seed=9)
    assert rdmf("report", "--plan", "other.yaml", "--run", "--jobs", 1) == 2
    assert "fold1.h5 has changed since" in capsys.readouterr().err
    shutil.rmtree(place / "all/steps")
    capsys.readouterr()
    assert rdmf("report", "--plan", "other.yaml", "--run", "--jobs", 1, "--partial") == 0
    assert "4 finished runs in docs/results are made anew" in (said := capsys.readouterr().out)
    assert "other numbers in fold1.h5 (" in said
    assert len((place / "diary").read_text().splitlines()) == 2 + 2 + 2
    # All of it once more.
    shutil.rmtree(place / "all")
    assert rdmf("report", "--plan", "other.yaml", "--run", "--from-scratch", "--jobs", 1, "--partial") == 0
    assert len((place / "diary").read_text().splitlines()) == 6 + 6


def test_damaged_results_are_named(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, plan = measured, measured / "plan.yaml"
    (place / "all/models/per-query.npz").write_bytes(b"cut")
    assert rdmf("report", "--plan", plan) == 2
    assert "all/models: its results are damaged" in capsys.readouterr().err
    # The same command as ever mends it, without training.
    assert rdmf("report", "--plan", plan, "--run") == 0
    (place / "rule.json").write_text("{}")
    assert rdmf("report", "--plan", plan, "--rule", "rule.json") == 2
    assert "rule.json: not the scores of a rule" in capsys.readouterr().err
