"""Small caches, and folders where jobs are done without training."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

import pytest
from planned_studies import furnish, write_plan
from studies_samples import FAKE_JOB, make_cache, rdmf

from rdmf_pipelines.studies import runner


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of fold1.h5 and fold2.h5."""
    folder = tmp_path_factory.mktemp("caches")
    for i in (1, 2):
        make_cache(folder / f"fold{i}.h5", train=4, test=4, seed=i)
    return folder


@pytest.fixture
def without_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are done by their stand-in."""
    monkeypatch.setattr(runner, "COMMAND", FAKE_JOB)
    monkeypatch.setattr(runner, "LOOK", 0.02)


@pytest.fixture
def place(caches: Path, without_training: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the two caches, where jobs are done without training."""
    for path in caches.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rdmf_pipelines.studies.sheet.draw", lambda *_: None)  # a second each
    monkeypatch.setenv("DIARY", str(tmp_path / "diary"))
    return tmp_path


@pytest.fixture(scope="session")
def finished(caches: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Such a folder in which the whole plan was run and reported, and what was printed."""
    folder = tmp_path_factory.mktemp("finished")
    furnish(folder, caches)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.chdir(folder)
        patch.setattr(runner, "COMMAND", FAKE_JOB)
        patch.setattr(runner, "LOOK", 0.02)
        write_plan(folder)
        assert rdmf("report", "--plan", "plan.yaml", "--run") == 0
    return folder, printed.getvalue()


@pytest.fixture
def measured(finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be spoilt."""
    shutil.copytree(finished[0], tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"
