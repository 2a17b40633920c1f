"""`rdmf features import`: feature files in the peers' layout, and everything that can be wrong with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from rdmf.store import open_cache
from rdmf.store.errors import InputError
from rdmf_pipelines.commands.features_import import import_
from rdmf_pipelines.importing import build
from rdmf_pipelines.importing.timeline import timeline

APP = typer.Typer()
APP.command()(import_)
VIDS = ("v1", "v2_10.0_20.0", "v3")


class CountingTextEncoder:
    """Stands in for a language model: two tokens a sentence; remembers what it was asked."""

    name, dim, max_tokens, source = "counting", 4, 16, "test"

    def __init__(self) -> None:
        self.provenance: dict[str, Any] = {"encoder": "counting", "dim": 4}
        self.asked: list[str] = []
        self.precision = ""

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        self.asked += texts
        return [np.full((2, 4), len(text), dtype=np.float32) for text in texts]


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> CountingTextEncoder:
    made = CountingTextEncoder()

    def build_text_encoder(name: str, *, device: str, precision: str) -> CountingTextEncoder:
        made.precision = precision
        return made

    monkeypatch.setattr("rdmf_extract.encoders.registry.build_text_encoder", build_text_encoder)
    return made


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three videos of 5 rows in stream `slow` (6 numbers, npz) and `clip` (3 numbers, npy), train and val queries."""
    rng = np.random.default_rng(0)
    for folder in ("slow", "clip", "text"):
        (tmp_path / folder).mkdir()
    for vid in VIDS:
        np.savez(tmp_path / f"slow/{vid}.npz", features=rng.normal(size=(5, 6)).astype(np.float32))
        np.save(tmp_path / f"clip/{vid}.npy", rng.normal(size=(5, 3)).astype(np.float16))
    rows = [
        {"qid": k, "vid": VIDS[k % 3], "query": f"sentence {k % 2}", "duration": 9.5, "fold": k, "type": "action"}
        for k in range(4)
    ]
    rows[0] |= {"relevant_windows": [[0, 4]], "relevant_clip_ids": [0, 1], "saliency_scores": [[1, 2], [3, 4]]}
    for row in rows:
        hidden = np.full((6, 4), len(row["query"]), dtype=np.float32)
        np.savez(tmp_path / f"text/qid{row['qid']}.npz", last_hidden_state=hidden, attention_mask=[1, 1, 1, 0, 0, 0])
    write_rows(tmp_path / "my_train.jsonl", rows[:3])
    write_rows(tmp_path / "my_val.jsonl", rows[3:])
    return tmp_path


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(files: Path, *extra: str, streams: tuple[str, ...] = ("slow",), out: str = "out.h5") -> Result:
    arguments = [*(f"--video-features={files / stream}" for stream in streams), f"--out={files / out}"]
    arguments += [f"--annotations={files / name}" for name in ("my_train.jsonl", "my_val.jsonl")]
    return CliRunner().invoke(APP, [*arguments, "--clip-length=2", *extra])


def refused(files: Path, *extra: str, streams: tuple[str, ...] = ("slow",)) -> str:
    """The message of an import that must fail, and must leave nothing behind."""
    before = sorted(path.name for path in files.iterdir())
    result = run(files, *extra, streams=streams)
    assert isinstance(result.exception, InputError), result.output
    assert sorted(path.name for path in files.iterdir()) == before
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_what_goes_in_comes_out(files: Path, encoder: CountingTextEncoder) -> None:
    result = run(files, "--licence=CC BY 4.0", "--precision=bfloat16")
    assert result.exit_code == 0, result.exception
    assert encoder.precision == "bfloat16"
    assert encoder.asked == ["sentence 0", "sentence 1"]  # each distinct sentence once
    with open_cache(files / "out.h5") as cache:
        assert cache.vids == list(VIDS)
        features, times = cache.video("v2_10.0_20.0")
        np.testing.assert_array_equal(features, np.load(files / "slow/v2_10.0_20.0.npz")["features"].astype(np.float16))
        np.testing.assert_allclose(times, [[0, 2], [2, 4], [4, 6], [6, 8], [8, 9.5]])
        assert list(cache.durations) == [9.5, 9.5, 9.5]
        first, *_ = cache.query_records("train")
        assert (first.qid, first.windows, first.saliency_scores) == (0, ((0.0, 4.0),), ((1.0, 2.0), (3.0, 4.0)))
        assert (first.kind, first.clip_length) == ("action", 2.0)
        assert sorted(cache.splits) == ["train", "val"]
        assert cache.provenance.video["encoder"] == "import"
        assert cache.provenance.text["encoder"] == "counting"
        assert cache.provenance.notes["licence"] == "CC BY 4.0"
        assert cache.provenance.notes["query_fields"] == {"train": {"fold": [0, 1, 2]}, "val": {"fold": [3]}}
        fingerprint = cache.fingerprint
    assert fingerprint in result.output


