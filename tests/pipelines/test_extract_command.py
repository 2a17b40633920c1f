"""`rdmf extract`: from files on disk to the cache, the table, the failures and the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from rdmf.store import open_cache
from rdmf.store.errors import InputError
from rdmf_extract.encoders.precision import recorded
from rdmf_extract.sampling import Sampling
from rdmf_pipelines.commands.extract import extract

APP = typer.Typer()
APP.command()(extract)


class MeanColour:
    """Stands in for a video network: the mean colour of a window of two frames."""

    name, dim, source, device = "mean-colour", 3, "test", "cpu"

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        stride = settings["stride"] or 1.0
        self.sampling = Sampling(2.0, 1.0, stride, frames_per_window=2, resize=32, crop=32)
        self.provenance: dict[str, Any] = {"encoder": self.name, "random_weights": settings["weights"] == "random"}

    def encode(self, frames: np.ndarray) -> np.ndarray:
        return frames.mean(axis=(1, 2, 3), dtype=np.float32) / 255  # (B, T, H, W, 3) -> (B, 3)


class Letters:
    """Stands in for a language model."""

    name, dim, max_tokens, source = "letters", 2, 8, "test"

    def __init__(self) -> None:
        self.provenance: dict[str, Any] = {"encoder": self.name}

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array([[len(text), ord(text[0])]], np.float32) for text in texts]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[MeanColour]:
    """Replaces the encoders' registry; lists the video encoders that were built."""
    made: list[MeanColour] = []

    def build_video_encoder(name: str, **settings: Any) -> MeanColour:
        made.append(MeanColour({"name": name, **settings}))
        return made[-1]

    monkeypatch.setattr("rdmf_extract.encoders.registry.build_video_encoder", build_video_encoder)
    monkeypatch.setattr("rdmf_extract.encoders.registry.build_text_encoder", lambda name, **_: Letters())
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a red and a blue video of 3 s, a broken one, and a manifest that also wants a fourth."""
    (tmp_path / "clips").mkdir()
    render(tmp_path / "clips/red.mp4", (255, 0, 0))
    render(tmp_path / "clips/blue.mp4", (0, 0, 255))
    (tmp_path / "clips/broken.mp4").write_bytes(b"this is no video" * 100)
    rows = [{"vid": vid, "query": f"a {vid} wall", "duration": 3} for vid in ("red", "blue", "broken", "gone")]
    rows[1]["duration"] = 60
    (tmp_path / "mine_train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "fine_val.jsonl").write_text(json.dumps({**rows[0], "start": 0.5, "end": 2.0, "type": "scene"}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def render(path: Path, colour: tuple[int, int, int]) -> None:
    """30 frames at 10 per second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), colour, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def run(*arguments: str) -> Result:
    return CliRunner().invoke(APP, [*arguments, "--workers=1"])


def refused(*arguments: str) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, InputError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_one_good_manifest(folder: Path, built: list[MeanColour]) -> None:
    result = run("--manifest=fine_val.jsonl", "--videos=clips", "--weights=random", "--fps=2", "--resolution=32")
    assert result.exit_code == 0, result.output
    assert built[0].settings["name"] == "videoswin-t"
    assert (built[0].settings["fps"], built[0].settings["resolution"]) == (2.0, 32)
    assert "RANDOM WEIGHTS" in result.output
    with open_cache("features/fine_val.h5") as cache:
        assert cache.vids == ["red"]
        features, times = cache.video("red")
        np.testing.assert_allclose(times, [[0, 1], [1, 2], [2, 3]], atol=0.01)
        np.testing.assert_allclose(features, [[1, 0, 0]] * 3, atol=0.05)
        (query,) = cache.query_records("val")
        assert (query.windows, query.kind, query.qid) == (((0.5, 2.0),), "scene", "fine_val-1")
        assert cache.provenance.notes["annotation_files"] == ["fine_val.jsonl"]
        assert cache.fingerprint in result.output


def test_failures_are_listed_the_rest_is_done_and_a_second_run_does_only_what_is_missing(
    folder: Path, built: list[MeanColour]
) -> None:
    arguments = ("--manifest=mine_train.jsonl", "--manifest=fine_val.jsonl", "--videos=clips", "--out=f/mine.h5")
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert "2 done, 0 were there, 1 failed, 1 without a file" in result.output
    assert "failed: broken: " in result.output
    assert "failed: gone: file not found" in result.output
    assert "1 videos are longer or shorter than annotated" in result.output
    assert "'blue': 3.0 s measured, 60.0 s annotated" in result.output
    with open_cache("f/mine.h5") as cache:
        assert sorted(cache.vids) == ["blue", "red"]
        assert sorted(failure.vid for failure in cache.failures) == ["broken", "gone"]
        assert sorted(cache.missing_videos()) == ["broken", "gone"]
        assert (len(cache.select("train")), len(cache.select("val"))) == (4, 1)

    render(folder / "clips/gone.mp4", (0, 255, 0))
    result = run(*arguments)
    assert "1 done, 2 were there, 1 failed, 0 without a file" in result.output
    assert result.exit_code == 1
    with open_cache("f/mine.h5") as cache:
        assert [failure.vid for failure in cache.failures] == ["broken"]
    (folder / "clips/broken.mp4").unlink()
    render(folder / "clips/broken.mp4", (9, 9, 9))
    assert run(*arguments).exit_code == 0

    message = refused(*arguments, "--stride=2")
    assert "f/mine.h5 was made with other settings" in message
    assert "stride_seconds" in message


