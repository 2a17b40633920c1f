"""`rdmf predict`: the training's extractor, the answer in every form, and one line for everything that is wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rdmf.run import load_run
from rdmf.store import InputError, Provenance, QueryRecord, TextRecord, VideoRecord, write_cache
from rdmf.train import train
from rdmf_extract.encoders import registry
from rdmf_extract.pipeline import extraction_provenance
from rdmf_extract.sampling import Sampling
from rdmf_pipelines import prediction
from rdmf_pipelines.cli import main
from rdmf_pipelines.plots import figure_of
from rdmf_pipelines.prediction import Predictor, sparkline

MAX_WORDS = 30


class GreyEncoder:
    """Mean, minimum and maximum grey level of a row."""

    name, dim, source = "grey", 3, "here"
    sampling = Sampling(fps=2.0, window_seconds=1.0, stride_seconds=1.0, frames_per_window=2, resize=32, crop=32)

    def __init__(self, **settings: Any) -> None:
        self.provenance = {"encoder": self.name, "random_weights": False, **settings}

    def encode(self, frames: np.ndarray) -> np.ndarray:
        flat = frames.reshape(len(frames), -1) / 255.0
        return np.stack([flat.mean(axis=1), flat.min(axis=1), flat.max(axis=1)], axis=1).astype(np.float32)


class LettersEncoder:
    """Two numbers a word."""

    name, dim, max_tokens, source = "letters", 2, MAX_WORDS, "here"

    def __init__(self) -> None:
        self.provenance: dict[str, Any] = {"encoder": self.name}

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        if any(len(text.split()) > MAX_WORDS for text in texts):
            raise InputError(f"a sentence is longer than the {MAX_WORDS} tokens that {self.name} takes")
        return [np.array([[len(w) / 10, ord(w[0]) / 100] for w in text.split()], np.float32) for text in texts]


def write_video(path: Path, seconds: int, *, bright_from: int = 0, bright_to: int = 0) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for i in range(seconds * 8):
            level = 220 if bright_from <= i / 8 < bright_to else 30
            picture = np.full((48, 64, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_run(folder: Path, provenance: Provenance) -> Path:
    """A run trained for one epoch on random features of the encoders' sizes."""
    rng = np.random.default_rng(0)
    times = np.stack([np.arange(12.0), np.arange(12.0) + 1], axis=1)
    videos = [VideoRecord(f"v{i}", rng.random((12, 3)).astype(np.float32), times, 12.0) for i in range(4)]
    queries = [QueryRecord(i, f"v{i}", "a light", "train", windows=((2.0 + i, 6.0 + i),)) for i in range(4)]
    cache = folder / "cache.h5"
    texts = [TextRecord("a light", rng.random((2, 2)).astype(np.float32))]
    write_cache(cache, provenance, videos, texts, queries)
    small = {"model.hidden": 16, "train.epochs": 1, "data.holdout": 0.0, "train.device": "cpu"}
    return train(cache, folder / "run", overrides=small, quiet=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = extraction_provenance(GreyEncoder(), LettersEncoder(), decoder="pyav", notes={})
    return write_run(tmp_path_factory.mktemp("predict"), made)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "lamp.mp4", 9, bright_from=3, bright_to=6)


@pytest.fixture(autouse=True)
def _fake_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "encoders_from_provenance", lambda made, device: (GreyEncoder(), LettersEncoder()))


