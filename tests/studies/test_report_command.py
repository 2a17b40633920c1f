"""`rdmf report`: from measured studies only, whole or marked, into the page and the README's block."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from planned_studies import README, SETTINGS, furnish, write_plan
from studies_samples import rdmf

from rdmf_pipelines.studies import runner
from rdmf_pipelines.studies.layout import as_values
from rdmf_pipelines.studies.page import BEGIN, END, verdict
from rdmf_pipelines.studies.plan import Plan, PlannedStudy
from rdmf_pipelines.studies.results import Results
from rdmf_pipelines.studies.rules import Rule
from rdmf_pipelines.studies.scoring import METRICS

REAL_JOB = runner.COMMAND

pytestmark = pytest.mark.usefixtures("without_training")


@pytest.fixture
def place(caches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    furnish(tmp_path, caches)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_command_makes_everything(
    finished: tuple[Path, str], measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, plan = measured, "plan.yaml"
    assert "making all/rule.json: python make_rule.py" in finished[1]
    page = (place / "docs/results.md").read_text()
    for part in (
        "## Made up: Models (Tables 1 to 3 of the paper)",
        "## Made up: Steps N of the reaction-diffusion system",
        "| rule |  | - | 90.0 |",
        "*rule*: a coin.",
        "| qd-detr, read off |",
        "Does rdmf win? (In brackets: the other less rdmf, and p.)",
        "rule (+",
        "Wishing | hoping <b>hard</b>.",
        "python make_rule.py",
        f"rdmf report --plan {plan} --run",
        "rdmf ablate --features fold1.h5 --features fold2.h5 --table models --row rdmf --row qd-detr",
        "an abacus (1 cores)",
        "2026-01-02",
    ):
        assert part in page, part
    for name in ("models", "steps"):
        assert f"](results/{name}.png)" in page
        assert (place / f"docs/results/{name}.png").read_bytes().startswith(b"\x89PNG")
        lines = (place / f"docs/results/{name}.csv").read_text()
        assert lines == (place / f"all/{name}/results.csv").read_text()

    readme = (place / "README.md").read_text()
    assert readme.startswith("# Mine\n\nbefore\n\n")
    assert readme.endswith(f"{END}\n\nafter\n")
    assert "\nold\n" not in readme
    assert "| **rdmf** |" in readme
    assert "[docs/results.md](docs/results.md)" in readme
    assert "reaction-diffusion system" not in readme  # only what is a headline

    # Nothing is run again, nothing changes.
    capsys.readouterr()
    assert rdmf("report", "--plan", plan, "--run") == 0
    assert "making" not in capsys.readouterr().out
    assert (place / "docs/results.md").read_text() == page
    assert (place / "README.md").read_text() == readme
    # The same without a plan, of one of the folders.
    assert rdmf("report", "--results", "all/steps", "--out", "one.md") == 0
    assert "Steps N" in (place / "one.md").read_text()


def test_what_is_missing_is_refused_or_marked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = write_plan(place, rules=None, files=None)
    assert rdmf("report", "--plan", plan) == 2
    assert "nothing written: all/models holds no results" in capsys.readouterr().err
    assert rdmf("report", "--plan", plan, "--partial") == 2
    assert "no study has any results" in capsys.readouterr().err
    assert not (place / "docs").exists()
    assert (place / "README.md").read_text() == README

    steps = ("ablate", "--features", "fold1.h5", "--table", "rd-steps", "--row", "n-1", "--row", "n-5")
    settings = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    assert rdmf(*steps, *settings, "--seeds", 1, "--out", "all/steps") == 0
    assert rdmf("report", "--plan", plan) == 2
    assert rdmf("report", "--plan", plan, "--partial") == 0
    page = (place / "docs/results.md").read_text()
    assert "**Incomplete.** Not there yet:" in page
    assert "- all/models holds no results" in page
    assert "**Incomplete**: what of the plan is still to be run" in (place / "README.md").read_text()


def test_what_two_studies_of_a_plan_share_is_run_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIARY", str(place / "diary"))
    monkeypatch.setattr("rdmf_pipelines.studies.provenance.code", lambda: "c0de")
    full = {"features": ["fold1.h5"], "table": "components", "rows": ["full"], "set": SETTINGS, "seeds": 2}
    steps = {**full, "table": "rd-steps", "rows": ["n-1", "n-5"], "out": "all/steps"}
    plan = write_plan(place, rules=None, files=None, studies=[{**full, "out": "all/full"}, steps])
    # Two at once: what is being run for one study is not begun for the other.
    assert rdmf("report", "--plan", plan, "--run", "--jobs", 2) == 0
    assert len((place / "diary").read_text().splitlines()) == 4
    assert capsys.readouterr().out.count("taken from another study") == 2
    one, two = Results.load(place / "all/full"), Results.load(place / "all/steps")
    np.testing.assert_array_equal(one.decoder[0], two.decoder[two.labels.index("N = 5")])
    assert not one.missing + two.missing


def test_rows_and_seeds_of_the_plan_that_a_study_was_made_without_are_named() -> None:
    study = PlannedStudy(Path("out"), (), "roles", rows=("video-activator-order-none",), seeds=3)
    label = "video activator, order none"
    assert study.shortfall([label, "more"], [0, 1, 2, 3]) is None
    assert study.shortfall([label], [0, 2]) == "out: 2 of 3 seeds"
    assert study.shortfall([], [0, 1, 2]) == f"out: no row {label}"


def test_a_failed_run_leaves_the_page_unwritten(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAIL", "qd-detr/fold2")
    models = {"out": "all/models", "features": ["fold1.h5", "fold2.h5"], "table": "models", "rows": ["rdmf", "qd-detr"]}
    plan = write_plan(place, rules=None, files=None, studies=[{**models, "set": SETTINGS, "seeds": 1}])
    assert rdmf("report", "--plan", plan, "--run") == 2
    said = capsys.readouterr().err
    assert "qd-detr/fold2 went wrong" in said
    assert "all/models: 1 of 4 runs, the first is qd-detr · fold2 · seed 0" in said
    assert not (place / "docs").exists()
    assert rdmf("report", "--plan", plan, "--run", "--partial") == 1
    assert "**Incomplete: 1 of 4 runs are missing**" in (place / "docs/results.md").read_text()


def test_the_verdict_says_what_is_lost_and_what_is_open(measured: Path) -> None:
    results = Results.load(measured / "all/models")
    reference = results.row("rdmf")

    def against(shift: float, noise: float) -> str:
        rival = results.row("qd-detr")
        scattered = noise * np.resize([1.0, -1.0], rival.values.shape)
        rival.values[:] = reference.values + shift + scattered
        return "\n".join(verdict(as_values([reference, rival], results.queries, reference), results))

    assert "- mIoU: above all 1 others (largest p <0.001)." in against(-0.1, 0.001)
    assert "- mIoU: not above qd-detr (+10.0, p <0.001)." in against(0.1, 0.001)
    assert "- mIoU: above but not surely: qd-detr (-1.0, p " in against(-0.01, 0.2)
    assert "not above qd-detr (+0.0, p 1.00)" in against(0, 0)


def test_a_rule_that_answers_other_queries_takes_no_row(measured: Path) -> None:
    queries = Results.load(measured / "all/models").queries
    rule = Rule.read(measured / "all/rule.json")
    row = rule.row(queries)
    assert row is not None
    assert row.of("mIoU")[0].tolist() == [0.9] * 16
    assert np.isnan(row.of("mAP")).all()
    assert row.values.shape == (1, len(METRICS), 16)
    del rule.folds["fold2"]["2-9"]
    assert rule.row(queries) is None


@pytest.mark.long
def test_the_short_version_needs_nothing_but_the_plan(place: Path) -> None:
    for path in place.glob("*.h5"):
        path.unlink()
    plan = write_plan(place)
    assert rdmf("report", "--plan", plan, "--run", "--short") == 0
    page = (place / "results/short/docs/results.md").read_text()
    assert "## Made up, in place of Made up: Models (Tables 1 to 3" in page
    assert "Steps N" in page
    assert "What did not help" in page
    assert "| **rdmf** |" in (place / "results/short/README.md").read_text()
    # What the plan itself writes is left alone.
    assert (place / "README.md").read_text() == README
    assert not (place / "docs").exists()
    assert not list((place / "all").iterdir())
    short = Plan.read(plan).short()
    assert all(study.seeds == 1 and len(study.rows) <= 2 for study in short.studies)
    assert all(study.settings["train.epochs"] == 1 for study in short.studies)


@pytest.mark.long
def test_the_projects_own_plan_in_short_with_real_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Path(__file__).resolve().parents[2] / "docs/results.yaml"
    if not plan.is_file():
        pytest.skip(f"no plan at {plan}")
    named = yaml.safe_load(plan.read_text())
    named.pop("notes", None)
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(named))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "COMMAND", REAL_JOB)
    assert rdmf("report", "--plan", "plan.yaml", "--run", "--short") == 0
    page = (tmp_path / "results/short/docs/results.md").read_text()
    assert "an abacus" not in page
    assert "Incomplete" not in page


BAD_STUDY = {"out": "a", "features": ["fold1.h5"], "table": "models"}


@pytest.mark.parametrize(
    ("changes", "tells"),
    [
        ({"studies": None}, "no studies in it"),
        ({"out": "page"}, "plan.yaml: out: page: give it an ending, e.g. page.md"),
        ({"studies": [3]}, "study 1: expected keys"),
        ({"studies": [{"out": "a", "table": "models"}]}, "study 1: 'features' is missing"),
        ({"studies": [{**BAD_STUDY, "table": "model"}]}, "did you mean 'models'?"),
        ({"studies": [{**BAD_STUDY, "rows": ["ours"]}]}, "no row 'ours'"),
        ({"studies": [{**BAD_STUDY, "seed_count": 3}]}, "unknown key 'seed_count'"),
        ({"studies": [{**BAD_STUDY, "seeds": "three"}]}, "seeds: 'three' should be a whole number"),
        ({"studies": [{**BAD_STUDY, "seeds": 0}]}, "seeds: 0; at least 1"),
        ({"studies": [{**BAD_STUDY, "features": "fold1.h5"}]}, "should be a list"),
        ({"studies": [BAD_STUDY, BAD_STUDY]}, "2 studies write a, which names their files"),
        ({"studies": [BAD_STUDY, {**BAD_STUDY, "out": "other/a"}]}, "2 studies write a, which names their files"),
        ({"studies": [{**BAD_STUDY, "out": None}]}, "study 1: 'out' is missing"),
        ({"files": {"x.h5": "rdmf import 'x"}}, "x.h5: cannot read the command that makes it (No closing quotation)"),
        ({"studdies": []}, "did you mean 'studies'?"),
        ({"studies": [{**BAD_STUDY, "features": ["nowhere.h5"]}], "files": None}, "no feature cache at nowhere.h5"),
        ({"files": {"x.h5": "curl x"}}, "must begin with rdmf or python, found 'curl x'"),
        ({"files": {"x.h5": "python -c pass"}}, "x.h5 was not made (exit code 0)"),
    ],
)
def test_a_bad_plan_is_one_line(
    changes: dict[str, object], tells: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rdmf("report", "--plan", write_plan(place, **changes), "--run") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert tells in said


@pytest.mark.parametrize(
    ("line", "tells"),
    {
        "report": "no plan at docs/results.yaml",
        "report --plan nowhere.yaml": "no plan at nowhere.yaml",
        "report --plan README.md": "README.md: expected keys such as studies, found str",
        "report --plan fold1.h5": "not readable as YAML",
        "report --results all": "all holds no results of a study",
        "report --results all --run": "leave out --plan and --run",
        "report --short": "--short goes with --run",
        "report --from-scratch": "--from-scratch goes with --run",
        "report --out page": "--out page: give it an ending, e.g. page.md",
    }.items(),
)
def test_bad_input_is_one_line(line: str, tells: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rdmf(*line.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert tells in said


def test_runs_of_the_page_that_a_folder_lacks_are_not_lost(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who pulls a page made elsewhere may have an older folder of results of the same study."""
    about = measured / "all/steps/study.json"
    values = json.loads(about.read_text())
    about.write_text(json.dumps({**values, "finished": "2025-12-31T23:59:59+00:00"}))
    page = (measured / "docs/results.md").read_text()
    assert rdmf("report", "--plan", "plan.yaml") == 2
    said = capsys.readouterr().err
    assert "all/steps: its newest run is of 2025-12-31T23:59:59+00:00, the page's of 2026-01-02" in said
    assert (measured / "docs/results.md").read_text() == page
    (measured / "all/steps").rename(measured / "all/old")
    assert rdmf("report", "--plan", "plan.yaml") == 0
    assert (measured / "docs/results.md").read_text() == page


def test_folders_of_one_name_would_write_over_each_other(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(measured / "all/steps", measured / "more/steps")
    assert rdmf("report", "--results", "all/steps", "--results", "more/steps", "--out", "two.md") == 2
    assert "2 studies are in folders called steps" in capsys.readouterr().err
    assert not (measured / "two.md").exists()


def test_a_readme_without_marks_is_refused_before_anything_is_written(
    measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, plan = measured, measured / "plan.yaml"
    (place / "docs/results.md").unlink()
    for text in ("# no marks\n", f"{END}\n{BEGIN}\n", f"{README}{README}"):
        (place / "README.md").write_text(text)
        assert rdmf("report", "--plan", plan) == 2
        assert "README.md: needs one line <!-- results:begin -->" in capsys.readouterr().err
        assert (place / "README.md").read_text() == text
    assert not (place / "docs/results.md").exists()
    assert rdmf("report", "--plan", plan, "--readme", "nowhere.md") == 2
