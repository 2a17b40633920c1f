"""Fixtures that every test may use."""

from __future__ import annotations

import os
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
