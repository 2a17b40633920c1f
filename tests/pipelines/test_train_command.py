"""`rdmf train` as it is typed: exit codes, messages, tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rdmf.store import Provenance, QueryRecord, TextRecord, VideoRecord, write_cache
from rdmf_pipelines.cli import main
from rdmf_pipelines.commands.train import _label, _preset_of

pytestmark = pytest.mark.usefixtures("undrawn_curves")
SMALL = [
    *(
        "--set",
        "hidden=16",
        "--set",
        "fusion.blocks=1",
        "--set",
        "fusion.scales=2",
        "--set",
        "decoder.queries=16",
        "--set",
        "decoder.segments=4",
    ),
    *("--set", "decoder.layers=1", "--set", "decoder.runs=2", "--set", "train.epochs=1", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    videos, queries = [], []
    start = np.arange(6) * 2.0
    for v in range(12):
        features = rng.standard_normal((6, 4)).astype(np.float32)
        videos.append(VideoRecord(f"v{v}", features, np.stack((start, start + 2), 1), 12.0))
        queries.append(QueryRecord(v, f"v{v}", "a door opens", "train", windows=((2.0, 6.0),)))
    texts = [TextRecord("a door opens", rng.standard_normal((3, 4)).astype(np.float32))]
    path = tmp_path_factory.mktemp("cache") / "doors.h5"
    return write_cache(path, Provenance({"dim": 4}, {"dim": 4}), videos, texts, queries)


def rdmf(*arguments: str | Path) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line that bad input gets."""
    assert rdmf("train", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


def test_a_training_ends_with_a_table_and_what_to_do_next(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert rdmf("train", "--features", cache, "--out", out, *SMALL) == 0
    captured = capsys.readouterr()
    assert "R1@0.5" in captured.out
    assert f"rdmf eval {out}" in captured.out
    assert "epoch 1/1" in captured.err
    assert (out / "best.safetensors").is_file()


def test_quiet_prints_the_table_only(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rdmf("train", "--features", cache, "--out", tmp_path / "run", "--quiet", *SMALL) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "R1@0.5" in captured.out


def test_runs_get_names_of_their_own(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert rdmf("train", "--features", cache, "--quiet", *SMALL) == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["doors-default-0", "doors-default-0-2"]
    # --resume without --out means the last of them, not a third.
    assert rdmf("train", "--features", cache, "--quiet", "--resume", *SMALL) == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.long
def test_several_seeds_give_a_spread(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sweep"
    assert rdmf("train", "--features", cache, "--out", out, "--seeds", "2", "--seed", "3", "--quiet", *SMALL) == 0
    printed = capsys.readouterr().out
    (mean,) = (line for line in printed.splitlines() if "2 seeds" in line)
    assert mean.count(" ± ") >= 4  # one a score, and in the label
    assert [json.loads((out / f"seed-{s}" / "summary.json").read_text())["seed"] for s in (3, 4)] == [3, 4]


def test_resume_with_nothing_yet_starts(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "queued"
    for _ in range(2):
        assert rdmf("train", "--features", cache, "--out", out, "--resume", *SMALL) == 0
    assert "going on after epoch 1" in capsys.readouterr().err


def test_a_run_that_is_there_already(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--features", cache, "--out", tmp_path / "run", "--quiet", *SMALL]
    assert rdmf("train", *options) == 0
    capsys.readouterr()
    assert "--resume" in complaint(capsys, *options)


def test_list_shows_presets_and_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    from rdmf.config import presets, settings

    assert rdmf("train", "--list") == 0
    printed = capsys.readouterr().out
    for name in (*presets(), *settings()):
        assert name in printed
    assert rdmf("train", "--list", "--preset", "paper", "--set", "lr=0.125") == 0
    printed = capsys.readouterr().out
    assert "train.lr = 0.125" in printed
    assert "fusion.kind = literal" in printed


PUBLISHED = [
    *("--set", "hidden=16", "--set", "moment_detr.heads=2", "--set", "moment_detr.feedforward=16"),
    *("--set", "train.epochs=1", "--device", "cpu"),
]


def test_a_published_model_trains_with_its_own_preset_and_is_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert rdmf("train", "--features", cache, "--model", "moment-detr", *PUBLISHED) == 0
    captured = capsys.readouterr()
    assert "settings: preset moment-detr, the model's published settings" in captured.out
    assert "training moment-detr on" in captured.err
    run = tmp_path / "runs" / "doors-moment-detr-0"
    saved = json.loads((run / "config.json").read_text())
    assert saved["preset"] == "moment-detr"
    assert saved["config"]["model"]["name"] == "moment-detr"
    assert (saved["config"]["train"]["lr"], saved["config"]["train"]["decay"]) == (1e-4, "all")
    assert rdmf("eval", run, "--split", "train") == 0
    printed = capsys.readouterr().out
    assert any(line.split("│")[1].strip() == "moment-detr" for line in printed.splitlines() if line.count("│") > 2)
    assert not any(line.split("│")[1].strip() == "rdmf" for line in printed.splitlines() if line.count("│") > 2)


def test_the_model_may_be_a_setting_and_a_preset_may_be_anothers(cache: Path, tmp_path: Path) -> None:
    by_setting, foreign = tmp_path / "setting", tmp_path / "foreign"
    options = ["--features", cache, "--quiet", *PUBLISHED]
    assert rdmf("train", *options, "--out", by_setting, "--set", "model.name=moment-detr") == 0
    assert rdmf("train", *options, "--out", foreign, "--preset", "qd-detr", "--model", "moment-detr") == 0
    saved = [json.loads((out / "config.json").read_text()) for out in (by_setting, foreign)]
    assert [s["preset"] for s in saved] == ["moment-detr", "qd-detr"]
    assert [s["config"]["model"]["name"] for s in saved] == ["moment-detr"] * 2


@pytest.mark.parametrize(
    ("preset", "model", "label"),
    [
        (None, "rdmf", "default"),
        ("charades", "rdmf", "charades"),
        ("qd-detr", "qd-detr", "qd-detr"),
        ("doors-qd-detr", "qd-detr", "qd-detr"),
        ("charades-qd-detr", "qd-detr", "charades-qd-detr"),
        ("charades", "qd-detr", "charades-qd-detr"),
        (None, "qd-detr", "default-qd-detr"),
    ],
)
def test_a_run_is_called_after_what_tells_it_from_others(preset: str | None, model: str, label: str) -> None:
    assert _label(preset, model, Path("features/doors.h5")) == label


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert rdmf("train", "--help") == 0
    printed = capsys.readouterr().out
    for option in (
        "--features",
        "--model",
        "--preset",
        "--config",
        "--set",
        "--seed",
        "--seeds",
        "--resume",
        "--out",
        "--list",
    ):
        assert option in printed


def test_features_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--features" in complaint(capsys)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("train.lerning_rate=1", None), ("train.lrr=1", "train.lr"), ("fusion.knid=literal", "fusion.kind")],
)
def test_an_unknown_setting_gets_the_nearest(
    written: str, meant: str | None, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = complaint(capsys, "--features", cache, "--out", tmp_path / "run", "--set", written)
    assert written.split("=")[0] in message
    assert meant is None or f"did you mean '{meant}'" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "train.lr=soon"], "train.lr"),
        (["--set", "fusion.feed=0.4"], "fusion.feed"),
        (["--seed", "99999999999999999999"], "--seed"),
        (["--set", "train.lr"], "name=value"),
        (["--set", "heads=2"], "decoder.heads"),
        (["--preset", "papr"], "did you mean 'paper'"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--model", "qddetr"], "did you mean 'qd-detr'"),
        (["--model", "qd-detr", "--set", "model.name=rdmf"], "differ"),
        (["--model", "qd-detr", "--set", "hidden=20"], "qd_detr.heads=8"),
        (["--seeds", "0"], "--seeds"),
        (["--seeds", "two"], "--seeds"),
        (["--set", "train_split=tarin"], "tarin"),
        (["--device", "abacus"], "abacus"),
        (["--sett", "lr=1"], "--sett"),
        (["extra"], "extra"),
    ],
)
def test_bad_options(
    options: list[str], says: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in complaint(capsys, "--features", cache, "--out", tmp_path / "run", *options)
    assert not (tmp_path / "run").exists()


def test_caches_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing, text, empty = tmp_path / "missing.h5", tmp_path / "text.h5", tmp_path / "empty.h5"
    text.write_text("these are not features\n" * 100)
    empty.write_bytes(b"")
    for path in (missing, text, empty, tmp_path):
        assert str(path) in complaint(capsys, "--features", path, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_truncated_cache(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = cache.read_bytes()
    for keep in (600, len(content) // 2, len(content) - 1):
        cut = tmp_path / f"cut-{keep}.h5"
        cut.write_bytes(content[:keep])
        assert cut.name in complaint(capsys, "--features", cut, "--out", tmp_path / "run")


def test_unknown_commands_get_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert rdmf("trian") == 2
    assert "did you mean 'rdmf train'" in capsys.readouterr().err
    assert rdmf("features", "inof") == 2
    assert "features info" in capsys.readouterr().err


def test_overview_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    from rdmf import __version__

    assert rdmf("--help") == rdmf() == 0
    printed = capsys.readouterr().out
    for command in ("extract", "train", "eval", "predict", "demo", "features verify"):
        assert command in printed
    assert rdmf("--version") == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("notes", "expected"), [({"recipe": "charades"}, "charades"), ({"dataset": "mine"}, None), ({}, None)]
)
def test_preset_follows_the_dataset(notes: dict[str, str], expected: str | None, tmp_path: Path) -> None:
    path = tmp_path / "cache.h5"
    write_cache(
        path,
        Provenance({"encoder": "none"}, {"encoder": "none"}, notes),
        [VideoRecord("v", np.ones((2, 3), np.float32), np.array([[0.0, 1.0], [1.0, 2.0]]), 2.0)],
        [TextRecord("a dog", np.ones((2, 4), np.float32))],
        [QueryRecord(1, "v", "a dog", "train", ((0.0, 1.0),))],
    )
    assert _preset_of(path, quiet=True) == expected