def test_precision_reaches_both_encoders_and_another_one_is_refused_with_the_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_text_encoder(name: str, *, device: str, precision: str) -> Letters:
        letters = Letters()
        letters.provenance |= recorded("float32" if precision == "auto" else precision)
        return letters

    monkeypatch.setattr("rdmf_extract.encoders.registry.build_text_encoder", build_text_encoder)
    small = ("--video-encoder=efficientnet-lite0", "--resolution=32", "--device=cpu")
    arguments = ("--manifest=fine_val.jsonl", "--videos=clips", *small)
    result = run(*arguments, "--precision=bfloat16")
    assert result.exit_code == 0, result.output
    with open_cache("features/fine_val.h5") as cache:
        assert cache.provenance.video["precision"] == cache.provenance.text["precision"] == "bfloat16"
    message = refused(*arguments)
    assert "video.precision: bfloat16 here, absent (float32) there; text.precision: bfloat16 here" in message
    assert message.endswith("; go on with --precision bfloat16, or name another file with --out")


def test_a_known_dataset_by_name(folder: Path, built: list[MeanColour]) -> None:
    data = folder / "data/charades"
    (data / "annotations").mkdir(parents=True)
    (data / "annotations/charades_sta_train.txt").write_text("red 0.0 2.0##person paints a wall.\n")
    (folder / "clips/broken.mp4").unlink()
    (folder / "clips").rename(data / "videos")
    assert run("--dataset=charades").exit_code == 0
    with open_cache("features/charades.h5") as cache:
        assert [query.text for query in cache.query_records("train")] == ["person paints a wall."]
        assert "Allen Institute" in cache.provenance.notes["licence"]


def test_contradicting_or_missing_options(folder: Path) -> None:
    assert "--dataset or your own file with --manifest" in refused()
    assert "--dataset or your own file with --manifest" in refused("--dataset=charades", "--manifest=fine_val.jsonl")
    assert "--split is for manifests" in refused("--dataset=charades", "--split=train")
    assert "--annotations is for known datasets" in refused("--manifest=fine_val.jsonl", "--annotations=clips")


def test_bad_input_is_refused_before_anything_is_decoded(folder: Path, built: list[MeanColour]) -> None:
    fine = ("--manifest=fine_val.jsonl", "--videos=clips")
    assert "did you mean 'qvhighlights'" in refused("--dataset=qvhighlight")
    assert "data/charades/annotations" in refused("--dataset=charades")
    assert "annotation file nowhere.jsonl not found" in refused("--manifest=nowhere.jsonl", "--videos=clips")
    assert "video folder nowhere not found" in refused("--manifest=fine_val.jsonl", "--videos=nowhere")
    assert "decoder 'ffmpeg' is unknown" in refused(*fine, "--decoder=ffmpeg")
    assert "is a directory" in refused(*fine, "--out=clips")
    (folder / "fine_val.jsonl").write_text("")
    assert "fine_val.jsonl is empty" in refused(*fine)
    (folder / "fine_val.jsonl").write_text('{"vid": "red", "query": "x", "start": 2, "end": 1}')
    assert "fine_val.jsonl:1: window [2, 1] ends at or before its start" in refused(*fine)
    assert not (folder / "features").exists()


def test_unknown_encoder_names_the_nearest(folder: Path) -> None:
    message = refused("--manifest=fine_val.jsonl", "--videos=clips", "--video-encoder=videoswin-x")
    assert "'videoswin-x' is unknown" in message
    assert "'videoswin-" in message.split("unknown")[1]


def test_a_foreign_file_in_the_caches_place_is_kept(folder: Path, built: list[MeanColour]) -> None:
    (folder / "mine.h5").write_text("my diary")
    assert "mine.h5" in refused("--manifest=fine_val.jsonl", "--videos=clips", "--out=mine.h5")
    assert (folder / "mine.h5").read_text() == "my diary"


def test_an_interruption_says_how_to_go_on(
    folder: Path, built: list[MeanColour], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rdmf_extract.pipeline.extract", interrupted)
    result = run("--manifest=fine_val.jsonl", "--videos=clips", "--out=mine.h5")
    assert result.exit_code == 130
    assert "interrupted; what is done is kept beside mine.h5" in result.output


def test_importing_the_command_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'av', 'decord', 'transformers', 'timm', 'h5py', 'numpy'}"
    code = (
        "import sys, rdmf_pipelines.commands.extract, rdmf_pipelines.commands.features_import;"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.long
def test_a_query_of_ten_thousand_words(folder: Path) -> None:
    (folder / "fine_val.jsonl").write_text(json.dumps({"vid": "red", "query": "word " * 10_000}))
    message = refused(
        "--manifest=fine_val.jsonl", "--videos=clips", "--video-encoder=efficientnet-lite0", "--text-encoder=minilm"
    )
    assert "256" in message  # the limit is named


@pytest.mark.shared
@pytest.mark.long
def test_real_videos_with_real_offline_encoders(shared: Path, tmp_path: Path) -> None:
    anet = shared / "video/anet"
    encoders = ("--video-encoder=efficientnet-lite0", "--text-encoder=minilm")
    result = run(f"--manifest={anet / 'queries.jsonl'}", *encoders, f"--out={tmp_path / 'anet.h5'}", "--split=test")
    assert result.exit_code == 0, result.output
    with open_cache(tmp_path / "anet.h5") as cache:
        assert sorted(cache.vids) == ["v_GGSY1Qvo990", "v_ZNVhz7ctTq0"]
        np.testing.assert_allclose(sorted(cache.durations), [14.05, 18.16], atol=0.2)
        assert (len(cache.select("test")), cache.d_video, cache.d_text) == (5, 1280, 384)
        assert not cache.provenance.video["random_weights"]