def test_text_features_from_files_use_the_mask(files: Path, encoder: CountingTextEncoder) -> None:
    assert run(files, f"--text-features={files / 'text'}").exit_code == 0
    assert encoder.asked == []
    with open_cache(files / "out.h5") as cache:
        assert [cache.text(index).shape for index in range(len(cache.texts))] == [(3, 4), (3, 4)]
        assert cache.provenance.text["encoder"] == "import"


def test_unlike_features_of_one_sentence_are_mentioned(files: Path) -> None:
    np.savez(files / "text/qid2.npz", last_hidden_state=np.zeros((3, 4), dtype=np.float32))
    result = run(files, f"--text-features={files / 'text'}")
    assert result.exit_code == 0
    assert "1 queries repeat a sentence with other text features" in result.output


def test_streams_side_by_side(files: Path, encoder: CountingTextEncoder) -> None:
    assert run(files, "--normalize=l2", streams=("slow", "clip")).exit_code == 0
    with open_cache(files / "out.h5") as cache:
        features, _ = cache.video("v1")
        assert features.shape == (5, 9)
        assert [stream["dim"] for stream in cache.provenance.video["streams"]] == [6, 3]
        for part in (features[:, :6], features[:, 6:]):
            np.testing.assert_allclose(np.linalg.norm(part.astype(np.float32), axis=1), 1.0, atol=2e-3)
        plain = np.load(files / "slow/v1.npz")["features"]
        cosine = (plain * features[:, :6]).sum(1) / np.linalg.norm(plain, axis=1)
        np.testing.assert_allclose(cosine, 1.0, atol=2e-3)


def test_streams_of_unequal_length(files: Path, encoder: CountingTextEncoder) -> None:
    clip = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.save(files / "clip/v3.npy", clip)
    message = refused(files, streams=("slow", "clip"))
    assert "video 'v3'" in message
    (files / "clip/v1.npy").write_bytes((files / "clip/v3.npy").read_bytes())  # the first is read twice, for its width
    assert "2 videos trimmed or padded" in run(files, "--equal-length=trim", streams=("slow", "clip")).output
    np.save(files / "clip/v1.npy", np.zeros((5, 3), dtype=np.float16))
    assert f"5 in {files / 'slow'}, 4 in {files / 'clip'}" in message
    result = run(files, "--equal-length=trim", streams=("slow", "clip"))
    assert result.exit_code == 0
    assert "1 videos trimmed or padded" in result.output
    with open_cache(files / "out.h5") as cache:
        assert cache.video("v3")[0].shape == (4, 9)
        assert cache.video("v1")[0].shape == (5, 9)
    assert run(files, "--equal-length=pad", streams=("slow", "clip")).exit_code == 0
    with open_cache(files / "out.h5") as cache:
        np.testing.assert_array_equal(cache.video("v3")[0][:, 6:], clip[[0, 1, 2, 3, 3]])


def test_videos_without_features_are_failures_and_the_rest_is_done(files: Path, encoder: CountingTextEncoder) -> None:
    (files / "clip/v3.npy").unlink()
    result = run(files, streams=("slow", "clip"))
    assert result.exit_code == 1
    assert f"failed: v3: no feature file in {files / 'clip'}" in result.output
    with open_cache(files / "out.h5") as cache:
        assert cache.vids == ["v1", "v2_10.0_20.0"]
        assert [failure.vid for failure in cache.failures] == ["v3"]
        assert cache.missing_videos() == ["v3"]
        assert len(cache.query_records()) == 4


