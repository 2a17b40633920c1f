"""The sheet of a benchmark: kept and read whole, compared as ratios, shown as text and as Markdown."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.store import InputError
from rdmf_pipelines.benching.page import markdown
from rdmf_pipelines.benching.sheet import Entry, Sheet, entry, load, ratios, without_time
from rdmf_pipelines.benching.show import comparison, terminal
from rdmf_pipelines.benching.turns import in_turns
from rdmf_pipelines.benching.wording import duration, number, times

TIMES = st.lists(st.floats(1e-7, 1e4), min_size=1, max_size=9)
WORDS = st.text("abcµ é|", min_size=1, max_size=8)


@st.composite
def sheets(draw: st.DrawFn) -> Sheet:
    """Any sheet; no two entries of one key."""
    keys = draw(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=8, unique=True))
    made = []
    for group, case, name in keys:
        if draw(st.booleans()):
            against = draw(st.sampled_from(["", keys[0][2]]))
            more = draw(st.dictionaries(WORDS, st.floats(-1e9, 1e9), max_size=2))
            made.append(entry(group, case, name, draw(TIMES), against=against, more=more))
        else:
            made.append(without_time(group, case, name, "needs more than 8 GB"))
    about = draw(st.dictionaries(WORDS, WORDS, max_size=2))
    return Sheet("rdmf bench", {"threads": 1, "processor": "any"}, made, about, about)


@settings(deadline=None, max_examples=30)
@given(sheets())
def test_a_sheet_reads_back_as_it_was_written(sheet: Sheet) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sheet.json"
        sheet.save(path)
        assert load(path) == sheet


@given(sheets())
def test_a_sheet_against_itself_has_ratio_one_and_nothing_changed(sheet: Sheet) -> None:
    found = ratios(sheet, sheet)
    assert [one for one, *_ in found] == [e for e in sheet.entries if e.count]
    assert all(ratio == 1 and not apart for _, _, ratio, apart in found)
    assert "beyond its quartiles" in comparison(sheet, sheet) or not found


@given(sheets(), sheets())
def test_ratios_turn_round_with_the_runs(one: Sheet, other: Sheet) -> None:
    there = {e.key: (ratio, apart) for e, _, ratio, apart in ratios(one, other)}
    back = {e.key: (ratio, apart) for e, _, ratio, apart in ratios(other, one)}
    assert there.keys() == back.keys()
    for key, (ratio, apart) in there.items():
        assert ratio * back[key][0] == pytest.approx(1)
        assert apart == back[key][1]


@given(sheets())
def test_every_figure_is_shown(sheet: Sheet) -> None:
    said, page = terminal(sheet, sheet), markdown(sheet)
    for one in sheet.entries:
        told = one.instead or duration(one.seconds)
        assert told in said
        assert told in page


@given(TIMES)
def test_the_median_lies_between_the_quartiles(taken: list[float]) -> None:
    made = entry("g", "c", "n", taken)
    assert made.low <= made.seconds <= made.high
    assert made.count == len(taken)


def two(plain: float, kernel: float) -> Sheet:
    taken = [[t, 1.01 * t, 0.99 * t, t, t] for t in (plain, kernel)]
    found = [entry("g", "1 x 2", "plain", taken[0]), entry("g", "1 x 2", "kernel", taken[1], against="plain")]
    return Sheet("rdmf bench", {"threads": 1, "processor": "P", "date": "2026-01-01"}, found)


def test_times_as_fast_and_what_changed() -> None:
    now, before = two(8.0, 1.0), two(4.0, 1.0)
    assert now.times_as_fast(now.entries[1]) == 8
    assert now.times_as_fast(now.entries[0]) is None
    told = comparison(now, before)
    assert "1 of 2 slower" in told
    assert "2.00  g / 1 x 2 / plain" in told
    assert "not like with like" not in told
    assert "2.00*" in terminal(now, before)
    assert "| kernel | 1 s | ±0% | 8.0x |" in markdown(now)


def test_other_machines_are_told() -> None:
    now, before = two(1.0, 1.0), two(1.0, 1.0)
    before.machine.update(threads=2, date="2025-12-31", load=9.0)
    told = comparison(now, before)
    assert "threads was 2, is 1" in told
    assert "date" not in told
    assert "load" not in told


def test_nothing_in_common_is_told() -> None:
    now, before = two(1.0, 1.0), two(1.0, 1.0)
    before.entries = [replace(e, case="3 x 4") for e in before.entries]
    assert "nothing that the earlier run measured" in comparison(now, before)


def test_what_has_no_time_has_no_ratio() -> None:
    sheet = two(1.0, 1.0)
    sheet.entries.append(without_time("g", "3 x 4", "plain", "needs more than 8 GB"))
    sheet.entries.append(entry("g", "3 x 4", "kernel", [1.0], against="plain"))
    assert sheet.times_as_fast(sheet.entries[-1]) is None
    assert "needs more than 8 GB" in markdown(sheet)
    assert all(one.count for one, *_ in ratios(sheet, sheet))


def test_three_measurements_never_count_as_a_change() -> None:
    now = Sheet("", {}, [entry("g", "c", "n", [5.0, 5.0, 5.0])])
    before = Sheet("", {}, [entry("g", "c", "n", [1.0] * 9)])
    assert not ratios(now, before)[0][3]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (12.34, "12.3 s"),
        (0.0185, "18.5 ms"),
        (0.00089, "890 µs"),
        (3e-7, "300 ns"),
        (0.9999, "1 s"),
        (4321.0, "4,321 s"),
    ],
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_numbers() -> None:
    assert [number(v) for v in (0, 0.0312, 18.54, 99.97, 20480.2)] == ["0", "0.0312", "18.5", "100", "20,480"]
    assert [times(v) for v in (None, 0.5, 6.74, 123.4)] == ["", "0.50x", "6.7x", "123x"]


@pytest.mark.parametrize(
    ("content", "tells"),
    [
        ("{", "not written by"),
        ("[1]", "not written by"),
        ('{"format": 9, "entries": []}', "format 9"),
        ('{"format": 1, "command": "", "machine": {}, "notes": {}, "entries": [{"group": "g"}]}', "not written by"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, content: str, tells: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=f"other.json.*{tells}"):
        load(path)


def test_sheets_written_before_a_field_came_are_read(tmp_path: Path) -> None:
    sheet = two(2.0, 1.0)
    sheet.save(tmp_path / "new.json")
    value = json.loads((tmp_path / "new.json").read_text(encoding="utf-8"))
    del value["about"]
    for one in value["entries"]:
        del one["instead"]
    (tmp_path / "old.json").write_text(json.dumps(value), encoding="utf-8")
    assert load(tmp_path / "old.json") == sheet


def test_ways_take_turns_and_the_first_turn_does_not_count() -> None:
    done: list[str] = []
    ticks = iter(range(1000))
    taken = in_turns(
        {"a": lambda: done.append("a"), "b": lambda: done.append("b")},
        seconds=0,
        turns=3,
        least=2,
        clock=lambda: float(next(ticks)),
        wait=lambda: done.append("w"),
    )
    assert "".join(done).replace("w", "") == "ababab"
    assert "".join(done).endswith("wawwbw")
    assert taken == {"a": [1.0, 1.0], "b": [1.0, 1.0]}


def test_an_entry_knows_its_spread() -> None:
    assert Entry("g", "c", "n", 2.0, 1.0, 3.0, 5).spread == 0.5
