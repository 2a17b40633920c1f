"""A folder of good files and of bad ones of every kind, and encoders without weights, for test_bad_input."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
from safetensors.numpy import load_file, save_file

from rdmf.store import InputError, Provenance, QueryRecord, TextRecord, VideoRecord, write_cache
from rdmf.train import train
from rdmf_extract.pipeline import extraction_provenance
from rdmf_extract.sampling import Sampling

MAX_TOKENS = 16
LONG = "word " * 10_000
#: A row that occurs nowhere else, so that it can be found in the file and overwritten: no writer lets NaN through.
MARKED = np.array([1234.5, 77.25, -1234.5], np.float32)


class Colours:
    """Stands in for a video network: the mean colour of a row's frames."""

    name, dim, source, device = "colours", 3, "here", "cpu"
    sampling = Sampling(fps=2.0, window_seconds=1.0, stride_seconds=1.0, frames_per_window=2, resize=32, crop=32)

    def __init__(self) -> None:
        self.provenance: dict[str, Any] = {"encoder": self.name, "random_weights": False}

    def encode(self, frames: np.ndarray) -> np.ndarray:
        return frames.mean(axis=(1, 2, 3), dtype=np.float32) / 255  # (B, T, H, W, 3) -> (B, 3)


class Words:
    """Stands in for a language model."""

    name, dim, max_tokens, source = "words", 2, MAX_TOKENS, "here"

    def __init__(self) -> None:
        self.provenance: dict[str, Any] = {"encoder": self.name}

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        for text in texts:
            if (count := len(text.split())) > self.max_tokens:
                raise InputError(f"the sentence '{text[:20]}...' is {count} tokens long, over {self.max_tokens}")
        return [np.array([[len(word), 1] for word in text.split()], np.float32) for text in texts]


def write_video(path: Path, frames: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")))
        container.mux(stream.encode())


def make_cache(path: Path, provenance: Provenance, *, d_text: int = 2, marked: bool = False) -> Path:
    rng = np.random.default_rng(0)
    times = np.stack([np.arange(8.0), np.arange(8.0) + 1], axis=1)
    videos = [VideoRecord(f"v{i}", rng.random((8, 3)).astype(np.float32), times, 8.0) for i in range(4)]
    if marked:
        videos[2].features[1] = MARKED
    queries = [QueryRecord(i, f"v{i}", "a light", ("train", "val")[i == 3], windows=((2.0, 6.0),)) for i in range(4)]
    texts = [TextRecord("a light", rng.random((2, d_text)).astype(np.float32))]
    return write_cache(path, provenance, videos, texts, queries, feature_dtype="float32")


def make_caches(folder: Path) -> None:
    made = extraction_provenance(Colours(), Words(), decoder="pyav", notes={})
    content = make_cache(folder / "cache.h5", made).read_bytes()
    faster = dataclasses.replace(made, video={**made.video, "fps": 4.0})
    make_cache(folder / "faster.h5", faster)
    wide = dataclasses.replace(made, text={**made.text, "dim": 5})
    make_cache(folder / "wide.h5", wide, d_text=5)
    (folder / "cut.h5").write_bytes(content[: len(content) // 2])
    (folder / "newer.h5").write_bytes(content.replace(b'"schema":1', b'"schema":9', 1))
    with h5py.File(folder / "foreign.h5", "w") as file:
        file["features"] = np.zeros((3, 4))
    spoilt = make_cache(folder / "nan.h5", made, marked=True).read_bytes()
    assert spoilt.count(MARKED.tobytes()) == 1
    (folder / "nan.h5").write_bytes(spoilt.replace(MARKED.tobytes(), np.full(3, np.nan, np.float32).tobytes()))


def make_runs(folder: Path) -> None:
    tiny = {"model.hidden": 16, "train.epochs": 1, "decoder.layers": 1, "data.holdout": 0.0, "train.device": "cpu"}
    run = train(folder / "cache.h5", folder / "run", overrides=tiny, quiet=True)
    for name in ("run-cut", "run-odd", "run-newer", "run-damaged"):
        shutil.copytree(run, folder / name)
    weights = (run / "best.safetensors").read_bytes()
    (folder / "run-cut/best.safetensors").write_bytes(weights[: len(weights) // 2])
    tensors = load_file(run / "best.safetensors")
    widest = max(tensors, key=lambda name: tensors[name].size)
    save_file({**tensors, widest: tensors[widest][:-1]}, folder / "run-odd/best.safetensors")
    config = json.loads((run / "config.json").read_text())
    (folder / "run-newer/config.json").write_text(json.dumps({**config, "schema": 99}))
    (folder / "run-damaged/config.json").write_text("{")


def make_files(folder: Path) -> None:
    (folder / "folder").mkdir()
    (folder / "kept").mkdir()
    (folder / "kept/letter.txt").write_text("mine")
    (folder / "empty.jsonl").write_text("")
    (folder / "blank.csv").write_text("vid,query\n")
    (folder / "broken.jsonl").write_text('{"vid": "film", "query": \n')
    (folder / "numbers.jsonl").write_text("[1, 2]\n")
    (folder / "columns.jsonl").write_text('{"clip": "film"}\n')
    (folder / "columns.csv").write_text("clip,words\nfilm,a light\n")
    (folder / "backwards.jsonl").write_text('{"vid": "film", "query": "a light", "start": 5, "end": "soon"}\n')
    (folder / "mine.jsonl").write_text('{"vid": "film", "query": "a light", "split": "val"}\n')
    (folder / "long.jsonl").write_text(json.dumps({"vid": "film", "query": LONG, "split": "val"}) + "\n")
    (folder / "still.jsonl").write_text(
        '{"vid": "film", "query": "a light", "split": "val"}\n{"vid": "still", "query": "a light", "split": "val"}\n'
    )
    (folder / "binary.jsonl").write_bytes(bytes(range(256)) * 8)
    (folder / "notes.txt").write_text("no video at all\n" * 50)
    (folder / "none.mp4").write_bytes(b"")
    write_video(folder / "film.mp4", 16)
    write_video(folder / "still.mp4", 0)
    row = {"qid": 1, "vid": "film", "query": "a light", "duration": 4, "relevant_windows": [[0, 2]]}
    (folder / "asked_train.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "answers.jsonl").write_text('{"qid": 2, "pred_relevant_windows": [[0, 2, 0.5]]}\n')
    for name, value in (("arrays", 1.0), ("nan-arrays", np.nan)):
        (folder / name).mkdir()
        np.savez(folder / name / "film.npz", features=np.full((4, 3), value, np.float32))
