"""The store stands alone: a machine with numpy and h5py, and nothing else, can read a cache."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"torch", "av", "decord", "transformers", "timm", "torchvision", "matplotlib", "pandas", "scipy", "typer"}


def imported_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys\nprint(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_store_imports_nothing_heavy() -> None:
    modules = imported_by("import rdmf.store")
    assert {"h5py", "numpy", "rdmf"} <= modules
    assert not modules & HEAVY


def test_the_check_would_notice() -> None:
    assert imported_by("import rdmf.store\nimport typer") & HEAVY == {"typer"}


def test_the_commands_import_only_typer() -> None:
    assert imported_by("import rdmf_pipelines.commands.features") & (HEAVY | {"h5py", "numpy"}) == {"typer"}
