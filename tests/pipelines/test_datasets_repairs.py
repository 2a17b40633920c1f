"""Laws of mending windows: whatever an annotation says, what is kept lies inside its video, and the rest is counted."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdmf.store.errors import InputError
from rdmf_pipelines.datasets.repairs import ROUNDING_SECONDS, Repairs

SECONDS = st.floats(-50, 500, allow_nan=False)
DURATIONS = st.floats(0.5, 300) | st.just(math.nan)


@given(st.lists(st.tuples(SECONDS, SECONDS), max_size=5), DURATIONS)
def test_kept_windows_lie_inside_the_video_and_nothing_vanishes_uncounted(
    pairs: list[tuple[float, float]], duration: float
) -> None:
    repairs = Repairs()
    kept = repairs.windows(pairs, duration=duration, where="f:1")
    windows = kept or ()
    assert len(windows) + repairs.windows_dropped == len(pairs)
    assert (kept is None) == bool(pairs and not windows) == bool(repairs.queries_dropped)
    for start, end in windows:
        assert 0 <= start < end
        assert math.isnan(duration) or end <= duration
    assert bool(repairs.sentence()) == bool(repairs.as_notes())


@given(st.floats(0, 100), st.floats(0.1, 50), st.floats(0, 50))
def test_good_windows_are_left_alone(start: float, length: float, rest: float) -> None:
    repairs = Repairs(refuse=True)
    window = (start, start + length)
    assert repairs.window(*window, duration=start + length + rest, where="f:1") == window
    assert repairs.as_notes() == {}


def test_overshooting_by_rounding_is_not_counted() -> None:
    repairs = Repairs()
    assert repairs.window(0, 10 + ROUNDING_SECONDS / 2, duration=10, where="f:1") == (0, 10)
    assert repairs.windows_cut == 0
    assert repairs.window(0, 10 + ROUNDING_SECONDS * 2, duration=10, where="f:1") == (0, 10)
    assert repairs.windows_cut == 1


@pytest.mark.parametrize("pair", [(5.0, 5.0), (6.0, 5.0), (10.0, 12.0), (-3.0, -1.0)])
def test_refusing_instead_of_dropping(pair: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"^f:1: window "):
        Repairs(refuse=True).window(*pair, duration=10, where="f:1")


@pytest.mark.parametrize("pair", [(math.nan, 5.0), (0.0, math.inf)])
def test_windows_that_are_no_numbers_are_always_refused(pair: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="not a pair of finite numbers"):
        Repairs().window(*pair, duration=10, where="f:1")