def rdmf(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that `rdmf predict` says of bad input."""
    assert rdmf("predict", *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def test_prints_moments_and_the_curve_and_writes_json_and_picture(
    trained: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, picture = tmp_path / "found.json", tmp_path / "found.png"
    code = rdmf("predict", video, "a light", "--checkpoint", trained, "--json", found, "--plot", picture, "--top-k", 3)
    said = capsys.readouterr().out
    assert code == 0
    answer = json.loads(found.read_text(encoding="utf-8"))
    assert answer["query"] == "a light"
    assert answer["fingerprint"] == load_run(trained).fingerprint
    assert answer["duration"] == pytest.approx(9.0)
    assert np.shape(answer["times"]) == (9, 2)
    assert len(answer["saliency"]) == 9
    assert 1 <= len(answer["moments"]) <= 3
    for start, end, _ in answer["pred_relevant_windows"]:
        assert 0 <= start < end <= 9.0 + 1e-6
        assert f"{start:.1f} - {end:.1f}" in said
    assert "saliency" in said
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_json_to_standard_output_is_nothing_but_json(
    trained: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rdmf("predict", video, "a light", "--checkpoint", trained, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["vid"] == "lamp"


def test_answers_as_the_model_does_on_features_stored_in_a_cache(trained: Path, video: Path) -> None:
    from rdmf_extract.pipeline import extract_one

    run = load_run(trained)
    answer = Predictor(run, device="cpu")(video, "a light", top_k=4)
    record = extract_one(video, GreyEncoder(), decoder="pyav")
    tokens = LettersEncoder().encode(["a light"])[0]
    direct = run.predict_features(
        record.features.astype(np.float16), record.times, record.duration, tokens.astype(np.float16), top_k=4
    )
    assert [list(m) for m in answer.moments] == direct["pred_relevant_windows"]
    assert answer.saliency.tolist() == direct["saliency"]


def test_saliency_whose_height_means_nothing_is_drawn_from_its_least_to_its_most(
    trained: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(load_run(trained), device="cpu")
    assert predictor(video, "a light").scale == (0, 1)
    monkeypatch.setattr(type(predictor.run.model), "saliency_has_zero", False)
    answer = predictor(video, "a light")
    assert answer.scale == (answer.saliency.min(), answer.saliency.max())
    curve = figure_of(answer).axes[-2]
    assert curve.get_ylim()[0] == answer.scale[0] < answer.scale[1] < curve.get_ylim()[1]
    assert [label.get_text() for label in curve.get_yticklabels()] == ["least", "most"]


def test_a_video_far_longer_or_shorter_than_those_trained_on(trained: Path, tmp_path: Path) -> None:
    predictor = Predictor(load_run(trained), device="cpu")
    long = predictor(write_video(tmp_path / "long.mp4", 120), "a light")
    assert (len(long.saliency), long.duration) == (120, pytest.approx(120.0))
    short = predictor(write_video(tmp_path / "short.mp4", 1), "a light")
    assert len(short.saliency) == 1


def test_another_extractor_is_refused_by_field_and_allowed_on_request(
    trained: Path, video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = GreyEncoder(mean=0.5)
    monkeypatch.setattr(registry, "encoders_from_provenance", lambda made, device: (other, LettersEncoder()))
    said = refused(capsys, video, "a light", "--checkpoint", trained)
    assert "video.mean" in said
    assert "--allow-mismatch" in said
    assert rdmf("predict", video, "a light", "--checkpoint", trained, "--allow-mismatch") == 0
    assert "WARNING" in (err := capsys.readouterr().err)
    assert "video.mean" in err


def test_an_encoder_of_another_width_is_refused_even_then(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = GreyEncoder()
    wide.dim = 4
    monkeypatch.setattr(registry, "encoders_from_provenance", lambda made, device: (wide, LettersEncoder()))
    with pytest.raises(InputError, match="features of 3 and 2 numbers"):
        Predictor(load_run(trained), device="cpu", allow_mismatch=True)


def test_where_the_extractor_cannot_be_rebuilt_its_nearest_is_used_only_on_request(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(made: Provenance, device: str) -> Any:
        raise InputError("other weights here")

    asked: dict[str, Any] = {}

    def build(name: str, **settings: Any) -> GreyEncoder:
        asked.update(settings, name=name)
        return GreyEncoder(weights="other")

    monkeypatch.setattr(registry, "encoders_from_provenance", lost)
    monkeypatch.setattr(registry, "build_video_encoder", build)
    monkeypatch.setattr(registry, "build_text_encoder", lambda name, **_: LettersEncoder())
    with pytest.raises(InputError, match="other weights here"):
        Predictor(load_run(trained), device="cpu")
    predictor = Predictor(load_run(trained), device="cpu", allow_mismatch=True)
    assert len(predictor.mismatch) == 1
    assert "video.weights" in predictor.mismatch[0]
    assert (asked["name"], asked["window"], asked["resolution"]) == ("grey", 1.0, 32)
    assert asked["precision"] == "float32"


def test_the_nearest_encoder_computes_as_recorded_where_the_device_can() -> None:
    assert prediction._nearest_precision({"precision": "bfloat16"}, "cpu") == "bfloat16"
    assert prediction._nearest_precision({"precision": "float16"}, "cpu") == "auto"


def test_a_run_on_imported_features_says_why_it_cannot_predict(
    trained: Path, video: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rdmf import run as runs

    loaded = load_run(trained)
    imported = dataclasses.replace(loaded, provenance=Provenance({"encoder": "import"}, loaded.provenance.text))
    monkeypatch.setattr(runs, "load_run", lambda path: imported)
    assert "imported" in refused(capsys, video, "a light", "--checkpoint", trained)


@pytest.mark.parametrize("sentence", ["", "   ", "\n"])
def test_an_empty_sentence(trained: Path, video: Path, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "sentence is empty" in refused(capsys, video, sentence, "--checkpoint", trained)


def test_a_sentence_of_ten_thousand_words(trained: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "longer than" in refused(capsys, video, "word " * 10_000, "--checkpoint", trained)


def test_files_that_are_no_videos(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such video" in refused(capsys, tmp_path / "gone.mp4", "a light", "--checkpoint", trained)
    assert "not a file" in refused(capsys, tmp_path, "a light", "--checkpoint", trained)
    for name, content in {"empty.mp4": b"", "words.mp4": b"these are words" * 99}.items():
        (tmp_path / name).write_bytes(content)
        assert name in refused(capsys, tmp_path / name, "a light", "--checkpoint", trained)


def test_a_video_of_no_frames(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import av

    path = tmp_path / "none.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    assert "none.mkv" in refused(capsys, path, "a light", "--checkpoint", trained)


def test_runs_that_are_none(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no run at" in refused(capsys, video, "a light", "--checkpoint", tmp_path / "gone")
    assert "config.json" in refused(capsys, video, "a light", "--checkpoint", tmp_path)


def test_outputs_that_cannot_be_written(
    trained: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = (video, "a light", "--checkpoint", trained)
    assert ".docx" in refused(capsys, *ask, "--plot", tmp_path / "p.docx")
    assert "directory" in refused(capsys, *ask, "--plot", tmp_path)
    assert "directory" in refused(capsys, *ask, "--json", tmp_path)
    before = video.read_bytes()
    assert "is the video" in refused(capsys, *ask, "--json", video)
    picture = video.with_suffix(".png")
    picture.symlink_to(video)
    assert "is the video" in refused(capsys, *ask, "--plot", picture)
    assert "is the picture" in refused(capsys, *ask, "--json", tmp_path / "x.png", "--plot", tmp_path / "x.png")
    assert video.read_bytes() == before
    picture.unlink()


def test_sparkline_shows_peaks_however_many_rows_there_are() -> None:
    assert sparkline(np.array([0.0, 0.5, 1.0])) == "▁▅█"
    assert sparkline(np.array([0.012, 0.014, 0.016]), scale=(0.012, 0.016)) == "▁▅█"
    many = np.zeros(5000)
    many[2500] = 1.0
    line = sparkline(many, columns=50)
    assert len(line) == 50
    assert line.count("█") == 1
    assert line.index("█") == 25
