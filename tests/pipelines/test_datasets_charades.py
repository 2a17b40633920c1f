"""Charades-STA in both of its forms."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from rdmf.store.errors import InputError
from rdmf_pipelines.datasets import charades, load_dataset
from rdmf_pipelines.datasets.plan import Annotations, DatasetPlan
from rdmf_pipelines.datasets.repairs import Repairs

TRAIN = """AO8RW 0.0 6.9##a person is putting a book on a shelf.
Y6R7T 20.8 30.0##person begins to play on a phone.
Y6R7T 20.8 20.8##nothing happens.
Y6R7T 7.3 17.3##person says "2 ## 3".
"""
TEST = "3MSZA 24.3 30.4##person turn a light on.\n"
LENGTHS = 'id,subject,script,length\nAO8RW,X1,"a, b",33.67\nY6R7T,X2,c,29.42\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with Charades-STA where it is looked for, one video under an extra folder."""
    annotations, videos = tmp_path / "data/charades/annotations", tmp_path / "data/charades/videos"
    annotations.mkdir(parents=True)
    (videos / "Charades_v1_480").mkdir(parents=True)
    (annotations / "charades_sta_train.txt").write_text(TRAIN)
    (annotations / "charades_sta_test.txt").write_text(TEST)
    for name in ("AO8RW.mp4", "Charades_v1_480/Y6R7T.mp4"):
        (videos / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(folder: Path) -> DatasetPlan:
    return load_dataset("charades")


def test_original_text_form(folder: Path) -> None:
    plan = load(folder)
    assert plan.splits() == {"train": 3, "test": 1}
    first = plan.queries[0]
    assert (first.vid, first.windows, first.text) == ("AO8RW", ((0.0, 6.9),), "a person is putting a book on a shelf.")
    assert math.isnan(first.duration)
    assert plan.queries[2].text == 'person says "2 ## 3".'
    assert [query.qid for query in plan.queries] == ["train-1", "train-2", "train-4", "test-1"]
    assert plan.missing == ["3MSZA"]
    assert plan.videos["Y6R7T"] == Path("data/charades/videos/Charades_v1_480/Y6R7T.mp4")


def test_reversed_windows_are_dropped_and_counted(folder: Path) -> None:
    plan = load(folder)
    assert plan.notes["repairs"] == {"windows_dropped": 1, "queries_dropped": 1}
    assert any("charades_sta_train.txt:3" in remark for remark in plan.remarks)


def test_lengths_from_charades_own_csv_cut_windows(folder: Path) -> None:
    (folder / "data/charades/annotations/Charades_v1_train.csv").write_text(LENGTHS)
    plan = load(folder)
    assert plan.queries[0].duration == 33.67
    assert plan.queries[1].windows == ((20.8, 29.42),)
    assert plan.notes["repairs"]["windows_cut"] == 1


def test_json_lines_form(folder: Path) -> None:
    annotations = folder / "data/charades/annotations"
    (annotations / "charades_sta_train.txt").unlink()
    row = {"qid": 7, "query": "q.", "duration": 33.67, "vid": "AO8RW", "relevant_windows": [[0.0, 6.9]]}
    (annotations / "charades_train_release.jsonl").write_text(json.dumps(row) + "\n")
    plan = load(folder)
    assert plan.queries[0].qid == 7
    assert plan.queries[0].duration == 33.67
    assert plan.notes["annotation_files"]["train"] == "charades_train_release.jsonl"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("AO8RW 0.0##a person.", "expected 'VIDEO START END##sentence'"),
        ("AO8RW 0.0 6.9 a person.", "expected 'VIDEO START END##sentence'"),
        ("AO8RW zero 6.9##a person.", "START must be a finite number, got 'zero'"),
        ("AO8RW 0.0 nan##a person.", "END must be a finite number"),
        ("AO8RW 0.0 6.9## ", "no sentence"),
    ],
)
def test_malformed_lines_are_named(folder: Path, line: str, message: str) -> None:
    (folder / "data/charades/annotations/charades_sta_train.txt").write_text(TRAIN + line + "\n")
    with pytest.raises(InputError, match=r"charades_sta_train\.txt:5: ") as caught:
        load(folder)
    assert message in str(caught.value)


def test_missing_files_are_told_in_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_dataset("charades")
    message = str(caught.value)
    for part in (
        "charades_sta_train.txt",
        "charades_sta_test.txt",
        "Allen Institute",
        "data/charades/annotations",
        "data/charades/videos",
        "--videos",
    ):
        assert part in message
    assert "\n" not in message


def test_one_split_is_enough_and_the_other_is_mentioned(folder: Path) -> None:
    (folder / "data/charades/annotations/charades_sta_test.txt").unlink()
    plan = load(folder)
    assert plan.splits() == {"train": 3}
    assert any("'test'" in remark for remark in plan.remarks)


def test_empty_file_is_refused(folder: Path) -> None:
    (folder / "data/charades/annotations/charades_sta_test.txt").write_text("\n \n")
    with pytest.raises(InputError, match=r"charades_sta_test\.txt is empty"):
        load(folder)


@pytest.mark.shared
def test_published_counts(shared: Path) -> None:
    collected, repairs = Annotations(), Repairs()
    for split in ("train", "test"):
        path = shared / f"data/annotations/charades/charades_{split}_release.jsonl"
        charades.read(path, split, collected, repairs)
    counts = [sum(query.split == split for query in collected.queries) for split in ("train", "test")]
    assert counts == [12404, 3720]
    assert repairs.as_notes() == {}
