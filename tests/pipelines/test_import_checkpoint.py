"""`rdmf import-checkpoint`: authors' files in, runs out, or one line that says what is wrong with them."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_models import Golden, error, fill, load_golden
from torch import Tensor

from rdmf.baselines.authors import read_checkpoint, settings_of
from rdmf.baselines.names import NAMES, load_authors
from rdmf.baselines.univtg import Network
from rdmf.config import load_config
from rdmf.run import load_run
from rdmf.store import Provenance, QueryRecord, TextRecord, VideoRecord, open_cache, write_cache
from rdmf.train.data import Split
from rdmf_pipelines.cli import main

HIDDEN, VIDEO, TEXT, LAYERS, INNER = 16, 3, 2, 2, 24
OPTIONS = {"nheads": 4, "dropout": 0.0, "droppath": 0.2, "b_loss_coef": 7, "grad_clip": -1, "nms_thd": -1, "seed": 5}


def tiny_state() -> dict[str, Tensor]:
    """A small UniVTG as its authors' code would save it."""
    shapes: dict[str, list[int]] = {
        "txt_position_embed.position_embeddings.weight": [75, HIDDEN],
        "txt_position_embed.LayerNorm.weight": [HIDDEN],
        "txt_position_embed.LayerNorm.bias": [HIDDEN],
        "token_type_embeddings.weight": [2, HIDDEN],
        "weightedpool.weight": [HIDDEN, 1],
    }
    for i in range(LAYERS):
        layer = f"transformer.encoder.layers.{i}"
        shapes |= {
            f"{layer}.self_attn.in_proj_weight": [3 * HIDDEN, HIDDEN],
            f"{layer}.self_attn.in_proj_bias": [3 * HIDDEN],
            f"{layer}.self_attn.out_proj.weight": [HIDDEN, HIDDEN],
            f"{layer}.self_attn.out_proj.bias": [HIDDEN],
            f"{layer}.linear1.weight": [INNER, HIDDEN],
            f"{layer}.linear1.bias": [INNER],
            f"{layer}.linear2.weight": [HIDDEN, INNER],
            f"{layer}.linear2.bias": [HIDDEN],
        }
        shapes |= {f"{layer}.norm{n}.{part}": [HIDDEN] for n in (1, 2) for part in ("weight", "bias")}
    for head, outputs in (("span_embed", 2), ("class_embed", 1)):
        for i, out in enumerate((HIDDEN, HIDDEN, outputs)):
            shapes |= {f"{head}.layers.{i}.weight": [out, HIDDEN, 3], f"{head}.layers.{i}.bias": [out]}
    for part, width in (("vid", VIDEO + 2), ("txt", TEXT)):
        for i, size in enumerate((width, HIDDEN)):
            name = f"input_{part}_proj.{i}"
            shapes |= {f"{name}.LayerNorm.weight": [size], f"{name}.LayerNorm.bias": [size]}
            shapes |= {f"{name}.net.1.weight": [HIDDEN, size], f"{name}.net.1.bias": [HIDDEN]}
    return {name: fill(name, shape, norm=name.endswith("norm.weight")) for name, shape in shapes.items()}


