"""`rdmf analyze`: a page, figures and pictures of settings, of a run, of a video in its cache and of any file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rdmf.config import Config
from rdmf.model import build_model
from rdmf.run import load_run, run_header
from rdmf.store import Provenance, QueryRecord, TextRecord, VideoRecord, open_cache, write_cache
from rdmf.train.checkpoint import save_weights, write_json
from rdmf_extract.encoders import registry
from rdmf_pipelines.analysis import style
from rdmf_pipelines.analysis.scene import find
from rdmf_pipelines.cli import main

D_VIDEO, D_TEXT = 3, 2
SMALL: dict[str, Any] = {
    "model.hidden": 16,
    "fusion.scales": 2,
    "fusion.steps": 3,
    "decoder.layers": 1,
    "train.device": "cpu",
    "data.pool": 2,
}
PNG = b"\x89PNG"
PICTURES = {"phase_plane.png", "growth_rate.png", "kinetics.png"}


def make_cache(path: Path, encoder: str = "made-up") -> Path:
    rng = np.random.default_rng(0)
    videos = []
    for i, length in enumerate((12, 17, 9)):
        times = np.stack((np.arange(length) * 2.0, np.arange(length) * 2.0 + 2), 1)
        videos.append(VideoRecord(f"v{i}", rng.random((length, D_VIDEO)).astype(np.float32), times, 2.0 * length))
    queries = [
        QueryRecord(0, "v0", "a dog jumps", "train", windows=((2.0, 6.0),)),
        QueryRecord(7, "v1", "a dog jumps", "val", windows=((4.0, 9.0), (20.0, 26.0))),
        QueryRecord("eight", "v1", "it rains", "val", windows=((0.0, 8.0),)),
        QueryRecord(9, "gone", "it rains", "val", windows=((0.0, 8.0),)),
    ]
    texts = [
        TextRecord(t, rng.random((n, D_TEXT)).astype(np.float32)) for t, n in (("a dog jumps", 3), ("it rains", 2))
    ]
    made = Provenance({"encoder": encoder}, {"encoder": encoder})
    return write_cache(path, made, videos, texts, queries, feature_dtype="float32")


def make_run(folder: Path, cache: Path, **overrides: Any) -> Path:
    """A run directory with fresh weights: analysis does not ask whether they are good."""
    torch.manual_seed(0)
    config = Config().updated({**SMALL, **overrides})
    with open_cache(cache) as opened:
        write_json(folder / "config.json", run_header(config, opened, cache, preset=None, seed=0))
    save_weights(folder / "best.safetensors", build_model(config, D_VIDEO, D_TEXT).state_dict(), {})
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analyze")
    cache = make_cache(folder / "cache.h5")
    make_run(folder / "run", cache)
    make_run(folder / "literal", cache, **{"fusion.kind": "literal", "fusion.integrator": "euler"})
    make_run(folder / "no-reaction", cache, **{"fusion.kind": "cross-attention"})
    make_run(folder / "rival", cache, **{"model.name": "moment-detr", "moment_detr.heads": 4})
    lost = make_cache(folder / "lost.h5")
    make_run(folder / "moved", lost)
    lost.unlink()
    make_cache(folder / "other.h5", "another")
    (folder / "notes.txt").write_text("nothing")
    return folder


@pytest.fixture(autouse=True)
def standing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(style, "DOTS_PER_INCH", 25)  # most of a command's seconds are dots


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture is nothing but a PNG's signature, for tests of what a page says."""
    monkeypatch.setattr(style, "save", lambda _, path: path.write_bytes(PNG))


def rdmf(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["analyze", *(str(argument) for argument in arguments)])
    return int(stopped.value.code or 0)


def written(out: Path) -> dict[str, Any]:
    """analysis.json, once the page and its pictures are known to be whole."""
    page = (out / "analysis.md").read_text(encoding="utf-8")
    for picture in out.glob("*.png"):
        assert picture.read_bytes().startswith(PNG)
        assert f"]({picture.name})" in page
    assert not list(out.glob(".*"))
    values: dict[str, Any] = json.loads((out / "analysis.json").read_text(encoding="utf-8"))
    assert all(line in page for line in values["words"])
    return values


