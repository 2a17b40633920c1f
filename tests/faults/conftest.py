"""The videos that faults are tried on, and what an undisturbed run makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_tools import Data, Extraction, content_hash, make_data, render

FRAMES = (40, 14, 33, 8, 25, 19, 11, 30)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Eight short videos."""
    home = tmp_path_factory.mktemp("data")
    files = {f"v{i}": render(home / f"v{i}.mp4", frames=n, seed=i) for i, n in enumerate(FRAMES)}
    return make_data(home, files)


@pytest.fixture(scope="session")
def undisturbed(data: Data, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Content hash of the cache that one run makes without any fault."""
    run = Extraction(data, tmp_path_factory.mktemp("undisturbed") / "out" / "f.h5")
    done = run.run()
    assert done.code == 0, done.err
    assert run.left() == ["f.h5"]
    return content_hash(run.out)


@pytest.fixture
def extraction(data: Data, tmp_path: Path) -> Extraction:
    """A run yet to be started, into a folder that does not exist yet."""
    return Extraction(data, tmp_path / "out" / "f.h5")


@pytest.fixture
def own(tmp_path: Path, data: Data) -> Callable[[], Extraction]:
    """The same with its own copy of the videos, which may be tampered with."""

    def make() -> Extraction:
        home = tmp_path / "own"
        shutil.copytree(data.home, home)
        return Extraction(Data(home, data.vids), tmp_path / "out" / "f.h5")

    return make