def save(path: Path, state: Any, **options: Any) -> None:
    """As the authors' trainers save: weights, options, and the rest of the training's state."""
    held = {"model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]}, "epoch": 3}
    torch.save({**held, "opt": argparse.Namespace(**{**OPTIONS, "device": torch.device("cuda"), **options})}, path)


def tiny_cache(path: Path, *, video: int = VIDEO, text: int = TEXT) -> Path:
    rng = np.random.default_rng(0)
    times = np.stack([np.arange(12.0), np.arange(12.0) + 1], axis=1)
    videos = [VideoRecord(f"v{i}", rng.random((12, video)).astype(np.float32), times, 12.0) for i in range(3)]
    queries = [QueryRecord(i, f"v{i}", "a light", ("train", "val")[i > 0], windows=((2.0, 6.0),)) for i in range(3)]
    texts = [TextRecord("a light", rng.random((2, text)).astype(np.float32))]
    made = Provenance(video={"encoder": "colours", "dim": video}, text={"encoder": "words", "dim": text})
    return write_cache(path, made, videos, texts, queries, feature_dtype="float32")


class Harmful:
    """Whatever may not be made from a file."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch harmed",)


class Strange(dict[str, Any]):
    """Options in a class of their own, harmless as far as one can tell without making one."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    tiny_cache(folder / "cache.h5")
    tiny_cache(folder / "wide.h5", video=9)
    state = tiny_state()
    save(folder / "good.ckpt", state)
    save(folder / "parallel.ckpt", {f"module.{name}": value for name, value in state.items()})
    torch.save(state, folder / "bare.pt")
    some = "span_embed.layers.1.bias"
    save(folder / "less.ckpt", {name: value for name, value in state.items() if name != some})
    save(folder / "more.ckpt", {**state, "another.weight": torch.ones(2)})
    save(folder / "odd.ckpt", {**state, some: torch.ones(HIDDEN + 1)})
    save(folder / "foreign.ckpt", {"conv1.weight": torch.ones(2, 2)})
    save(folder / "empty.ckpt", {})
    save(folder / "words.ckpt", {"model": "none"})
    save(folder / "heads.ckpt", state, nheads=3)
    save(folder / "placed.ckpt", state, use_txt_pos=True)
    save(folder / "half-normed.ckpt", state, no_norm_vfeat=True)
    torch.save({"model": state, "opt": Harmful()}, folder / "harmful.ckpt")
    torch.save({"model": state, "opt": Strange()}, folder / "strange.ckpt")
    torch.save([1, 2], folder / "list.ckpt")
    content = (folder / "good.ckpt").read_bytes()
    (folder / "cut.ckpt").write_bytes(content[: len(content) // 2])
    (folder / "notes.txt").write_text("no weights at all\n" * 50)
    (folder / "blank.ckpt").write_bytes(b"")
    (folder / "folder").mkdir()
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


GOOD = "good.ckpt --model univtg --features cache.h5 --out run"

#: command line -> what its one line must tell.
CASES = {
    "nowhere.ckpt --model univtg --features cache.h5 --out run": "nowhere.ckpt: no such file",
    "folder --model univtg --features cache.h5 --out run": "folder: is a directory",
    **{
        f"{name} --model univtg --features cache.h5 --out run": tells
        for name, tells in {
            "notes.txt": "notes.txt: not a PyTorch checkpoint",
            "blank.ckpt": "blank.ckpt: not a PyTorch checkpoint",
            "cut.ckpt": "cut.ckpt: not a PyTorch checkpoint",
            "cache.h5": "cache.h5: not a PyTorch checkpoint",
            "harmful.ckpt": "harmful.ckpt: holds a posix.system, and reading that could run any code",
            "strange.ckpt": "strange.ckpt: holds a test_import_checkpoint.Strange, and reading that could run any code",
            "list.ckpt": "list.ckpt: no weights in it",
            "empty.ckpt": "empty.ckpt: no weights in it",
            "words.ckpt": "words.ckpt: no weights in it",
            "foreign.ckpt": "foreign.ckpt: not a univtg model; it has a parameter 'conv1.weight'",
            "more.ckpt": "more.ckpt: not a univtg model; it has a parameter 'another.weight'",
            "less.ckpt": "less.ckpt: not a univtg model: 'reach.layers.1.bias' is missing, of 1 in all",
            "odd.ckpt": "'reach.layers.1.bias' is (17,) there and (16,) here, as are 1 in all",
            "heads.ckpt": "heads.ckpt: model.hidden=16 is not divisible by univtg.heads=3",
            "placed.ckpt": "placed.ckpt: trained with use_txt_pos=True; here is only use_txt_pos=False",
            "half-normed.ckpt": "half-normed.ckpt: trained on features of which only one kind was normalised",
        }.items()
    },
    GOOD.replace("univtg", "qd-detr"): "good.ckpt: not a qd-detr model; it is a univtg model: --model univtg",
    GOOD.replace("univtg", "uni-vtg"): "--model uni-vtg: unknown; there are cg-detr, moment-detr, qd-detr, univtg",
    GOOD.replace("univtg", "rdmf"): "--model rdmf: unknown",
    GOOD.replace("cache.h5", "wide.h5"): "takes 3-d video and 2-d text features, wide.h5 has 9 and 2",
    GOOD.replace("cache.h5", "nowhere.h5"): "no feature cache at nowhere.h5",
    GOOD.replace("--out run", "--out folder"): "folder exists; choose another --out",
    GOOD.replace("--out run", "--out notes.txt"): "notes.txt exists",
    GOOD.replace("--out run", "--out notes.txt/run"): "cannot write the run directory notes.txt/run",
    "good.ckpt": "--model",
}


@pytest.mark.parametrize("line", CASES, ids=str)
def test_one_line_exit_code_2_and_nothing_touched(
    line: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    before = contents(place)
    with pytest.raises(SystemExit) as stop:
        main(["import-checkpoint", *line.split()])
    said = capsys.readouterr().err
    assert stop.value.code == 2, said
    assert said.startswith("error: "), said
    assert said.count("\n") == 1, said
    assert CASES[line] in said
    assert len(said) < 600
    assert contents(place) == before


def run_command(*words: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert stop.value.code == 0


@pytest.mark.parametrize("name", ["good.ckpt", "parallel.ckpt", "bare.pt"])
def test_a_run_that_evaluates_and_predicts(
    name: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "bare.pt":  # no options in it: the preset's eight heads
        monkeypatch.setitem(OPTIONS, "nheads", 8)
    features = place / "cache.h5"
    run_command("import-checkpoint", place / name, "--model", "univtg", "--features", features, "--out", "runs/theirs")
    assert "rdmf eval runs/theirs" in capsys.readouterr().out
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    files = ("best.safetensors", "config.json", "last.safetensors", "summary.json")
    assert written == {f"runs/theirs/{file}" for file in files}

    run = load_run("runs/theirs")
    network = Network(run.config, VIDEO + 2, TEXT).eval()
    assert (run.config.univtg.encoder_layers, run.config.univtg.feedforward) == (LAYERS, INNER)
    assert run.config.univtg.heads == OPTIONS["nheads"]
    load_authors(network, tiny_state(), "univtg")
    ours = run.model.state_dict()
    assert all(value.equal(ours[f"network.{key}"]) for key, value in network.state_dict().items())

    run_command("eval", "runs/theirs", "--device", "cpu", "--json", "scores.json")
    assert 0 <= json.loads(Path("scores.json").read_text())["metrics"]["R1@0.5"] <= 100
    found = run.predict_features(
        np.random.default_rng(0).random((12, VIDEO)),
        np.stack([np.arange(12.0), np.arange(12.0) + 1], axis=1),
        12.0,
        np.ones((2, TEXT)),
        device="cpu",
    )
    assert found["pred_relevant_windows"]


def test_options_become_settings(place: Path) -> None:
    checkpoint = read_checkpoint(place / "good.ckpt")
    assert checkpoint.epochs == 4
    config = settings_of(checkpoint, "univtg")
    assert (config.univtg.heads, config.univtg.drop_path, config.univtg.boundary) == (4, 0.2, 7.0)
    assert (config.score.nms, config.train.clip_norm) == (1.0, 0.0)  # theirs: -1 for none


# With the authors' names and the reference outputs.

FIXTURES = {"moment-detr": "moment_detr", "qd-detr": "qd_detr", "cg-detr": "cg_detr", "univtg": "univtg_h256"}


@pytest.fixture(scope="module", params=FIXTURES)
def golden(request: pytest.FixtureRequest, shared: Path) -> tuple[str, Golden]:
    return request.param, load_golden(shared, FIXTURES[request.param])


@pytest.mark.shared
def test_rules_are_known_for_every_model() -> None:
    assert set(FIXTURES) == set(NAMES)


@pytest.mark.shared
def test_presets_are_what_the_authors_trained_with(golden: tuple[str, Golden], tmp_path: Path) -> None:
    model, reference = golden
    save(tmp_path / "their.ckpt", reference.state(), **reference.options)
    config = settings_of(read_checkpoint(tmp_path / "their.ckpt"), model)
    # The fixture of UniVTG is of half the published run's width and its script's options.
    assert config == load_config(model, None, {"model.hidden": 256})


@pytest.mark.shared
def test_round_trip_to_the_reference_outputs(golden: tuple[str, Golden], tmp_path: Path) -> None:
    """The authors' names and weights through the command, their inputs through a cache: their saliency comes out."""
    model, reference = golden
    save(tmp_path / "their.ckpt", reference.state(), **reference.options)
    features = golden_cache(tmp_path / "theirs.h5", reference)
    run_command(
        *("import-checkpoint", tmp_path / "their.ckpt", "--model", model),
        *("--features", features, "--out", tmp_path / "run"),
    )
    run = load_run(tmp_path / "run")
    with open_cache(features) as cache:
        split = Split.load(cache, cache.select("val"), device=torch.device("cpu"))
    batch, _ = split.batch(torch.arange(3))
    with torch.no_grad():
        output = run.model(batch)
    saliency = output.answers.similarity if model == "univtg" else output.saliency
    wanted = reference.arrays["out/saliency_scores"]
    assert error(torch.where(batch.video_mask, saliency, 0), torch.where(batch.video_mask, wanted, 0)) < 1e-4
    spans = run.model.candidates(output)[0]
    if model == "univtg":
        return
    assert error(spans, reference.arrays["out/pred_spans"]) < 1e-4


def golden_cache(path: Path, reference: Golden) -> Path:
    """The reference inputs, which are of unit length stream by stream, as a cache; clips of 2 s."""
    videos, queries, texts = [], [], []
    for i in range(3):
        video, _, text, _ = reference.network_inputs(i)
        starts = 2.0 * np.arange(video.shape[1])
        times = np.stack((starts, starts + 2), 1)
        videos.append(VideoRecord(f"v{i}", video[0, :, :-2].numpy(), times, float(times[-1, 1])))
        texts.append(TextRecord(f"query {i}", text[0].numpy()))
        queries.append(QueryRecord(i, f"v{i}", f"query {i}", "val", windows=((0.0, 2.0),)))
    dims = {"video": videos[0].features.shape[1], "text": texts[0].features.shape[1]}
    made = {part: {"encoder": "imported", "dim": dim, "normalize": "l2"} for part, dim in dims.items()}
    return write_cache(path, Provenance(**made), videos, texts, queries, feature_dtype="float32")
