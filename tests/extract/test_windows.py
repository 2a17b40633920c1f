"""Frames to rows: every row gets the frames on screen at its instants, whatever the frame times are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.store import InputError
from rdmf_extract.sampling import Sampling
from rdmf_extract.windows import RowBuilder, Timeline, row_times


def sampling(window: float, stride: float, frames: int) -> Sampling:
    return Sampling(frames / window, window, stride, frames, 8, 8)


def numbered(i: int) -> np.ndarray:
    return np.full((1, 1, 3), i, np.uint8)


def rows_of(times: list[float], duration: float, s: Sampling, *, only_wanted: bool) -> list[list[int]]:
    """Frame numbers in each row, as the builder sees them with all frames or only with those a decoder would send."""
    builder, timeline = RowBuilder(s), Timeline(s)
    rows = []
    for i, seconds in enumerate(times):
        following = times[i + 1] if i + 1 < len(times) else None
        wanted = following is None or bool(timeline.advance(following))
        if wanted or not only_wanted:
            rows += list(builder.push(seconds, numbered(i)))
    rows += list(builder.finish(duration))
    assert [index for index, _ in rows] == list(range(len(rows)))
    return [frames[:, 0, 0, 0].tolist() for _, frames in rows]


def on_screen(times: list[float], duration: float, s: Sampling) -> list[list[int]]:
    """The same by definition."""
    count = max(1, sum(i * s.stride_seconds + s.stride_seconds / 2 <= duration + 1e-9 for i in range(10_000)))
    shown = [[max(0, np.searchsorted(times, t, side="right") - 1) for t in s.instants(row)] for row in range(count)]
    return [[int(i) for i in row] for row in shown]


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.sampled_from([0.01, 0.04, 0.1, 0.33, 1.7, 4.0]), max_size=40),
    tail=st.sampled_from([0.04, 0.5]),
    window=st.sampled_from([0.5, 1.0, 2.0]),
    stride=st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    frames=st.sampled_from([1, 2, 5, 16]),
    only_wanted=st.booleans(),
)
def test_each_slot_holds_the_frame_on_screen_at_its_instant(gaps, tail, window, stride, frames, only_wanted):
    times = [0.0, *np.cumsum(gaps).tolist()]
    s = sampling(window, stride, frames)
    duration = times[-1] + tail
    assert rows_of(times, duration, s, only_wanted=only_wanted) == on_screen(times, duration, s)


def test_a_video_shorter_than_a_window_gives_one_row_that_repeats_its_last_frame():
    assert rows_of([0.0, 0.1], 0.2, sampling(2.0, 1.0, 4), only_wanted=True) == [[1, 1, 1, 1]]


def test_a_lost_start_is_filled_with_the_first_frame_there_is():
    assert rows_of([1.0, 1.2], 2.0, sampling(1.0, 1.0, 2), only_wanted=True) == [[0, 0], [1, 1]]


def test_half_a_stride_at_the_end_makes_a_row_and_less_does_not():
    s = sampling(2.0, 2.0, 1)
    assert s.row_count(4.99) == 2
    assert s.row_count(5.0) == 3
    assert s.row_count(0.01) == 1


def test_only_frames_of_rows_under_way_are_held():
    s = sampling(1.0, 1.0, 4)
    builder = RowBuilder(s)
    held = []
    for i in range(400):
        for _ in builder.push(i * 0.1, numbered(0)):
            pass
        held.append(sum(len(frames) for frames in builder._parts.values()))
    assert builder.rows == 40
    assert max(held) <= 4


def test_rows_end_with_the_video():
    times = row_times(3, 2.4, sampling(1.0, 1.0, 2))
    np.testing.assert_allclose(times, [[0, 1], [1, 2], [2, 2.4]])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"fps": 3.0}, "frames/s"),
        ({"stride_seconds": 0.0}, "stride_seconds"),
        ({"window_seconds": float("nan")}, "window_seconds"),
        ({"crop": 9}, "crop"),
        ({"frames_per_window": 0}, "frames_per_window"),
    ],
)
def test_sampling_refuses_settings_that_cannot_be(change, word):
    good = {"fps": 2.0, "window_seconds": 1.0, "stride_seconds": 1.0, "frames_per_window": 2, "resize": 8, "crop": 8}
    with pytest.raises(InputError, match=word):
        Sampling(**(good | change))
