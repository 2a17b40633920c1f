"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference material beside a checkout; a test that needs it skips, saying so, where it is absent."""
    path = ROOT.parent / "shared"
    if not (path / "design").is_dir():
        pytest.skip(f"reference material not found at {path}")
    return path
