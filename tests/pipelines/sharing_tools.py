"""Caches to share, and what the tests of sharing do with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_standin import TOKEN, Hub

from rdmf.store import Failure, Provenance, QueryRecord, TextRecord, VideoRecord, write_cache
from rdmf_pipelines.cli import main

REPO = "lab/charades"


def running_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in for the hub, which the environment names as the hub and gives a token for."""
    from huggingface_hub import constants

    with Hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        # Read from the environment when huggingface_hub is first imported, which another test may have done.
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
        yield running


def make(path: Path, first: int = 0, count: int = 3, rows: int = 40) -> Path:
    generator = np.random.default_rng(first)
    starts = np.arange(rows) / 2
    videos = [
        VideoRecord(f"v{i}", generator.normal(size=(rows, 32)), np.stack([starts, starts + 1], 1), rows / 2)
        for i in range(first, first + count)
    ]
    queries = [QueryRecord(i, f"v{i}", "open", "train") for i in range(first, first + count)]
    queries.append(QueryRecord(1000 + first, f"lost{first}", "open", "train"))
    provenance = Provenance(
        {"encoder": "swin", "fps": 2.0, "window": 1.0, "stride": 0.5},
        {"encoder": "bert"},
        {"dataset": "charades", "licence": "research only"},
    )
    texts = [TextRecord("open", np.ones((3, 4)))]
    return write_cache(path, provenance, videos, texts, queries, [Failure(f"lost{first}", "no | `stream`")])


def rdmf(line: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    printed = capsys.readouterr()
    assert stop.value.code == code, printed.err
    if code == 2:
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1
        assert printed.out == ""
    return printed


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def no_leftovers(folder: Path) -> bool:
    return not [path for path in folder.rglob("*") if "partial" in path.name or "download" in path.name]
