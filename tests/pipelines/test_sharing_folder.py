"""Caches shared through a folder: copied whole, checked, and never onto something else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sharing_tools import make, no_leftovers, rdmf, same

from rdmf.store import merge, open_cache


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "c.h5")
    return tmp_path


def test_there_and_back(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = rdmf("features push c.h5 ./share/charades --license cc-by-4.0", capsys)
    assert told.out.splitlines()[1] == "others get it by `rdmf features pull ./share/charades`"
    shared = here / "share" / "charades"
    assert {path.name for path in shared.iterdir()} == {"c.h5", "README.md", "SHA256SUMS", "rdmf-cache.json"}
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=shared, capture_output=True, text=True, check=False)
    assert checked.stdout == "c.h5: OK\n"
    card = (shared / "README.md").read_text()
    assert "license: cc-by-4.0" in card
    assert "rdmf features pull ./charades --out features/c.h5" in card
    assert str(here) not in card
    assert "1 of 1 files fetched" in rdmf("features pull ./share/charades", capsys).out
    assert same(here / "features" / "c.h5", here / "c.h5")
    assert open_cache(shared / "c.h5").n_videos == 3  # it can be used in place, too
    assert no_leftovers(here)


def test_an_index_and_its_parts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [make(here / "parts" / f"{i}.h5", first=10 * i) for i in range(3)]
    index = merge(parts, here / "all.h5", self_contained=False)
    rdmf("features push all.h5 ./share", capsys)
    rdmf("features pull ./share --out deep/all.h5", capsys)
    np.testing.assert_array_equal(open_cache(here / "deep" / "all.h5").video_rows(), open_cache(index).video_rows())
    before = (here / "share" / "parts" / "1.h5").stat().st_mtime_ns
    merge(parts[1:], index, self_contained=False)
    rdmf("features push all.h5 ./share", capsys)
    assert not (here / "share" / "parts" / "0.h5").exists()
    assert (here / "share" / "parts" / "1.h5").stat().st_mtime_ns == before


def test_resuming(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rdmf("features push c.h5 ./share", capsys)
    digest = (here / "share" / "SHA256SUMS").read_text()[:16]
    partial = here / f"mine.h5.{digest}.partial"
    whole = (here / "c.h5").read_bytes()
    for begun in (whole[:7000], whole, whole + b"more", b""):
        partial.write_bytes(begun)
        rdmf("features pull ./share --out mine.h5", capsys)
        assert same(here / "mine.h5", here / "c.h5")
        (here / "mine.h5").unlink()
    partial.write_bytes(b"x" * 100)  # begun with something else: what came together is wrong, and is not kept
    assert "is not what its checksum says" in rdmf("features pull ./share --out mine.h5", capsys, code=2).err
    assert no_leftovers(here)
    rdmf("features pull ./share --out mine.h5", capsys)


def test_what_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rdmf("features push c.h5 ./share", capsys)
    make(here / "other.h5", first=7)
    (here / "notes.txt").write_text("x")
    (here / "notes").mkdir()
    (here / "notes" / "README.md").write_text("mine")
    (here / "gap").mkdir()
    listing = (here / "share" / "rdmf-cache.json").read_bytes()
    (here / "gap" / "rdmf-cache.json").write_bytes(listing)
    (here / "huge").mkdir()
    (here / "huge" / "rdmf-cache.json").write_text(
        json.dumps({**json.loads(listing), "files": [{"path": "c.h5", "bytes": 10**18, "sha256": "a" * 64}]})
    )
    (here / "mark").mkdir()
    (here / "mark" / "c.h5").write_bytes((here / "c.h5").read_bytes())
    (here / "mark" / "rdmf-cache.json").write_text(json.dumps({**json.loads(listing), "fingerprint": "another"}))
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    for line, tells in {
        "pull ./nowhere": "no folder nowhere; is the disk mounted?",
        "pull ./notes.txt": "is a file; name a folder",
        "pull ./notes": "shares no cache",
        "pull ./share --out notes": "notes is a directory",
        "pull ./share --out other.h5": "other.h5 is another file than the one that is shared",
        "pull ./share --out notes.txt/c.h5": "notes.txt",
        "pull ./share --revision main": "--revision is for repositories on a hub",
        "pull ./share --endpoint http://x": "--endpoint is for repositories",
        "pull ./gap": "c.h5 is missing, though rdmf-cache.json lists it",
        "pull ./huge": "GB are still to come",
        "pull ./mark": "has another fingerprint than rdmf-cache.json says",
        "push c.h5 ./notes": "notes has a README.md but no shared cache",
        "push c.h5 ./notes.txt": "is a file; name a folder",
        "push c.h5 ./new --private": "--private is for repositories",
        "push nowhere.h5 ./new": "no feature cache at nowhere.h5",
    }.items():
        assert tells in rdmf(f"features {line}", capsys, code=2).err, line
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_a_push_takes_no_cache_but_its_own_copies_away(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The next push clears what an earlier one has put there: that must never be somebody's own cache."""
    make(here / "mine" / "c.h5", first=5)
    make(here / "mine" / "d.h5", first=9)
    before = {path: path.read_bytes() for path in here.rglob("*.h5")}
    for line, tells in {
        "push mine/c.h5 ./mine": "mine/c.h5 lies in",
        "push c.h5 ./mine": "c.h5 is there and no push has made it",
    }.items():
        assert tells in rdmf(f"features {line}", capsys, code=2).err
    assert {path: path.read_bytes() for path in here.rglob("*.h5")} == before
    assert not (here / "mine" / "rdmf-cache.json").exists()
    # A copy that a broken push has left is one that this push would make.
    (here / "share").mkdir()
    (here / "share" / "c.h5").write_bytes((here / "c.h5").read_bytes())
    rdmf("features push c.h5 ./share", capsys)
    rdmf("features push mine/d.h5 ./share", capsys)
    assert {path.name for path in (here / "share").glob("*.h5")} == {"d.h5"}


def test_a_pull_that_another_process_is_at(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    rdmf("features push c.h5 ./share", capsys)
    digest = (here / "share" / "SHA256SUMS").read_text()[:16]
    with (here / f"mine.h5.{digest}.partial").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "being fetched by another process" in rdmf("features pull ./share --out mine.h5", capsys, code=2).err
    rdmf("features pull ./share --out mine.h5", capsys)
