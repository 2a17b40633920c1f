"""What goes wrong with a hub is one line that says what, where and how to mend it; exit code 2, nothing kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_standin import Hub, Repository
from sharing_tools import REPO, make, rdmf, running_hub

from rdmf.store import merge, open_cache


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    yield from running_hub(monkeypatch)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unauthorised(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")


def offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def unreachable(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def somebody_elses(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[REPO] = Repository(branches={"main": "1" * 40}, commits={"1" * 40: {"README.md": hub.keep(b"x")}})


def listing(content: bytes) -> Callable[[Hub, pytest.MonkeyPatch], None]:
    def place(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        somebody_elses(hub, monkeypatch)
        hub.repositories[REPO].commits["1" * 40]["rdmf-cache.json"] = hub.keep(content)

    return place


def entry(path: str, sha256: str = "a" * 64) -> bytes:
    files = [{"path": path, "bytes": 3, "sha256": sha256}, {"path": "c.h5", "bytes": 3, "sha256": "b" * 64}]
    return of_version(1, files)


def of_version(version: int, files: list[dict[str, object]]) -> bytes:
    about = {"format": "rdmf shared cache", "version": version, "cache": "c.h5", "fingerprint": "f", "files": files}
    return json.dumps(about).encode()


@pytest.mark.parametrize(
    ("line", "prepare", "tells"),
    [
        (f"pull {REPO}", None, "no such dataset repository"),
        (f"pull {REPO}", unauthorised, "no such dataset repository"),
        (f"pull {REPO}", offline, "HF_HUB_OFFLINE is set"),
        (f"pull {REPO}", unreachable, "check the network and HF_ENDPOINT"),
        (f"pull {REPO} --endpoint http://127.0.0.1:9", None, "127.0.0.1:9: "),
        (f"pull {REPO}", somebody_elses, "shares no cache: it has no rdmf-cache.json"),
        (f"pull {REPO}", listing(b"{"), "is damaged, or not one that rdmf wrote"),
        (
            f"pull {REPO}",
            listing(of_version(9, [])),
            "version 9",
        ),
        (f"pull {REPO}", listing(entry("../../etc/passwd")), "not the path of a file inside"),
        (f"pull {REPO}", listing(entry("/etc/passwd")), "not the path of a file inside"),
        (f"pull {REPO}", listing(entry("a/./b")), "not the path of a file inside"),
        (f"pull {REPO}", listing(entry("a", "zz")), "is none"),
        (f"pull {REPO}", listing(entry("c.h5")), "does not end with its cache"),
        (f"pull {REPO}", listing(entry("a.h5")), "cannot fetch a.h5"),
        ("pull charades", None, "write USER/NAME for one on the hub, or ./NAME"),
        ("pull a/b/c", None, "is no repository"),
        (f"push c.h5 {REPO}", unauthorised, "not allowed (401)"),
        (f"push c.h5 {REPO}", offline, "HF_HUB_OFFLINE is set"),
        (f"push c.h5 {REPO}", unreachable, "check the network"),
        (f"push c.h5 {REPO}", somebody_elses, "name a repository of its own"),
        (f"push c.h5 {REPO} --license nonsense", None, '"license" must be one of'),
        (f"push nowhere.h5 {REPO}", None, "no feature cache at nowhere.h5"),
        (f"push damaged.h5 {REPO}", None, "damaged.h5 is damaged; `rdmf features verify damaged.h5` tells where"),
        (f"push apart/index.h5 {REPO}", None, "lies outside its folder"),
    ],
)
def test_what_goes_wrong_is_one_line(
    line: str,
    prepare: Callable[[Hub, pytest.MonkeyPatch], None] | None,
    tells: str,
    hub: Hub,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    cache = make(here / "c.h5")
    data = bytearray(cache.read_bytes())
    data[open_cache(cache).structure.extents["video/features"].offset] ^= 1
    (here / "damaged.h5").write_bytes(data)
    (here / "apart").mkdir()
    merge([cache], here / "apart" / "index.h5", self_contained=False)
    if prepare is not None:
        prepare(hub, monkeypatch)
    printed = rdmf(f"features {line}", capsys, code=2)
    assert tells in printed.err
    assert not [path for path in (here / "features").rglob("*") if path.suffix == ".h5"]
