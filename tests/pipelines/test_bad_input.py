"""Everything a user can get wrong, through the command line: one line that says what, exit code 2, nothing lost.

Every case runs in one folder of good and bad files, which must be the same, byte for byte, afterwards.
"""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bad_input_files import LONG, Colours, Words, make_caches, make_files, make_runs

from rdmf.store import open_cache
from rdmf_extract.encoders import registry
from rdmf_pipelines.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    make_caches(folder)
    make_runs(folder)
    make_files(folder)
    return folder


@pytest.fixture(autouse=True)
def standing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In that folder, with encoders that need no weights beside the real ones, and without a network."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    real_video, real_text = registry.build_video_encoder, registry.build_text_encoder

    def build_video_encoder(name: str, **settings: Any) -> Any:
        return Colours() if name == "colours" else real_video(name, **settings)

    def build_text_encoder(name: str, **settings: Any) -> Any:
        return Words() if name == "words" else real_text(name, **settings)

    monkeypatch.setattr(registry, "build_video_encoder", build_video_encoder)
    monkeypatch.setattr(registry, "build_text_encoder", build_text_encoder)


def contents(folder: Path) -> dict[str, str]:
    """{relative path: hash} of all that lies in a folder; "" for folders."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


EXTRACT = "extract --video-encoder colours --text-encoder words --decoder pyav --workers 1 --out new.h5 --manifest"
TRAIN = "train --out new-run --set train.device=cpu --set train.epochs=1 --features"
IMPORT = "features import --clip-length 1 --text-encoder words --out new.h5"

#: command line -> what its one line must tell. {LONG} stands for a sentence of 10,000 words.
CASES = {
    # the command line itself
    "trian --features cache.h5": "unknown command 'trian' (did you mean 'rdmf train'?)",
    "features inof cache.h5": "did you mean 'rdmf features info'?",
    "features": "`rdmf features verify`",
    "--verbose": "unknown command '--verbose'",
    "train --featuers cache.h5": "--features",
    "train --seed one": "--seed",
    "train --seed -1 --features cache.h5": "--seed",
    "predict": "Missing argument",
    "eval run run": "unexpected extra argument",
    "features import --annotations asked_train.jsonl": "--video-features",
    "demo --videos 3": "--videos",
    # a cache that is none, through every command that reads one
    **{
        f"{command} {name}": tells
        for command in (TRAIN, "features info", "eval run --features")
        for name, tells in {
            "nowhere.h5": "no feature cache at nowhere.h5",
            "folder": "folder is a directory",
            "foreign.h5": "foreign.h5 is an HDF5 file but not an rdmf feature cache",
            "cut.h5": "(truncated)",
            "newer.h5": "schema 9, and this rdmf reads schema 1",
            "binary.jsonl": "binary.jsonl is not an rdmf feature cache",
            "empty.jsonl": "empty.jsonl is empty",
        }.items()
    },
    "features verify nowhere.h5": "no feature cache at nowhere.h5",
    "features verify folder": "is a directory",
    "features verify foreign.h5": "not an rdmf feature cache",
    # features that are no numbers, caches that do not go with a run
    f"{TRAIN} nan.h5": "video 'v2' has NaN",
    "eval run --features nan.h5": "video 'v2' has NaN",
    "eval run --features faster.h5": "video.fps: 2.0 here, 4.0 there",
    "eval run --features wide.h5": "takes 3-d video and 2-d text features",
    # settings
    f"{TRAIN} cache.h5 --set model.hiden=3": "did you mean 'model.hidden'?",
    f"{TRAIN} cache.h5 --set model.hidden=many": "expected a whole number",
    f"{TRAIN} cache.h5 --set model.hidden": "name=value",
    f"{TRAIN} cache.h5 --preset chrades": "did you mean 'charades'?",
    f"{TRAIN} cache.h5 --config nowhere.yaml": "nowhere.yaml",
    f"{TRAIN} cache.h5 --config folder": "folder",
    f"{TRAIN} cache.h5 --config binary.jsonl": "binary.jsonl",
    f"{TRAIN} cache.h5 --set data.train_split=trian": "no split 'trian'",
    f"{TRAIN} cache.h5 --device gpu": "device 'gpu' is unknown",
    f"{TRAIN} cache.h5 --seeds 0": "--seeds 0",
    f"{TRAIN} cache.h5 --resume --out run --set model.hidden=32": "resume with the settings it was started with",
    # places that cannot be written
    "train --features cache.h5 --out run": "run already holds a run",
    "train --features cache.h5 --out notes.txt": "notes.txt",
    "train --features cache.h5 --out notes.txt/run": "notes.txt",
    "eval run --json folder": "folder: is a directory",
    "eval run --out notes.txt/p.jsonl": "notes.txt",
    "predict film.mp4 light --checkpoint run --json folder": "folder",
    "predict film.mp4 light --checkpoint run --plot folder": "folder",
    "predict film.mp4 light --checkpoint run --plot curve.docx": "curve.docx",
    f"{EXTRACT} mine.jsonl --out folder": "folder: it is a directory",
    f"{EXTRACT} mine.jsonl --out notes.txt/new.h5": "notes.txt",
    f"{EXTRACT} mine.jsonl --out notes.txt": "notes.txt is not an rdmf feature cache",
    f"{EXTRACT} mine.jsonl --out faster.h5": "video.fps",
    f"{EXTRACT} mine.jsonl --shard 4/4": "shards are counted from 0, here 0/4 to 3/4",
    f"{EXTRACT} mine.jsonl --shard first": "--shard first: expected i/n",
    f"{EXTRACT} mine.jsonl --device cpu,": "--device cpu,: a name is missing",
    f"{EXTRACT} mine.jsonl --device cpu,auto": "'auto' and 'all' stand alone",
    f"{EXTRACT} mine.jsonl --engine spark": "engine 'spark' is unknown; use local or ray",
    f"{EXTRACT} mine.jsonl --address auto": "--address is for --engine ray",
    f"{EXTRACT} mine.jsonl --engine ray --device cuda:0": "--device is for one machine",
    f"{IMPORT} --video-features arrays --annotations asked_train.jsonl --out folder": "folder",
    "demo --out kept": "kept exists and is no earlier demo",
    "demo --out notes.txt": "notes.txt",
    # runs
    "eval": "no trained run under runs/",
    "eval nowhere": "no run at nowhere",
    "eval folder": "folder is not a run",
    "eval cache.h5": "no run at cache.h5",
    "eval run-cut": "best.safetensors: damaged",
    "eval run-odd": "does not fit its configuration",
    "eval run-newer": "run format 99",
    "eval run-damaged": "damaged, not JSON",
    "eval run --split tset": "no split 'tset'",
    "eval run --device gpu": "device 'gpu' is unknown",
    # prediction files
    "eval --predictions answers.jsonl": "--predictions and --annotations go together",
    "eval run --predictions answers.jsonl --annotations asked_train.jsonl": "RUN: not used with",
    **{
        f"eval --predictions {name} --annotations asked_train.jsonl": tells
        for name, tells in {
            "nowhere.jsonl": "nowhere.jsonl: no such file",
            "folder": "folder: is a directory",
            "empty.jsonl": "no records",
            "broken.jsonl": "broken.jsonl, line 1: not JSON",
            "numbers.jsonl": "numbers.jsonl, line 1",
            "columns.jsonl": "columns.jsonl, line 1",
            "binary.jsonl": "binary.jsonl: not UTF-8",
            "answers.jsonl": "qid",
        }.items()
    },
    # videos and sentences
    "predict nowhere.mp4 light --checkpoint run": "nowhere.mp4: no such video file",
    "predict folder light --checkpoint run": "folder: not a file",
    "predict none.mp4 light --checkpoint run": "none.mp4",
    "predict still.mp4 light --checkpoint run": "still.mp4",
    "predict notes.txt light --checkpoint run": "notes.txt: not a video file",
    "predict film.mp4 {LONG} --checkpoint run": "10000 tokens long",
    "predict film.mp4 {EMPTY} --checkpoint run": "the sentence is empty",
    "predict film.mp4 light --checkpoint nowhere": "no run at nowhere",
    "predict film.mp4 light --checkpoint run-cut": "best.safetensors: damaged",
    "predict film.mp4 light": "no trained run under runs/",
    "predict film.mp4 light --checkpoint run --top-k 0": "--top-k",
    "predict film.mp4 light --checkpoint run --device gpu": "device 'gpu' is unknown",
    # datasets, manifests, encoders
    "extract": "--dataset or your own file with --manifest",
    "extract --dataset chrades": "did you mean 'charades'?",
    "extract --dataset charades": "charades_sta_train.txt",
    "extract --dataset charades --manifest mine.jsonl": "--dataset or your own file with --manifest",
    **{
        f"{EXTRACT} {name}": tells
        for name, tells in {
            "nowhere.jsonl": "nowhere.jsonl not found",
            "folder": "folder is a folder",
            "empty.jsonl": "empty.jsonl is empty",
            "blank.csv": "blank.csv",
            "broken.jsonl": "broken.jsonl:1: not JSON",
            "numbers.jsonl": "numbers.jsonl:1",
            "columns.jsonl": "no 'vid'",
            "columns.csv": "no column 'vid'",
            "backwards.jsonl": "backwards.jsonl:1",
            "binary.jsonl": "not a text file",
            "long.jsonl": "10000 tokens long",
            "mine.jsonl --videos nowhere": "video folder nowhere not found",
            "mine.jsonl --videos notes.txt": "notes.txt is a file",
            "mine.jsonl --videos folder": "none of the 1 annotated videos",
            "mine.jsonl --video-encoder videoswin-x": "'videoswin-t'",
            "mine.jsonl --video-encoder timm:no_such_net": "no_such_net",
            "mine.jsonl --text-encoder minlm": "'minilm'",
            "mine.jsonl --text-encoder folder": "folder",
            "mine.jsonl --video-encoder videoswin-t --weights nowhere.pth": "nowhere.pth",
            "mine.jsonl --video-encoder videoswin-t --weights random --fps 0": "fps must be a positive number",
            "mine.jsonl --decoder ffmpeg": "auto, pyav, decord-first, decord",
            "mine.jsonl --video-encoder efficientnet-lite0 --precision half": "precision 'half' is unknown; use auto,",
            "mine.jsonl --text-encoder minilm --precision half": "use auto, float32, bfloat16 or float16",
            "mine.jsonl --video-encoder efficientnet-lite0 --precision float16 --device cpu": "float16 is for GPUs",
            "mine.jsonl --workers 0": "--workers",
            "mine.jsonl --timeout -1": "--timeout",
        }.items()
    },
    # features made elsewhere
    **{
        f"{IMPORT} {rest}": tells
        for rest, tells in {
            "--video-features nowhere --annotations asked_train.jsonl": "nowhere not found",
            "--video-features folder --annotations asked_train.jsonl": "holds no npz or npy",
            "--video-features notes.txt --annotations asked_train.jsonl": "notes.txt",
            "--video-features nan-arrays --annotations asked_train.jsonl": "film.npz: NaN",
            "--video-features arrays --annotations nowhere.jsonl": "nowhere.jsonl not found",
            "--video-features arrays --annotations empty.jsonl": "empty.jsonl is empty",
            "--video-features arrays --annotations asked_train.jsonl --clip-length 0": "--clip-length",
            "--video-features arrays --annotations asked_train.jsonl --equal-length trm": "error, trim, pad",
            "--video-features arrays --annotations asked_train.jsonl --precision half": "--precision 'half' is unknown",
        }.items()
    },
}


@pytest.mark.parametrize("line", CASES, ids=str)
def test_one_line_exit_code_2_and_nothing_touched(line: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(place)
    words = [{"{LONG}": LONG, "{EMPTY}": " "}.get(word, word) for word in line.split()]
    with pytest.raises(SystemExit) as stop:
        main(words)
    said = capsys.readouterr().err
    assert stop.value.code == 2, said
    assert said.startswith("error: "), said
    assert said.count("\n") == 1, said
    assert CASES[line] in said
    assert len(said) < 1200
    assert contents(place) == before


def test_a_video_without_frames_costs_itself_only(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(place)
    with pytest.raises(SystemExit) as stop:
        main([*EXTRACT.split(), "still.jsonl", "--out", str(tmp_path / "new.h5")])
    printed = capsys.readouterr()
    assert stop.value.code == 1
    (told,) = [line for line in (printed.out + printed.err).splitlines() if line.lstrip().startswith("still")][-1:]
    assert "no" in told
    with open_cache(tmp_path / "new.h5") as cache:
        assert cache.vids == ["film"]
        assert [failure.vid for failure in cache.failures] == ["still"]
    assert contents(place) == before


@pytest.mark.parametrize(
    "line", ["train --features cut.h5", "eval --predictions broken.jsonl --annotations mine.jsonl"]
)
def test_the_process_itself(line: str, place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rdmf_pipelines.cli", *line.split()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_full_disk_is_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("rdmf.store.describe", full)
    with pytest.raises(SystemExit) as stop:
        main(["features", "info", "cache.h5"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: cache.h5: {os.strerror(errno.ENOSPC)}\n"


def test_a_fault_of_ours_still_shows_where(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(path: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("rdmf.store.describe", faulty)
    with pytest.raises(ZeroDivisionError):
        main(["features", "info", "cache.h5"])