def test_one_cache_for_all_folds(files: Path, encoder: CountingTextEncoder) -> None:
    (files / "my_val.jsonl").write_text((files / "my_train.jsonl").read_text())  # the same qids again
    assert run(files, "--split-names=stem").exit_code == 0
    with open_cache(files / "out.h5") as cache:
        assert sorted(cache.splits) == ["my_train", "my_val"]
        assert len(cache.select("my_val")) == 3
    assert "qid 0 was already used in split 'all'" in refused(files, "--split=all", "--normalize=l2")


def test_large_imports_go_through_bounded_parts(
    files: Path, encoder: CountingTextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(files, out="whole.h5").exit_code == 0
    monkeypatch.setattr(build, "PART_BYTES", 1)
    assert run(files, out="parts.h5").exit_code == 0
    with open_cache(files / "whole.h5") as whole, open_cache(files / "parts.h5") as parts:
        assert whole.vids == parts.vids
        assert whole.fingerprint == parts.fingerprint
        assert whole.query_records() == parts.query_records()
        for vid in VIDS:
            np.testing.assert_array_equal(whole.video(vid)[0], parts.video(vid)[0])
        assert [t.tolist() for t in map(whole.text, range(2))] == [t.tolist() for t in map(parts.text, range(2))]
    assert not list(files.glob("*.import"))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((5, 6), np.nan, dtype=np.float32), "NaN or infinity in feature row 0"),
        (np.full((5, 6), 1e5, dtype=np.float32), "holds the value 100000, beyond half precision's 65504"),
        (np.zeros((0, 6), dtype=np.float32), "no feature rows"),
        (np.zeros(6, dtype=np.float32), "expected a (rows, dim) array"),
        (np.zeros((2, 5, 6), dtype=np.float32), "expected a (rows, dim) array"),
        (np.zeros((5, 7), dtype=np.float32), "rows of 7 numbers, but 6 in"),
        (np.array([["a", "b"]]), "expected a (rows, dim) array of numbers"),
        (np.array([{"a": 1}], dtype=object), "not a readable array file"),
    ],
)
def test_bad_arrays_name_their_file(files: Path, array: np.ndarray, message: str, encoder: CountingTextEncoder) -> None:
    np.savez(files / "slow/v3.npz", features=array)
    told = refused(files)
    assert str(files / "slow/v3.npz") in told
    assert message in told