def test_without_a_run_it_is_the_papers_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rdmf("--out", tmp_path / "a") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "preset paper" in said
    assert "block 1 0.0400 0.0600 0.5000 on the fold on the fold" in said
    assert "It is not stable" in said
    values = written(tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").iterdir()} == PICTURES | {"analysis.json", "analysis.md"}
    assert values["blocks"][0]["middle"]["states"]["upper"]["stable"] is False
    assert values["clips"] == 75


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_pictures_of_kinetics_without_a_state_warn_of_nothing(tmp_path: Path) -> None:
    assert rdmf("--set", "fusion.kill=0.2", "--out", tmp_path / "a") == 0
    assert {path.name for path in (tmp_path / "a").glob("*.png")} >= {"phase_plane.png"}


@pytest.mark.usefixtures("undrawn")
def test_settings_can_be_changed_and_read_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "mine.yaml"
    settings.write_text("fusion: {kinetics: stable, feed: 0.03, kill: 0.04}\n")
    assert rdmf("--config", settings, "--set", "fusion.scales=1", "--clips", 12, "--out", tmp_path / "b") == 0
    values = written(tmp_path / "b")
    assert values["clips"] == 12
    assert values["blocks"][0]["shares"]["system"] == {"bistable": 1.0}
    assert values["blocks"][0]["coefficients"]["F"]["50%"] == pytest.approx(0.03, abs=1e-5)
    assert "by construction" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_a_run_tells_its_kinetics_for_every_sentence(tmp_path: Path) -> None:
    assert rdmf("run", "--out", tmp_path / "c") == 0
    values = written(tmp_path / "c")
    assert (values["split"], values["sentences"], values["queried"]) == ("val", 2, True)
    assert values["clips"] == 9  # the median video of the split, two rows a clip
    block = values["blocks"][1]
    assert (block["name"], block["channels"]) == ("block 2", 16)
    assert {q["sentence"] for q in block["by_query"]} == {"a dog jumps", "it rains"}
    page = (tmp_path / "c" / "analysis.md").read_text(encoding="utf-8")
    assert "Sentences at the ends of the distribution" in page
    assert "it rains" in page


@pytest.mark.usefixtures("undrawn")
def test_with_cuts_the_page_says_whose_waves_it_means(tmp_path: Path) -> None:
    for cuts in ("0", "0.3"):
        assert rdmf("--set", f"model.cuts={cuts}", "--out", tmp_path / cuts) == 0
        assert ("those of a stretch without cuts" in (tmp_path / cuts / "analysis.md").read_text()) == (cuts != "0")
        assert written(tmp_path / cuts)["cuts"] == (cuts != "0")


@pytest.mark.usefixtures("undrawn")
def test_where_the_page_goes_by_itself(place: Path) -> None:
    assert rdmf("literal/best.safetensors", "--split", "train") == 0
    values = written(place / "literal" / "analysis")
    assert values["blocks"][0]["uniform"]
    assert not values["driven_by_queries"]


@pytest.mark.long
def test_a_video_of_the_cache_is_drawn_as_the_run_sees_it(tmp_path: Path) -> None:
    assert rdmf("run", "--vid", "v1", "--query", "It  rains", "--out", tmp_path / "d") == 0
    values = written(tmp_path / "d")
    assert (tmp_path / "d" / "spacetime.png").exists()
    seen = values["space_time"]
    assert (seen["video"], seen["query"], seen["relevant_windows"]) == ("v1", "it rains", [[0.0, 8.0]])
    assert seen["clips"] == values["clips"] == 9
    assert len(seen["blocks"][0]["activator_mean"]) == 4
    run = load_run("run")
    with open_cache("cache.h5") as cache:
        rows, times = cache.video("v1")
        expected = run.predict_features(rows, times, 34.0, cache.text(1), device="cpu")["pred_relevant_windows"]
    assert seen["pred_relevant_windows"] == expected


def test_what_names_a_query(place: Path) -> None:
    with open_cache(place / "cache.h5") as cache:
        assert find(cache, None, "v1", None).text == 0
        assert find(cache, None, "v1", "eight").text == 1
        assert find(cache, None, "v1", "7").truth == [[4.0, 9.0], [20.0, 26.0]]
        assert find(cache, "val", None, "a dog jumps").video == 1
        assert find(cache, "train", None, "a dog jumps").video == 0
        # A sentence that was asked about other videos only: no truth is known.
        assert find(cache, None, "v0", "it rains").truth is None


class Grey:
    """Stands in for the encoders of a training."""

    name, dim, source, max_tokens = "grey", D_VIDEO, "here", 9

    def __init__(self) -> None:
        from rdmf_extract.sampling import Sampling

        self.sampling = Sampling(2.0, 1.0, 1.0, 2, 32, 32)
        self.provenance: dict[str, Any] = {"encoder": self.name}

    def encode(self, given: Any) -> Any:
        if isinstance(given, Sequence):
            return [np.ones((len(text.split()), D_TEXT), np.float32) for text in given]
        flat = given.reshape(len(given), -1) / 255.0
        return np.stack([flat.mean(1), flat.min(1), flat.max(1)], 1).astype(np.float32)


class Words(Grey):
    name, dim = "words", D_TEXT


def test_any_video_file_is_drawn_with_its_frames(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    from rdmf_extract.pipeline import extraction_provenance

    monkeypatch.setattr(registry, "encoders_from_provenance", lambda made, device: (Grey(), Words()))
    film = tmp_path / "film.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(56):
            picture = np.full((48, 64, 3), 4 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    made = extraction_provenance(Grey(), Words(), decoder="pyav", notes={})
    run = make_run(tmp_path / "run", place / "cache.h5")
    config = json.loads((run / "config.json").read_text())
    config["provenance"] = {"video": made.video, "text": made.text, "notes": {}}
    config["features"] = "nowhere.h5"
    (run / "config.json").write_text(json.dumps(config))
    assert rdmf(run, "--video", film, "--query", "it rains", "--out", tmp_path / "e") == 0
    values = written(tmp_path / "e")
    assert values["space_time"]["video"] == "film.mp4"
    assert values["space_time"]["relevant_windows"] is None
    assert values["space_time"]["clips"] == values["clips"] == 4  # seven seconds, two rows a clip
    assert (tmp_path / "e" / "spacetime.png").stat().st_size > 10_000


@pytest.mark.usefixtures("undrawn")
def test_without_reaction_only_temporal_diffusion_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rdmf("no-reaction", "--vid", "v0", "--out", tmp_path / "f") == 0
    values = written(tmp_path / "f")
    assert values["blocks"] == []
    assert {path.name for path in (tmp_path / "f").glob("*.png")} == {"growth_rate.png", "spacetime.png"}
    assert "There is no reaction" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_a_run_whose_cache_is_gone_is_analysed_without_queries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rdmf("moved", "--out", tmp_path / "g") == 0
    assert "--features" in capsys.readouterr().err
    assert not written(tmp_path / "g")["queried"]
    assert rdmf("moved", "--features", "cache.h5", "--out", tmp_path / "h") == 0
    assert written(tmp_path / "h")["queried"]


@pytest.mark.parametrize(
    ("line", "tells"),
    [
        ("rival", "moment-detr has no reaction and no diffusion to analyse"),
        ("--set model.name=univtg", "univtg has no reaction"),
        ("nowhere", "no run at nowhere"),
        ("notes.txt", "notes.txt"),
        ("run --preset paper", "a run has its own settings"),
        ("run --set fusion.steps=2", "a run has its own settings"),
        ("--features cache.h5", "needs trained weights"),
        ("--vid v1", "needs trained weights"),
        ("--preset papr", "did you mean 'paper'?"),
        ("--set fusion.kinetics=steady", "choose one of free, stable, turing"),
        ("--set fusion.kinetics=turing", "set fusion.order=none"),
        ("--clips 1", "--clips"),
        ("run --out notes.txt", "notes.txt: is a file"),
        ("run --out notes.txt/deep", "notes.txt"),
        ("run --split tset", "no split 'tset'"),
        ("run --features nowhere.h5", "no feature cache at nowhere.h5"),
        ("run --features other.h5", "extracted otherwise"),
        ("moved --vid v1", "say where with --features"),
        ("run --vid v9", "no video of that name; it has 'v0', 'v1', 'v2'"),
        ("run --vid v1 --query birds", "'a dog jumps', 'it rains'"),
        ("run --query birds", "no such query"),
        ("run --vid v2", "nothing was asked about video 'v2'"),
        ("run --video nowhere.mp4 --query birds", "no such video file"),
        ("run --video notes.txt", "say what to look for"),
        ("run --device gpu", "device 'gpu' is unknown"),
    ],
)
def test_bad_input_is_one_line(line: str, tells: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(place.rglob("*"))
    assert rdmf(*line.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert tells in said
    assert sorted(place.rglob("*")) == before
