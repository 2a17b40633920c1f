"""`rdmf bench` through the command line: quick runs, JSON, pages, comparison, bad input, ways that disagree."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rdmf.model import native
from rdmf.model.build import MODELS, build_model
from rdmf_pipelines.benching import diffusion_ways, layer_kernels, lengths, matching, plan, reaction, two_processes
from rdmf_pipelines.benching.bench import Bench, DisagreementError, refuse_difference
from rdmf_pipelines.benching.document import write
from rdmf_pipelines.benching.settings import settings_of, variants
from rdmf_pipelines.benching.sheet import Entry, Sheet, load
from rdmf_pipelines.cli import main
from rdmf_pipelines.studies.synthetic import write_synthetic_cache

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def go(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["bench", *arguments])
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return go


def quick(run: Run, *groups: str, more: tuple[str, ...] = ()) -> Sheet:
    """What a quick run of these groups on the CPU measures."""
    chosen = [word for group in groups for word in ("--only", group)]
    code, out, _ = run("--quick", "--device", "cpu", "--json", "out.json", *chosen, *more)
    assert code == 0, out
    return load(Path("out.json"))


def test_the_groups_are_listed(run: Run) -> None:
    code, out, _ = run("--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(plan.GROUPS)


def test_kernels_and_matcher(run: Run) -> None:
    sheet = quick(run, "matcher", "reaction", "diffusion")
    # In the plan's order, whatever order they were asked for in.
    assert [name.split(",")[0] for name in sheet.groups()] == ["diffusion"] * 2 + ["reaction"] * 4 + ["matcher"]
    for group in sheet.groups():
        assert sheet.about[group]
    ways = {e.name for e in sheet.entries if e.group == "diffusion, forward"}
    assert {"plain loop", "in place", "mirrored", "banded", "dense", "cosine", "FFT"} <= ways
    assert all(e.count and e.low <= e.seconds <= e.high for e in sheet.entries)
    assert sheet.machine["sizes"].startswith("tiny")


@pytest.mark.skipif(native.library() is None, reason="no C compiler here: the kernels are not in use")
def test_layers_between_products(run: Run) -> None:
    sheet = quick(run, "layers")
    cases = list(dict.fromkeys(e.case.split(",")[0] for e in sheet.entries))
    assert cases == ["norm within a sigmoid", "GELU", "sum with dropout", "features to the first product"]
    assert {e.name for e in sheet.entries} == {layer_kernels.PYTORCH, layer_kernels.KERNEL}


def test_without_kernels_the_layers_are_not_measured(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.SWITCH, "off")
    sheet = quick(run, "layers")
    assert not sheet.entries
    assert "Not measured" in sheet.notes[layer_kernels.GROUP]


def test_cache_on_the_users_own_file(run: Run, tmp_path: Path) -> None:
    path = write_synthetic_cache(tmp_path / "mine.h5", train=3, test=1)
    sheet = quick(run, "cache", more=("--features", str(path)))
    assert "4 videos" in sheet.about["cache"]
    cases = {e.case for e in sheet.entries}
    assert cases == {"open", "read one video", "read all rows", "a split onto the device"}


def test_step_and_evaluation_of_one_model(run: Run) -> None:
    sheet = quick(run, "step", "evaluation", more=("--model", "univtg"))
    step = {e.name: e for e in sheet.entries if e.group == "training step"}
    assert {"step", "data", "forward", "loss", "backward", "weights"} <= step.keys()
    assert "matching" not in step  # UniVTG has no matcher
    assert step["step"].more["samples a second"] > 0
    assert {e.case for e in sheet.entries if e.group != "metrics" and not e.case.endswith("queries")} == {"univtg"}


@pytest.mark.parametrize("quick", [False, True])
def test_every_model_that_is_measured_can_be_built(quick: bool) -> None:
    found = variants(list(MODELS), quick=quick)
    assert {name for name, _ in found.values()} == set(MODELS)
    for name, extra in found.values():
        assert build_model(settings_of(name, quick=quick, extra=extra), 16, 8).config.model.name == name


def test_epoch(run: Run) -> None:
    sheet = quick(run, "epoch", more=("--model", "rdmf"))
    paper = next(e for e in sheet.entries if e.group == "the paper's schedule")
    rate, whole = paper.more["samples a second"], paper.more["50 epochs of 7,218 queries, s"]
    assert rate * whole == pytest.approx(50 * 7218)


@pytest.mark.long
def test_two_processes_beside_one(run: Run) -> None:
    sheet = quick(run, "processes")
    assert [(e.case, e.count) for e in sheet.entries] == [("rdmf, one process", 3), ("rdmf, two processes", 3)]
    assert all(e.more["samples a second"] * e.seconds == pytest.approx(16) for e in sheet.entries)


def test_a_run_of_two_processes_that_fails_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_processes, "_cases", lambda quick: {"rdmf": {"train.batch": 0}})
    code, out, err = run("--quick", "--device", "cpu", "--only", "processes")
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith("error: training in two processes: rdmf train in one process failed: ")
    assert "train.batch" in last


@pytest.mark.long
def test_length(run: Run) -> None:
    sheet = quick(run, "length", more=("--model", "rdmf"))
    assert [e.case for e in sheet.entries] == ["20 clips", "40 clips"]
    assert all(e.more["peak MB"] >= 0 for e in sheet.entries)
    assert "rdmf" in sheet.notes[lengths.GROUP]


@pytest.mark.long
def test_what_takes_too_much_memory_is_said_to(tmp_path: Path) -> None:
    bench = Bench(Sheet("", {}), torch.device("cpu"), tmp_path, quick=True, memory_gb=0.05)
    assert lengths.in_process(bench, "moment-detr", 20000).instead == "needs more than 0.05 GB"


@pytest.mark.long
def test_what_takes_too_long_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "PATIENCE", 0)
    bench = Bench(Sheet("", {}), torch.device("cpu"), tmp_path)
    assert lengths.in_process(bench, "moment-detr", 20000).instead == "more than 0 s"


def test_the_exponent_is_that_of_the_three_longest() -> None:
    made = [
        Entry("g", "", "rdmf", 3e-9 * clips**1.5 if clips > 75 else 1, 0, 0, 1) for clips in (75, 5000, 10800, 20000)
    ]
    have = list(zip((75, 5000, 10800, 20000), made))
    assert lengths.exponent(have) == pytest.approx(1.5)
    assert lengths.exponent(have[:1]) is None


def test_against_an_earlier_run(run: Run) -> None:
    sheet = quick(run, "matcher")
    for faster in sheet.entries:
        object.__setattr__(faster, "seconds", faster.seconds / 1000)
    sheet.machine["threads"] = 64
    sheet.save(Path("earlier.json"))
    code, out, _ = run("--quick", "--device", "cpu", "--only", "matcher", "--against", "earlier.json")
    assert code == 0  # slower is no failure
    assert "now/then" in out
    assert "threads was 64" in out


def test_figures_kept_earlier_are_shown_and_compared_without_measuring(run: Run) -> None:
    quick(run, "matcher")
    code, out, err = run("--from", "out.json", "--against", "out.json")
    assert code == 0
    assert err == ""
    assert "figures changed beyond its quartiles" in out


def test_the_page_is_what_its_figures_give(run: Run, tmp_path: Path) -> None:
    """The committed page, written anew from the committed figures."""
    files = sorted(ROOT.glob("docs/performance*.json"), key=lambda path: len(path.name))
    assert files[0].name == "performance.json"
    (tmp_path / "docs").mkdir()
    for path in (*files, ROOT / "docs" / "performance-notes.md"):
        shutil.copy(path, tmp_path / "docs")
    given = [word for path in files for word in ("--from", f"docs/{path.name}")]
    code, _, _ = run(*given, "--page", "docs/performance.md")
    assert code == 0
    page = "docs/performance.md"
    assert (tmp_path / page).read_text(encoding="utf-8") == (ROOT / page).read_text(encoding="utf-8")
    assert (tmp_path / "docs/performance/length.png").stat().st_size > 10_000
    assert (ROOT / "docs/performance/length.png").is_file()


def test_each_sheet_of_a_page_has_its_own_picture(tmp_path: Path) -> None:
    whole, other = (load(ROOT / "docs/performance.json") for _ in range(2))
    for one in other.entries:
        object.__setattr__(one, "seconds", one.seconds * (2 if one.name == "rdmf" else 1))
    written = write(tmp_path / "page.md", {"a.json": whole, "b.json": other})
    pictures = [tmp_path / "page/length.png", tmp_path / "page/length-2.png"]
    assert written == [tmp_path / "page.md", *pictures]
    assert pictures[0].read_bytes() != pictures[1].read_bytes()
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert page.count("(page/length.png)") == page.count("(page/length-2.png)") == 1


def test_a_page_right_after_measuring_is_that_of_the_file(run: Run) -> None:
    quick(run, "matcher", more=("--page", "page.md"))
    first = Path("page.md").read_text(encoding="utf-8")
    run("--from", "out.json", "--page", "page.md")
    assert Path("page.md").read_text(encoding="utf-8") == first
    assert "## Matcher" in first


def refused(run: Run, *arguments: str) -> str:
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("arguments", "tells"),
    [
        ("--only matchr", "did you mean 'matcher'"),
        ("--model moment-dtr", "did you mean 'moment-detr'"),
        ("--features absent.h5", "absent.h5"),
        ("--against absent.json", "absent.json"),
        ("--against bad.json", "bad.json: not written by `rdmf bench --json`"),
        ("--from bad.json", "bad.json"),
        ("--from absent.json --page page.md", "absent.json"),
        ("--from bad.json --only matcher", "leave out --only"),
        ("--json folder", "--json folder: is a folder"),
        ("--page folder", "--page folder: is a folder"),
        ("--page page", "--page page: give it an ending, e.g. page.md"),
        ("--page bad.json/page.md", "bad.json is a file"),
        ("--device tpu9", "tpu9"),
        ("--seconds -1", "--seconds"),
        ("--seconds soon", "--seconds"),
        ("--ony matcher", "--ony"),
    ],
)
def test_bad_input_is_one_line(run: Run, arguments: str, tells: str) -> None:
    Path("folder").mkdir()
    Path("bad.json").write_text("{}", encoding="utf-8")
    assert tells in refused(run, *arguments.split())
    assert sorted(path.name for path in Path().iterdir()) == ["bad.json", "folder"]


def off(way: Callable[..., Any]) -> Callable[..., Any]:
    """The same, a little wrong."""

    def wrong(*arguments: Any, **named: Any) -> Any:
        found = way(*arguments, **named)
        return found * 1.01 if isinstance(found, Tensor) else [part * 1.01 for part in found]

    return wrong


def test_a_diffusion_that_is_wrong_is_no_timing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusion_ways, "fourier", off(diffusion_ways.fourier))
    code, _, err = run("--quick", "--device", "cpu", "--only", "diffusion", "--json", "out.json")
    assert code == 1
    assert "'FFT' is off by" in err
    assert load(Path("out.json")).entries == []


def test_a_reaction_that_is_wrong_is_no_timing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaction, "WAYS", {"plain loop": ("plain", False), "own backward": ("plain", True)})
    right = reaction.run

    def sometimes(*arguments: Any, **named: Any) -> list[Tensor]:
        found = right(*arguments, **named)
        if arguments[3] == ("plain", True):
            found[-1] = torch.full_like(found[-1], torch.nan)
        return found

    monkeypatch.setattr(reaction, "run", sometimes)
    code, _, err = run("--quick", "--device", "cpu", "--only", "reaction")
    assert code == 1
    assert "'own backward' is off by nan" in err


def test_a_matcher_that_is_wrong_is_no_timing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = {"greedy": lambda cost, mask: torch.where(mask, cost.argmin(1), -1)}
    monkeypatch.setattr(matching, "WAYS", greedy)
    code, _, err = run("--quick", "--device", "cpu", "--only", "matcher")
    assert code == 1
    assert "'greedy' is off by" in err


def test_another_shape_is_a_difference() -> None:
    with pytest.raises(DisagreementError, match="shape"):
        refuse_difference("way", torch.zeros(2), torch.zeros(3), where="here")
    refuse_difference("way", torch.ones(2), torch.ones(2), where="here")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interruption_keeps_what_is_measured(run: Run, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals) -> None:
    usual = signal.getsignal(signal.SIGTERM)
    # A shell starts background jobs with the signal ignored, and children inherit that: CI may well be one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def stop(bench: Bench) -> None:
        bench.add(Entry("half", "c", "n", 1.0, 1.0, 1.0, 1))
        signal.raise_signal(sent)
        bench.add(Entry("more", "c", "n", 1.0, 1.0, 1.0, 1))

    monkeypatch.setattr(plan.Group, "measure", lambda self, bench: stop(bench))
    try:
        code, out, err = run("--quick", "--device", "cpu", "--only", "matcher", "--json", "out.json")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    assert "half" in out
    assert "1 figures measured" in err
    assert json.loads(Path("out.json").read_text(encoding="utf-8"))["entries"][0]["group"] == "half"
    assert "more" not in out
    assert signal.getsignal(signal.SIGTERM) is usual


def test_the_switch_of_the_kernels_is_left_as_it_was(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDMF_KERNELS", "plain")
    quick(run, "reaction")
    import os

    assert os.environ["RDMF_KERNELS"] == "plain"
