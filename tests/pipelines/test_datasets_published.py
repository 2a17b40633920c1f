"""QVHighlights and ActivityNet Captions in their published forms, and what all named datasets share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rdmf.store.errors import InputError
from rdmf_pipelines.datasets import activitynet, load_dataset, qvhighlights
from rdmf_pipelines.datasets.plan import Annotations
from rdmf_pipelines.datasets.repairs import Repairs

VID = "NUsG9BgSes0_210.0_360.0"
ROW: dict[str, Any] = {
    "qid": 2579,
    "query": "A girl and her mother cooked.",
    "duration": 150,
    "vid": VID,
    "relevant_clip_ids": [41, 42],
    "saliency_scores": [[1, 1, 2], [2, 1, 4]],
    "relevant_windows": [[82, 86]],
}
CAPTIONS = {
    "v_aaa": {
        "duration": 82.73,
        "timestamps": [[0.83, 19.86], [60.0, 60.0], [50.0, 99.0], [56.26, 82.73000001]],
        "sentences": ["One.", "Two.", "  Three\n is here. ", "Four."],
    },
    "v_bbb": {"duration": 10, "timestamps": [[0, 10]], "sentences": ["Five."]},
}


def qvhighlights_folders(root: Path, rows: list[dict[str, Any]], videos: tuple[str, ...] = (f"{VID}.mp4",)) -> None:
    (root / "a").mkdir()
    (root / "v").mkdir()
    (root / "a/highlight_val_release.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in videos:
        (root / "v" / name).touch()


def activitynet_folders(root: Path, captions: dict[str, Any]) -> None:
    (root / "a").mkdir()
    (root / "v").mkdir()
    (root / "a/val_1.json").write_text(json.dumps(captions))
    (root / "v/v_aaa.mkv").touch()
    (root / "v/bbb.webm").touch()  # named after the YouTube id alone


def test_qvhighlights_keeps_windows_and_every_annotator(tmp_path: Path) -> None:
    qvhighlights_folders(tmp_path, [ROW])
    plan = load_dataset("qvhighlights", tmp_path / "a", tmp_path / "v")
    (query,) = plan.queries
    assert (query.qid, query.split, query.duration, query.clip_length) == (2579, "val", 150.0, 2.0)
    assert query.windows == ((82.0, 86.0),)
    assert query.saliency_clips == (41, 42)
    assert query.saliency_scores == ((1.0, 1.0, 2.0), (2.0, 1.0, 4.0))
    # The video's name has dots in it, which must not be taken for an ending.
    assert plan.videos == {VID: tmp_path / "v" / f"{VID}.mp4"}


def test_qvhighlights_test_without_ground_truth(tmp_path: Path) -> None:
    qvhighlights_folders(tmp_path, [ROW])
    bare = {key: ROW[key] for key in ("qid", "query", "duration", "vid")}
    (tmp_path / "a/highlight_test_release.jsonl").write_text(json.dumps(bare))
    plan = load_dataset("qvhighlights", tmp_path / "a", tmp_path / "v")
    assert plan.splits() == {"val": 1, "test": 1}
    assert plan.queries[1].windows == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qid": None}, "'qid' must be a number or a name"),
        ({"query": " "}, "'query' must be a sentence"),
        ({"vid": 3.5}, "'vid' must be a video's name"),
        ({"duration": -1}, "'duration' must be above 0"),
        ({"duration": "long"}, "'duration' (seconds) must be a finite number"),
        ({"relevant_windows": [82, 86]}, "must be a list of [start, end] pairs"),
        ({"relevant_windows": [[82, "x"]]}, "a window's end must be a finite number"),
        ({"saliency_scores": [[1, 1, 2]]}, "lists of equal length, got 2 entries and 1 entries"),
        ({"saliency_scores": [[1, 1, 2], [1]]}, "different numbers of annotators"),
        ({"saliency_scores": [[1, 1, None], [1, 1, 1]]}, "the saliency score of clip 41"),
        ({"relevant_clip_ids": [41, 41]}, "clip 41 stands twice"),
        ({"relevant_clip_ids": [41, -1]}, "whole numbers from 0"),
    ],
)
def test_malformed_rows_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    qvhighlights_folders(tmp_path, [ROW, {**ROW, "qid": 1, **change}])
    with pytest.raises(InputError, match=r"highlight_val_release\.jsonl:2: ") as caught:
        load_dataset("qvhighlights", tmp_path / "a", tmp_path / "v")
    assert message in str(caught.value)


def test_duplicate_qids_name_both_places(tmp_path: Path) -> None:
    qvhighlights_folders(tmp_path, [ROW, ROW])
    with pytest.raises(InputError, match=r"jsonl:2: qid 2579 was already used in split 'val' at .*jsonl:1"):
        load_dataset("qvhighlights", tmp_path / "a", tmp_path / "v")


def test_a_line_that_is_not_json(tmp_path: Path) -> None:
    qvhighlights_folders(tmp_path, [ROW])
    with (tmp_path / "a/highlight_val_release.jsonl").open("a") as file:
        file.write('{"qid": 3, "query": \n')
    with pytest.raises(InputError, match=r"highlight_val_release\.jsonl:2: not JSON"):
        load_dataset("qvhighlights", tmp_path / "a", tmp_path / "v")


def test_activitynet_mends_and_counts(tmp_path: Path) -> None:
    activitynet_folders(tmp_path, CAPTIONS)
    plan = load_dataset("activitynet", tmp_path / "a", tmp_path / "v")
    assert plan.splits() == {"val_1": 4}
    assert [query.qid for query in plan.queries] == [f"val_1-v_aaa-{k}" for k in (0, 2, 3)] + ["val_1-v_bbb-0"]
    assert plan.queries[1].text == "Three is here."
    assert plan.queries[1].windows == ((50.0, 82.73),)
    assert plan.queries[2].windows == ((56.26, 82.73),)
    # The window that only overshoots by rounding is not worth counting.
    assert plan.notes["repairs"] == {"windows_cut": 1, "windows_dropped": 1, "queries_dropped": 1}
    assert plan.videos == {"v_aaa": tmp_path / "v/v_aaa.mkv", "v_bbb": tmp_path / "v/bbb.webm"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([], "expected an object with 'duration', 'timestamps' and 'sentences'"),
        ({"duration": 5, "timestamps": [[0, 1]], "sentences": []}, "lists of equal length"),
        ({"duration": 5, "timestamps": [[0]], "sentences": ["x"]}, "sentence 0: its timestamps must be"),
        ({"duration": 5, "timestamps": [[0, 1]], "sentences": [""]}, "sentence 0: it is empty"),
        ({"duration": 0, "timestamps": [[0, 1]], "sentences": ["x"]}, "'duration' must be above 0"),
    ],
)
def test_activitynet_malformed_entries_are_named(tmp_path: Path, entry: Any, message: str) -> None:
    activitynet_folders(tmp_path, {**CAPTIONS, "v_odd": entry})
    with pytest.raises(InputError, match=r"val_1\.json, video 'v_odd'") as caught:
        load_dataset("activitynet", tmp_path / "a", tmp_path / "v")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "is empty"), ("{}", "is empty"), ("[]", "expected one JSON object"), ('{"a": ', ":1: not JSON")],
)
def test_activitynet_files_that_are_none(tmp_path: Path, content: str, message: str) -> None:
    activitynet_folders(tmp_path, CAPTIONS)
    (tmp_path / "a/val_1.json").write_text(content)
    with pytest.raises(InputError, match=message):
        load_dataset("activitynet", tmp_path / "a", tmp_path / "v")


def test_unknown_dataset_names_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown dataset 'charade'; did you mean 'charades'"):
        load_dataset("charade")


def test_no_annotated_video_there(tmp_path: Path) -> None:
    qvhighlights_folders(tmp_path, [ROW], videos=("other.mp4",))
    with pytest.raises(InputError, match=rf"none of the 1 annotated videos .*'{VID}'.* found 1 video files"):
        load_dataset("qvhighlights", tmp_path / "a", tmp_path / "v")


def test_two_files_for_one_video(tmp_path: Path) -> None:
    qvhighlights_folders(tmp_path, [ROW], videos=(f"{VID}.mp4", f"{VID}.webm"))
    with pytest.raises(InputError, match=r"could be .*mp4 or .*webm"):
        load_dataset("qvhighlights", tmp_path / "a", tmp_path / "v")


def test_linked_folders_are_followed_once_and_hidden_files_left_out(tmp_path: Path) -> None:
    qvhighlights_folders(tmp_path, [ROW], videos=(f"._{VID}.mp4",))
    elsewhere = tmp_path / "disk2"
    elsewhere.mkdir()
    (elsewhere / f"{VID}.MP4").touch()
    (tmp_path / "v/link").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(tmp_path / "v")  # a loop
    plan = load_dataset("qvhighlights", tmp_path / "a", tmp_path / "v")
    assert plan.videos == {VID: tmp_path / f"v/link/{VID}.MP4"}


@pytest.mark.shared
def test_published_counts_of_qvhighlights(shared: Path) -> None:
    collected, repairs = Annotations(), Repairs()
    for split, names in qvhighlights.SOURCE.files.items():
        qvhighlights.read(shared / "data/annotations/qvhighlights" / names[0], split, collected, repairs)
    counts = [sum(query.split == split for query in collected.queries) for split in ("train", "val", "test")]
    assert counts == [7218, 1550, 1542]
    assert repairs.as_notes() == {}
    assert all(len(scores) == 3 for query in collected.queries for scores in query.saliency_scores)


@pytest.mark.shared
def test_published_counts_of_activitynet(shared: Path) -> None:
    collected, repairs = Annotations(), Repairs()
    activitynet.read(shared / "data/annotations/activitynet/train.json", "train", collected, repairs)
    assert len({query.vid for query in collected.queries}) == 10009
    assert len(collected.queries) == 37417
    assert repairs.as_notes() == {"windows_dropped": 4, "queries_dropped": 4}
