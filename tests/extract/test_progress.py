"""The progress display: a live bar on a terminal, a line now and then off it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rdmf_extract.progress import ProgressDisplay, ProgressState, clock

STATE = ProgressState("videos", 3, 10, failures=1, rows=40, rows_per_second=12.34, seconds_left=75.0)


def test_off_a_terminal_it_says_little():
    stream = io.StringIO()
    with ProgressDisplay(Console(file=stream, width=100), line_every_seconds=3600) as display:
        for _ in range(50):
            display(STATE)
    assert stream.getvalue() == ""


def test_off_a_terminal_lines_come_now_and_then_and_reasons_at_once():
    stream = io.StringIO()
    with ProgressDisplay(Console(file=stream, width=100), line_every_seconds=0) as display:
        display(STATE)
        display(ProgressState("videos", 4, 10, note="[v1]: the file is empty"))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "videos: 3 of 10, 12.3 rows/s, 1 failed, 1:15 left"
    assert lines[1] == "[v1]: the file is empty"  # not taken for markup


def test_on_a_terminal_there_is_a_bar():
    stream = io.StringIO()
    with ProgressDisplay(Console(file=stream, width=100, force_terminal=True)) as display:
        display(ProgressState("sentences", 0, 5))
        display(STATE)
        display._bar.refresh()
    assert "3/10" in stream.getvalue()
    assert "12.3 rows/s, 1 failed, 1:15 left" in stream.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (42, "42 s"), (185, "3:05"), (3723, "1:02:03")])
def test_clock(seconds, text):
    assert clock(seconds) == text
