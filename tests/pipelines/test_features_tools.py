"""`rdmf features list`, `subset`, `merge`, `diff` and `verify --workers`, through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rdmf.store import Failure, Provenance, QueryRecord, TextRecord, VideoRecord, open_cache, verify, write_cache
from rdmf.store.rows import RowTable
from rdmf_pipelines.cli import main
from rdmf_pipelines.datasets import load_manifest


def make(path: Path, first: int = 0, *, fps: float = 2.0, noise: float = 0.0) -> Path:
    """Three videos, of which two are asked about, and a query about a video without features."""
    starts = np.arange(4) * 0.5
    numbers = range(first, first + 3)
    generator = np.random.default_rng(first)
    videos = [
        VideoRecord(
            f"v{i}",
            generator.normal(size=(4, 6)) + noise * (i == first),
            np.stack([starts, starts + 1], 1),
            2.5,
            decoder="pyav 1",
            recovered=0.5 if i == first else 1.0,
            padded=i == first + 1,
        )
        for i in numbers
    ]
    queries = [
        QueryRecord(first, f"v{first}", "open the door", "train", ((0.0, 1.5), (2.0, 2.5)), kind="action"),
        QueryRecord(first + 1, f"v{first + 1}", "fermer la fenêtre", "val", duration=2.5),
        QueryRecord(f"q{first}", f"lost{first}", "open the door", "train"),
    ]
    texts = [TextRecord("open the door", np.ones((3, 2))), TextRecord("fermer la fenêtre", np.ones((4, 2)))]
    failures = [Failure(f"lost{first}", "no video stream")]
    return write_cache(path, Provenance({"fps": fps}, {}), videos, texts, queries, failures)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.h5")
    return tmp_path


def rdmf(line: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    """What a command prints, on standard output or, where it refuses, the one line on standard error."""
    with pytest.raises(SystemExit) as stop:
        main(["features", *line.split()])
    printed = capsys.readouterr()
    assert stop.value.code == code, printed.err
    assert printed.err.count("\n") == (code == 2)
    return printed.err if code == 2 else printed.out


def lines(line: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in rdmf(line, capsys).splitlines()]


def test_videos_listed(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RowTable, "read", lambda *_: pytest.fail("rows were read"))
    assert [text.split() for text in rdmf("list a.h5", capsys).splitlines()] == [
        ["vid", "rows", "duration", "queries", "decoder", "padded", "recovered"],
        ["v0", "4", "2.50", "1", "pyav", "1", "50.0%"],
        ["v1", "4", "2.50", "1", "pyav", "1", "padded"],
        ["v2", "4", "2.50", "0", "pyav", "1"],
    ]
    assert lines("list a.h5 --json --limit 1", capsys) == [
        {"vid": "v0", "rows": 4, "duration": 2.5, "queries": 1, "decoder": "pyav 1", "padded": False, "recovered": 0.5}
    ]
    assert [video["vid"] for video in lines("list a.h5 --json --split val", capsys)] == ["v1"]


def test_queries_listed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = rdmf("list a.h5 --queries", capsys).splitlines()
    assert table[0].split() == ["qid", "vid", "split", "kind", "duration", "relevant_windows", "features", "query"]
    assert table[1].split() == ["0", "v0", "train", "action", "0-1.5", "2-2.5", "open", "the", "door"]
    assert table[2].endswith("fermer la fenêtre")
    assert table[3].split() == ["q0", "lost0", "train", "none", "open", "the", "door"]
    (query,) = lines("list a.h5 --queries --split val --json", capsys)
    assert query == {
        "qid": 1,
        "vid": "v1",
        "split": "val",
        "duration": 2.5,
        "features": True,
        "query": "fermer la fenêtre",
    }


def test_queries_as_json_are_a_manifest(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "back.jsonl").write_text(rdmf("list a.h5 --queries --json", capsys), encoding="utf-8")
    for vid in ("v0", "v1", "lost0"):
        (here / f"{vid}.mp4").write_bytes(b"")
    plan = load_manifest([here / "back.jsonl"], here, split=None)
    assert [(q.vid, q.text, q.split, q.windows, q.kind) for q in plan.queries] == [
        (q.vid, q.text, q.split, q.windows, q.kind) for q in open_cache(here / "a.h5").query_records()
    ]


def test_an_empty_list_is_empty(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cache(here / "none.h5", Provenance({}, {}), [], [], [])
    assert rdmf("list none.h5", capsys) == ""
    assert "no split 'tset' in a.h5" in rdmf("list a.h5 --split tset", capsys, code=2)


def test_subset_and_merge(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(here / "b.h5", first=10)
    told = rdmf("merge a.h5 b.h5 --out both.h5", capsys)
    assert "both.h5: 6 videos, 6 queries, 2 sentences, " in told
    assert told.endswith("self-contained\n")
    assert rdmf("merge a.h5 b.h5 --link --out deep/index.h5", capsys).endswith("an index over 2 files\n")
    (here / "some.txt").write_text("v11\n\nv0\n", encoding="utf-8-sig")  # as Windows' editors write it
    rdmf("subset both.h5 --vids some.txt --out some.h5", capsys)
    assert open_cache("some.h5").vids == ["v0", "v11"]
    rdmf("subset deep/index.h5 --split val --limit 1 --link --out deep/val.h5", capsys)
    shutil.move("deep", "moved")
    with open_cache("moved/val.h5") as cache:
        assert (list(cache.vids), cache.texts, cache.columns.strings("link/path")) == (
            ["v1"],
            ["fermer la fenêtre"],
            ["../a.h5"],
        )
        np.testing.assert_array_equal(cache.video("v1")[0], open_cache("a.h5").video("v1")[0])
    assert verify("moved/val.h5") == []


def test_what_subset_and_merge_refuse(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty.txt").write_text("\n")
    (here / "binary.txt").write_bytes(b"\xff\xfe")
    (here / "wrong.txt").write_text("v0\nv77\n")
    make(here / "faster.h5", first=10, fps=4.0)
    before = (here / "a.h5").read_bytes()
    for line, tells in {
        "subset a.h5 --out n.h5": "--vids, --split or --limit",
        "subset a.h5 --out n.h5 --limit 0": "--limit",
        "subset a.h5 --out n.h5 --split tset": "no split 'tset'",
        "subset a.h5 --out n.h5 --vids nowhere.txt": "cannot read nowhere.txt",
        "subset a.h5 --out n.h5 --vids empty.txt": "names no video",
        "subset a.h5 --out n.h5 --vids binary.txt": "not UTF-8",
        "subset a.h5 --out n.h5 --vids wrong.txt": "1 of 2 videos are not in a.h5: 'v77'",
        "subset a.h5 --out a.h5 --limit 1": "a.h5 exists already",
        "subset nowhere.h5 --out n.h5 --limit 1": "no feature cache at nowhere.h5",
        "merge a.h5 a.h5 --out n.h5": "video 'v0' is in both a.h5 and a.h5",
        "merge a.h5 faster.h5 --out n.h5": "video.fps: 4.0 here, 2.0 there",
        "merge a.h5 --out a.h5": "exists already",
        "merge --out n.h5": "Missing argument",
    }.items():
        assert tells in rdmf(line, capsys, code=2), line
    assert not (here / "n.h5").exists()
    assert (here / "a.h5").read_bytes() == before


def test_diff(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rdmf("diff a.h5 a.h5", capsys).splitlines() == [
        "here a.h5, there a.h5",
        "  settings that differ: none",
        "  3 videos in both, 3 of them identical",
        "  2 sentences in both, 2 of them identical",
        "the features are the same",
    ]
    make(here / "b.h5", fps=4.0, noise=0.25)
    told = rdmf("diff a.h5 b.h5", capsys, code=1)
    for said in (
        "video.fps: 2.0 here, 4.0 there",
        "3 videos in both, 2 of them identical; cosine",
        "the features differ\n",
    ):
        assert said in told
    (worst,) = [line.split() for line in told.splitlines() if line.endswith(" v0")]
    assert 0.2 < float(worst[2]) < 0.3
    assert rdmf("diff a.h5 b.h5 --tolerance 0.3", capsys).endswith("the features are the same (tolerance 0.3)\n")
    make(here / "c.h5", first=2)
    rdmf("subset a.h5 --limit 2 --out less.h5", capsys)
    assert rdmf("diff a.h5 less.h5", capsys, code=1).endswith("what both have is the same\n")
    told = rdmf("diff a.h5 c.h5 --worst 0", capsys, code=1)
    assert "2 videos only here:\n    v0\n    v1\n" in told
    assert "2 videos only there:\n    v3\n    v4\n" in told
    facts = json.loads(rdmf("diff a.h5 c.h5 --json", capsys, code=1))
    assert (facts["agree"], facts["videos"]["only_here"], facts["videos"]["compared"]) == (False, ["v0", "v1"], 1)
    assert [item["name"] for item in facts["videos"]["worst"]] == ["v2"]
    assert "no feature cache at nowhere.h5" in rdmf("diff a.h5 nowhere.h5", capsys, code=2)


def test_diff_of_other_widths(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = np.array([[0.0, 1.0]])
    write_cache(here / "wide.h5", Provenance({}, {}), [VideoRecord("v1", np.ones((1, 9)), times, 1.0)], [], [])
    told = rdmf("diff a.h5 wide.h5", capsys, code=1)
    assert "1 videos of other shapes, not compared:\n    v1: 4 x 6 here, 1 x 9 there\n" in told


@pytest.mark.parametrize("workers", [1, 3])
def test_verify_with_workers(here: Path, capsys: pytest.CaptureFixture[str], workers: int) -> None:
    assert rdmf(f"verify a.h5 --workers {workers}", capsys) == "a.h5: every checksum matches\n"
    with (here / "a.h5").open("r+b") as file:
        file.seek(open_cache(here / "a.h5").structure.extents["video/features"].offset + 4 * 6 * 2)
        file.write(b"\x01\x02")
    told = rdmf(f"verify a.h5 --workers {workers}", capsys, code=1)
    assert "video 'v1' (number 1)" in told
    assert told.endswith("a.h5: 2 problems found\n")
    assert "--workers" in rdmf("verify a.h5 --workers 0", capsys, code=2)
