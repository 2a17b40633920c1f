"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# The same examples in every run, so that a failure is the change's and not the draw's; "explore" draws new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("explore", derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference material beside a checkout; a test that needs it skips, saying so, where it is absent."""
    path = ROOT.parent / "shared"
    if not (path / "design").is_dir():
        pytest.skip(f"reference material not found at {path}")
    return path


@pytest.fixture(scope="module")
def undrawn_curves() -> Iterator[None]:
    """Runs of a module's tests end with an empty picture: drawing one takes longer than some of them train."""
    from rdmf.train import run_directory

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_directory, "draw_curves", lambda _, path: path.touch())
        yield
