"""One's own videos: JSON-lines and CSV manifests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rdmf.store.errors import InputError
from rdmf_pipelines.datasets import load_manifest
from rdmf_pipelines.datasets.text_files import split_of


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    (folder / "train").mkdir(parents=True)
    for name in ("a.mp4", "train/b.avi", "flower.mp4", "flower.webm", "sound.wav"):
        (folder / name).touch()
    return folder


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_json_lines_with_short_fields(tmp_path: Path, videos: Path) -> None:
    file = write(
        tmp_path / "train.jsonl",
        {"vid": "a", "query": "x", "start": 1, "end": 2.5, "type": "action", "duration": 9},
        {"video": "train/b.avi", "query": "y", "split": "val"},
    )
    plan = load_manifest([file], videos)
    first, second = plan.queries
    assert (first.qid, first.split, first.windows, first.kind) == ("train-1", "train", ((1.0, 2.5),), "action")
    assert (second.vid, second.split, second.windows) == ("b", "val", ())
    assert plan.videos == {"a": videos / "a.mp4", "b": videos / "train/b.avi"}
    assert plan.name == "train"


def test_csv_with_quotes_byte_order_mark_and_empty_cells(tmp_path: Path, videos: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_bytes(
        b"\xef\xbb\xbfVid,Query,start,end,qid,duration,relevant_windows\r\n"
        b'a,"red, then blue",1,2,7,,\r\n'
        b'b,two moments,,,x7,30,"[[1, 2], [5, 6]]"\r\n'
        b"\r\n"
        b"b,no moment,,,,,\r\n"
    )
    plan = load_manifest([file], videos, split="test")
    assert [query.text for query in plan.queries] == ["red, then blue", "two moments", "no moment"]
    assert [query.qid for query in plan.queries] == [7, "x7", "mine-5"]
    assert [query.windows for query in plan.queries] == [((1.0, 2.0),), ((1.0, 2.0), (5.0, 6.0)), ()]
    assert plan.splits() == {"test": 3}


def test_two_files_of_a_stem_need_their_ending(tmp_path: Path, videos: Path) -> None:
    file = write(tmp_path / "m.jsonl", {"vid": "flower", "query": "x"})
    with pytest.raises(InputError, match=r"video 'flower' could be .*flower\.mp4 or .*flower\.webm"):
        load_manifest([file], videos)
    write(file, {"vid": "flower.webm", "query": "x"}, {"video": "flower.mp4", "query": "y"})
    assert load_manifest([file], videos).videos == {
        "flower.webm": videos / "flower.webm",
        "flower": videos / "flower.mp4",
    }


def test_a_path_in_full_is_that_file_though_another_folder_has_one_of_its_name(tmp_path: Path, videos: Path) -> None:
    (videos / "train/a.mp4").touch()
    file = write(tmp_path / "m.jsonl", {"video": "a.mp4", "query": "x"})
    assert load_manifest([file], videos).videos == {"a": videos / "a.mp4"}
    write(file, {"vid": " z ", "video": "train/a.mp4", "query": "x"})
    assert load_manifest([file], videos).videos == {"z": videos / "train/a.mp4"}
    write(file, {"vid": "a", "query": "x"})
    with pytest.raises(InputError, match="'a' could be"):
        load_manifest([file], videos)


@pytest.mark.parametrize("qid", ["--5", "5²", "-0", "007", "9" * 30])
def test_a_csv_qid_that_is_no_whole_number_is_a_name(tmp_path: Path, videos: Path, qid: str) -> None:
    file = tmp_path / "m.csv"
    file.write_text(f"vid,query,qid\na,x,{qid}\n", encoding="utf-8")
    assert load_manifest([file], videos).queries[0].qid == qid


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[" * 100_000, "JSON that cannot be read"),
        (f'{{"vid": "a", "query": "x", "start": {"9" * 5000}, "end": 1}}', "JSON that cannot be read"),
        (f'{{"vid": "a", "query": "x", "start": 0, "end": {"9" * 400}}}', "must be a finite number"),
    ],
)
def test_json_that_python_cannot_hold(tmp_path: Path, videos: Path, line: str, message: str) -> None:
    file = tmp_path / "m.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(InputError, match=message):
        load_manifest([file], videos)


def test_two_paths_for_one_name(tmp_path: Path, videos: Path) -> None:
    file = write(tmp_path / "m.jsonl", {"video": "flower.mp4", "query": "x"}, {"video": "flower.webm", "query": "x"})
    with pytest.raises(InputError, match=r"m\.jsonl:2: 'flower' is already the name of flower\.mp4"):
        load_manifest([file], videos)


def test_a_file_named_in_full_is_taken_whatever_its_ending(tmp_path: Path, videos: Path) -> None:
    file = write(tmp_path / "m.jsonl", {"video": "sound.wav", "query": "x"})
    assert load_manifest([file], videos).videos == {"sound": videos / "sound.wav"}


def test_missing_videos_are_listed_once(tmp_path: Path, videos: Path) -> None:
    rows = [{"vid": vid, "query": "x"} for vid in ("gone", "a", "gone", "lost")]
    plan = load_manifest([write(tmp_path / "m.jsonl", *rows)], videos)
    assert plan.missing == ["gone", "lost"]
    assert list(plan.videos) == ["a"]


def test_rows_without_a_split_go_to_all_and_this_is_said(tmp_path: Path, videos: Path) -> None:
    plan = load_manifest([write(tmp_path / "queries.jsonl", {"vid": "a", "query": "x"})], videos)
    assert plan.splits() == {"all": 1}
    assert any("--split" in remark for remark in plan.remarks)


def test_several_files_share_a_folder_name(tmp_path: Path, videos: Path) -> None:
    (tmp_path / "mine").mkdir()
    files = [write(tmp_path / f"mine/{split}.jsonl", {"vid": "a", "query": "x"}) for split in ("train", "val")]
    plan = load_manifest(files, videos)
    assert plan.name == "mine"
    assert plan.splits() == {"train": 1, "val": 1}


@pytest.mark.parametrize(
    ("stem", "split"),
    [
        ("train", "train"),
        ("fold1_test", "test"),
        ("highlight_val_release", "val"),
        ("my-dev", "dev"),
        ("Validation", "val"),
        ("latest", None),
        ("training_contest", "train"),
        ("queries", None),
    ],
)
def test_split_words_in_file_names(stem: str, split: str | None) -> None:
    assert split_of(Path(f"{stem}.jsonl")) == split


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "x"}, "no 'vid'"),
        ({"vid": "a"}, "'query' must be a sentence"),
        ({"vid": "a", "query": "x", "start": 5, "end": 5}, "ends at or before its start"),
        ({"vid": "a", "query": "x", "start": 50, "end": 60, "duration": 9}, "lies outside the video of 9 s"),
        ({"vid": "a", "query": "x", "start": 5}, "a window's end must be a finite number"),
        ({"vid": "a", "query": "x", "split": 3}, "'split' must be a word"),
        ({"vid": "a", "query": "x", "type": ["action"]}, "'type' must be a word"),
        ({"video": 3, "query": "x"}, "'video' must be the path"),
        (
            {"vid": "a", "query": "x", "duration": 4, "relevant_clip_ids": [2], "saliency_scores": [[1]]},
            "saliency clip 2 lies outside",
        ),
    ],
)
def test_ones_own_mistakes_are_refused_with_their_line(
    tmp_path: Path, videos: Path, row: dict[str, Any], message: str
) -> None:
    file = write(tmp_path / "m.jsonl", {"vid": "a", "query": "fine"}, row)
    with pytest.raises(InputError, match=r"m\.jsonl:2: ") as caught:
        load_manifest([file], videos)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("vid,query\n", "has a header and no rows"),
        ("name,query\na,x\n", "no column 'vid' or 'video'; the header line reads name, query"),
        ("vid,query\na,x,y\n", "m.csv:2: 3 cells but 2 columns"),
        ("vid,query,relevant_windows\na,x,[[1\n", "'relevant_windows' must be written as JSON"),
        (f"vid,query,relevant_windows\na,x,{'[' * 100_000}\n", "'relevant_windows' must be written as JSON"),
        ('vid,query\na,"x\n', "not CSV"),
    ],
)
def test_malformed_csv(tmp_path: Path, videos: Path, content: str, message: str) -> None:
    file = tmp_path / "m.csv"
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        load_manifest([file], videos)
    assert message in str(caught.value)


def test_files_and_folders_that_are_not_what_they_should_be(tmp_path: Path, videos: Path) -> None:
    with pytest.raises(InputError, match="not found"):
        load_manifest([tmp_path / "none.jsonl"], videos)
    with pytest.raises(InputError, match="is a folder"):
        load_manifest([videos], videos)
    file = write(tmp_path / "m.jsonl", {"vid": "a", "query": "x"})
    with pytest.raises(InputError, match=r"video folder .*nowhere not found; .*--videos"):
        load_manifest([file], tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a file, not a folder"):
        load_manifest([file], file)
    (tmp_path / "latin.jsonl").write_bytes('{"vid": "a", "query": "caf\xe9"}'.encode("latin-1"))
    with pytest.raises(InputError, match="not a text file in UTF-8"):
        load_manifest([tmp_path / "latin.jsonl"], videos)
    write(tmp_path / "list.jsonl").write_text('["a", "x"]\n')
    with pytest.raises(InputError, match=r"list\.jsonl:1: expected a JSON object"):
        load_manifest([tmp_path / "list.jsonl"], videos)


@pytest.mark.shared
def test_joined_videos_are_all_found(shared: Path) -> None:
    folder = shared / "video/joined"
    plan = load_manifest([folder / "train.jsonl", folder / "val.jsonl"], folder)
    assert plan.splits() == {"train": 566, "val": 162}
    assert (len(plan.videos), plan.missing, plan.name) == (200, [], "joined")


@pytest.mark.shared
def test_tacos_reads_as_a_manifest(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "s30-d52.avi").touch()
    plan = load_manifest([shared / "data/annotations/tacos/tacos_test_release.jsonl"], tmp_path)
    assert plan.splits() == {"test": 4001}
    assert len(plan.missing) == 24
