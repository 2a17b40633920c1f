"""`rdmf features push` and `pull` against a stand-in for the hub: the real huggingface_hub, a server in a thread."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from hub_standin import TOKEN, Hub
from sharing_tools import REPO, make, no_leftovers, rdmf, running_hub, same

from rdmf.store import merge, open_cache
from rdmf_pipelines.sharing import hub as hub_module


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    yield from running_hub(monkeypatch)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_and_back(hub: Hub, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = make(here / "c.h5")
    told = rdmf(f"features push c.h5 {REPO} --license cc-by-4.0", capsys)
    assert told.out.splitlines()[1] == f"others get it by `rdmf features pull {REPO}`"
    assert told.err == ""
    assert set(hub.files(REPO)) == {"c.h5", "README.md", "SHA256SUMS", "rdmf-cache.json"}
    told = rdmf(f"features pull {REPO} --out got/mine.h5", capsys)
    assert "1 of 1 files fetched, every checksum matches" in told.out
    assert same(here / "got" / "mine.h5", cache)
    assert no_leftovers(here)
    assert "all of it was here already" in rdmf(f"features pull {REPO} --out got/mine.h5", capsys).out
    rdmf(f"features pull {REPO}", capsys)
    assert same(here / "features" / "c.h5", cache)


def test_an_index_keeps_its_relative_links(hub: Hub, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [make(here / "all" / "deep" / "parts" / f"{i}.h5", first=10 * i) for i in range(3)]
    index = merge(parts, here / "all" / "all.h5", self_contained=False)
    rdmf(f"features push {index} {REPO} --license mit", capsys)
    assert {"all.h5", "deep/parts/0.h5", "deep/parts/2.h5"} < set(hub.files(REPO))
    told = rdmf(f"features pull {REPO} --out got/other.h5", capsys)
    assert "4 of 4 files fetched" in told.out
    with open_cache(here / "got" / "other.h5") as cache:
        assert [file.path for file in cache.data_files] == [
            here / "got" / "deep" / "parts" / f"{i}.h5" for i in range(3)
        ]
        np.testing.assert_array_equal(cache.video_rows(), open_cache(index).video_rows())
    (here / "got" / "other.h5").unlink()
    assert "1 of 4 files fetched" in rdmf(f"features pull {REPO} --out got/other.h5", capsys).out


def test_the_card_tells_all(hub: Hub, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = make(here / "c.h5")
    rdmf(f"features push c.h5 {REPO} --license cc-by-4.0", capsys)
    card = hub.files(REPO)["README.md"].decode()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "cc-by-4.0"
    for said in (
        f"rdmf features pull {REPO} --out features/c.h5",
        "rdmf train --features features/c.h5",
        "| videos | 3 of 4 |",
        "encoder swin, fps 2.0, window 1.0, stride 0.5",
        "- `lost0`: no / 'stream'",
        "research only",
        open_cache(cache).fingerprint,
        "by rdmf ",
        '"fps": 2.0',
    ):
        assert said.lower() in card.lower(), said
    sums = hub.files(REPO)["SHA256SUMS"].decode()
    assert re.fullmatch(r"[0-9a-f]{64}  c\.h5\n", sums)
    assert sums[:64] in card


def test_licences_of_ones_own_and_none(hub: Hub, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(here / "c.h5")
    assert "nobody said who may use this" in rdmf(f"features push c.h5 {REPO}", capsys).err
    assert yaml.safe_load(hub.files(REPO)["README.md"].decode().split("---")[1])["license"] == "unknown"
    from rdmf_pipelines.sharing.card import _licence

    assert _licence("Research only: ask us") == {"license": "other", "license_name": "research-only-ask-us"}


def test_a_broken_connection_goes_on_where_it_broke(
    hub: Hub, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    cache = make(here / "c.h5")
    rdmf(f"features push c.h5 {REPO}", capsys)
    hub.cut["c.h5"] = 3000
    rdmf(f"features pull {REPO}", capsys)
    assert any(re.search(r"c\.h5 Range: bytes=3000-", request) for request in hub.requests)
    assert same(here / "features" / "c.h5", cache)


def test_a_killed_pull_is_resumed(hub: Hub, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = make(here / "c.h5")
    rdmf(f"features push c.h5 {REPO}", capsys)
    digest = hub.files(REPO)["SHA256SUMS"].decode()[:16]
    partial = here / "features" / f"c.h5.{digest}.partial"
    partial.parent.mkdir()
    partial.write_bytes(cache.read_bytes()[:5000])
    rdmf(f"features pull {REPO}", capsys)
    assert [r for r in hub.requests if r.startswith("GET") and "c.h5" in r] == [
        f"GET /datasets/{REPO}/resolve/{hub.repositories[REPO].branches['main']}/c.h5 Range: bytes=5000-"
    ]
    assert same(here / "features" / "c.h5", cache)
    assert no_leftovers(here)


def test_wrong_bytes_are_refused_and_forgotten(hub: Hub, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(here / "c.h5")
    rdmf(f"features push c.h5 {REPO}", capsys)
    hub.wrong.add("c.h5")
    told = rdmf(f"features pull {REPO}", capsys, code=2)
    assert f"c.h5 from {REPO} is not what its checksum says" in told.err
    assert list((here / "features").rglob("*")) == []


def test_large_files_go_the_hubs_own_way(
    hub: Hub, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make(here / "c.h5")
    rdmf(f"features push c.h5 {REPO}", capsys)
    monkeypatch.setattr(hub_module, "MOST_BYTES_BY_HTTP", 1000)
    rdmf(f"features pull {REPO}", capsys)
    assert same(here / "features" / "c.h5", cache)
    assert no_leftovers(here)


def test_a_second_push_replaces_the_first(hub: Hub, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [make(here / "parts" / f"{i}.h5", first=10 * i) for i in range(3)]
    index = merge(parts, here / "all.h5", self_contained=False)
    rdmf(f"features push all.h5 {REPO}", capsys)
    before = sum(request.startswith("PUT") for request in hub.requests)
    merge(parts[:2], index, self_contained=False)
    rdmf(f"features push all.h5 {REPO}", capsys)
    assert set(hub.files(REPO)) == {"all.h5", "parts/0.h5", "parts/1.h5", "README.md", "SHA256SUMS", "rdmf-cache.json"}
    # What the hub has already is not sent again: only the new index is.
    assert sum(request.startswith("PUT") for request in hub.requests) == before + 1


def test_revisions(hub: Hub, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = make(here / "c.h5"), make(here / "d.h5", first=5)
    rdmf(f"features push c.h5 {REPO}", capsys)
    rdmf(f"features push d.h5 {REPO} --revision fps4", capsys)
    rdmf(f"features pull {REPO} --out one.h5", capsys)
    rdmf(f"features pull {REPO} --out two.h5 --revision fps4", capsys)
    assert same(here / "one.h5", first)
    assert same(here / "two.h5", second)
    told = rdmf(f"features pull {REPO} --out three.h5 --revision nope", capsys, code=2)
    assert "no such --revision" in told.err


def test_private(hub: Hub, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make(here / "c.h5")
    rdmf(f"features push c.h5 {REPO} --private", capsys)
    assert hub.repositories[REPO].private
    rdmf(f"features pull {REPO}", capsys)
    assert same(here / "features" / "c.h5", cache)
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    told = rdmf(f"features pull {REPO} --out other.h5", capsys, code=2)
    assert "no such dataset repository, or you may not see it" in told.err
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    rdmf("features push c.h5 lab/open", capsys)
    assert "already and public" in rdmf("features push c.h5 lab/open --private", capsys, code=2).err


@pytest.mark.long
def test_the_environment_alone_is_enough(hub: Hub, here: Path) -> None:
    """In processes of their own, as a user has them: the endpoint, the token and the switch out of the environment."""
    cache = make(here / "c.h5")
    environment = {**os.environ, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(here / "home")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    environment.pop("HF_HUB_OFFLINE", None)
    for line in (f"push c.h5 {REPO} --license mit", f"pull {REPO} --out got.h5"):
        done = subprocess.run(
            [sys.executable, "-m", "rdmf_pipelines.cli", "features", *line.split()],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert same(here / "got.h5", cache)
