"""The borders between the packages, proved by importing them, and the proof itself proved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rdmf_pipelines.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
#: The trainer must work where none of these is installed.
FOREIGN = ["decord", "av", "transformers", "timm", "torchvision", "rdmf_extract", "rdmf_pipelines"]

#: Imports every module of a package, and prints which of the named ones came along and which modules could not be had.
WALK = """
import importlib, json, pkgutil, sys
package, watched = sys.argv[1], sys.argv[2].split(",")
seen, failed = [], []
root = importlib.import_module(package)
for module in pkgutil.walk_packages(root.__path__, f"{package}."):
    try:
        importlib.import_module(module.name)
        seen.append(module.name)
    except ImportError as error:
        failed.append(f"{module.name}: {error}")
print(json.dumps({"modules": seen, "failed": failed, "found": [name for name in watched if name in sys.modules]}))
"""


def python(code: str, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds the packages of this checkout."""
    paths = [*([str(path)] if path else []), str(ROOT), str(ROOT / "extract"), str(ROOT / "pipelines")]
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
    )


def walk(package: str, watched: list[str], path: Path | None = None) -> dict[str, list[str]]:
    done = python(WALK, package, ",".join(watched), path=path)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_trainer_loads_no_decoder_no_encoder_and_no_extractor() -> None:
    report = walk("rdmf", FOREIGN)
    assert report["found"] == []
    assert report["failed"] == []
    for expected in (
        "rdmf.train.loop",
        "rdmf.model.rdmf",
        "rdmf.predict",
        "rdmf.evaluation.official",
        "rdmf.store.cache",
    ):
        assert expected in report["modules"]


def test_the_store_loads_no_torch() -> None:
    report = walk("rdmf.store", ["torch", "pandas", "scipy", "matplotlib", "typer", *FOREIGN])
    assert report["found"] == []
    assert report["failed"] == []


@pytest.mark.parametrize("foreign", ["av", "timm"])
def test_an_offender_would_be_caught(foreign: str, tmp_path: Path) -> None:
    """The check above, on a package that does what rdmf must not; the offence hides two levels down."""
    inner = tmp_path / "offender" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "offender" / "__init__.py").write_text("")
    (inner / "__init__.py").write_text("")
    (inner / "innocent.py").write_text("import json\n")
    (tmp_path / f"{foreign}.py").write_text("")  # a stand-in, so that the test needs no such package
    assert walk("offender", FOREIGN, tmp_path)["found"] == []
    (inner / "deep.py").write_text(f"import {foreign}\n")
    assert walk("offender", FOREIGN, tmp_path)["found"] == [foreign]


def test_a_module_that_cannot_be_imported_would_be_reported(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("")
    (tmp_path / "broken" / "part.py").write_text("import a_package_that_nobody_has\n")
    assert "broken.part" in walk("broken", FOREIGN, tmp_path)["failed"][0]


HELP = """
import sys
from rdmf_pipelines.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert stop.code == 0, stop.code
heavy = ["torch", "torchvision", "transformers", "timm", "av", "decord", "pandas", "scipy", "matplotlib"]
print("LOADED", [name for name in heavy if name in sys.modules])
"""


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_answers_without_heavy_imports(command: str) -> None:
    done = python(HELP, *command.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"
    assert len(done.stdout.splitlines()) > 5


def test_every_command_module_is_light() -> None:
    report = walk("rdmf_pipelines.commands", ["torch", "pandas", "matplotlib", "av", "decord", "transformers", "timm"])
    assert report["failed"] == []
    assert report["found"] == []


def test_the_declared_contracts_hold() -> None:
    pytest.importorskip("importlinter")
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(tool), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "extract", "pipelines")),
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