def test_damaged_and_ambiguous_files(files: Path, encoder: CountingTextEncoder) -> None:
    whole = (files / "slow/v3.npz").read_bytes()
    for damaged in (b"", b"hello", whole[: len(whole) // 2]):
        (files / "slow/v3.npz").write_bytes(damaged)
        assert "slow/v3.npz: not a readable array file" in refused(files)
    np.savez(files / "slow/v3.npz", left=np.zeros((5, 6)), right=np.zeros((5, 6)))
    assert "no array 'features' among left, right" in refused(files)


def test_a_flipped_bit_anywhere_in_an_array_file_is_one_line(files: Path, encoder: CountingTextEncoder) -> None:
    """NumPy, zipfile and zlib raise errors of many kinds for them."""
    path = files / "slow/v3.npz"
    np.savez_compressed(path, features=np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32))
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        result = run(files)
        assert result.exit_code == 0 or isinstance(result.exception, InputError), (place, result.exception)


def test_bad_text_features(files: Path) -> None:
    text = f"--text-features={files / 'text'}"
    np.savez(files / "text/qid3.npz", last_hidden_state=np.full((2, 4), np.inf))
    assert "qid3.npz: NaN or infinity" in refused(files, text)
    np.savez(files / "text/qid3.npz", last_hidden_state=np.zeros((2, 4)), attention_mask=[1, 1, 1])
    assert "'attention_mask' has 3 entries for 2 rows" in refused(files, text)
    (files / "text/qid3.npz").unlink()
    assert "no text features for 1 of 4 queries, e.g. qid3.npz" in refused(files, text)


def test_bad_settings_and_paths(files: Path, encoder: CountingTextEncoder) -> None:
    assert "--equal-length 'cut' is unknown; choose one of error, trim, pad" in refused(files, "--equal-length=cut")
    assert "--normalize 'max' is unknown" in refused(files, "--normalize=max")
    assert "--split-names 'file' is unknown" in refused(files, "--split-names=file")
    assert "--clip-length must be above 0" in refused(files, "--clip-length=0")
    assert "contradict" in refused(files, "--split=a", "--split-names=stem")
    assert "feature folder" in refused(files, streams=("nowhere",))
    assert "is a file, not a folder" in refused(files, streams=("my_val.jsonl",))
    (files / "empty").mkdir()
    assert "holds no npz or npy file" in refused(files, streams=("empty",))
    np.savez(files / "empty/other.npz", features=np.zeros((5, 6)))
    assert "none of the 3 annotated videos has features" in refused(files, streams=("empty",))
    (files / "my_val.jsonl").write_text("")
    assert "my_val.jsonl is empty" in refused(files)
    (files / "my_val.jsonl").rename(files / "other.jsonl")
    assert "my_val.jsonl not found" in refused(files)


def test_a_cache_below_a_file(files: Path, encoder: CountingTextEncoder) -> None:
    result = run(files, out="my_val.jsonl/out.h5")
    assert isinstance(result.exception, InputError)
    assert "my_val.jsonl" in str(result.exception)


def test_a_file_name_that_tells_no_split(files: Path, encoder: CountingTextEncoder) -> None:
    write_rows(files / "queries.jsonl", [{"qid": 9, "vid": "v1", "query": "x"}])
    assert "name it with --split" in refused(files, f"--annotations={files / 'queries.jsonl'}")


def test_a_failed_import_keeps_the_older_cache(files: Path, encoder: CountingTextEncoder) -> None:
    assert run(files).exit_code == 0
    before = (files / "out.h5").read_bytes()
    np.savez(files / "slow/v3.npz", features=np.full((5, 6), np.nan))
    refused(files)
    assert (files / "out.h5").read_bytes() == before


@pytest.mark.parametrize(
    ("rows", "annotated", "duration", "last_end", "agrees"),
    [
        (5, 10.0, 10.0, 10.0, True),
        (5, 9.2, 9.2, 9.2, True),
        (5, 11.5, 11.5, 10.0, True),
        (5, 14.0, 14.0, 10.0, False),  # features stop early: windows keep their place
        (5, 7.0, 10.0, 10.0, False),  # a whole row beyond the annotation: the rows are believed
        (1, 0.4, 0.4, 0.4, True),
        (3, float("nan"), 6.0, 6.0, True),
    ],
)
def test_timeline(rows: int, annotated: float, duration: float, last_end: float, agrees: bool) -> None:
    times, got, fits = timeline(rows, 2.0, annotated)
    assert times.shape == (rows, 2)
    assert (times[:, 1] > times[:, 0]).all()
    assert (got, times[-1, 1], fits) == (duration, last_end, agrees)


def test_fields_that_are_not_kept_are_named(files: Path, encoder: CountingTextEncoder) -> None:
    write_rows(files / "my_val.jsonl", [{"qid": 9, "vid": "v1", "query": "x", "domain": "dog", "label": [[1], [0]]}])
    result = run(files)
    assert "fields of the annotations that the cache does not hold: label" in result.output
    with open_cache(files / "out.h5") as cache:
        assert cache.provenance.notes["query_fields"]["val"] == {"domain": ["dog"]}


def test_disagreeing_durations_are_told(files: Path, encoder: CountingTextEncoder) -> None:
    np.savez(files / "slow/v3.npz", features=np.zeros((2, 6)))
    result = run(files)
    assert result.exit_code == 0
    assert "1 videos whose rows tell another length" in result.output
    assert "'v3': 4 s of rows, 9.5 s annotated" in result.output


@pytest.mark.shared
def test_salads_fold_imports_by_one_line(shared: Path, tmp_path: Path) -> None:
    data = shared / "data/salads50"
    arguments = [f"--video-features={data / 'features'}", "--clip-length=1", "--text-encoder=minilm"]
    arguments += [f"--annotations={data / f'fold1_{split}.jsonl'}" for split in ("train", "test")]
    result = CliRunner().invoke(APP, [*arguments, f"--out={tmp_path / 'salads.h5'}"])
    assert result.exit_code == 0, result.exception
    with open_cache(tmp_path / "salads.h5") as cache:
        assert (len(cache.vids), cache.d_video, cache.d_text, len(cache.texts)) == (50, 18, 384, 17)
        assert (len(cache.select("train")), len(cache.select("test"))) == (649, 167)
        assert cache.missing_videos() == []
