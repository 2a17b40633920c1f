"""Every flipped byte is found and the video it hits is named; every truncation is refused at opening."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
import store_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.store import InputError, Problem, merge, open_cache, verify
from rdmf.store.header import HEADER_BYTES, MAGIC


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound cache; tests damage copies of it."""
    return samples.sample_cache(tmp_path_factory.mktemp("damage") / "cache.h5")


def flipped(path: Path, offset: int, bit: int = 0, name: str = "flipped.h5") -> Path:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    copy = path.with_name(name)
    copy.write_bytes(data)
    return copy


def place(path: Path, table: str) -> tuple[int, int]:
    """Byte offset of a table in its file and its length in bytes."""
    with h5py.File(path, "r") as file:
        dataset = file[table]
        return dataset.id.get_offset(), dataset.size * dataset.dtype.itemsize


def named(problems: list[Problem]) -> list[str]:
    return [problem.where for problem in problems if problem.where.startswith(("video", "text"))]


def test_a_sound_cache_has_no_problems(intact: Path) -> None:
    assert verify(intact) == []


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_flipped_bit_is_found(intact: Path, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, intact.stat().st_size - 1), label="offset")
    assert verify(flipped(intact, offset, data.draw(st.integers(0, 7), label="bit")))


@pytest.mark.long
@pytest.mark.parametrize("share", range(4))
def test_every_fifth_byte_of_a_file_flipped_in_turn(intact: Path, share: int) -> None:
    for offset in range(5 * share, intact.stat().st_size, 20):
        assert verify(flipped(intact, offset, offset % 8)), offset


def test_every_byte_of_the_header_is_watched(intact: Path) -> None:
    for offset in range(0, HEADER_BYTES, 17):
        assert verify(flipped(intact, offset, offset % 8)), offset


@pytest.mark.parametrize(("table", "row_bytes"), [("video/features", 8 * 2), ("video/times", 16)])
def test_a_flip_in_a_videos_rows_names_that_video_only(intact: Path, table: str, row_bytes: int) -> None:
    start, _ = place(intact, table)
    cache = open_cache(intact)
    for i, vid in enumerate(cache.vids):
        for row in (int(cache.row_offsets[i]), int(cache.row_offsets[i + 1]) - 1):
            problems = verify(flipped(intact, start + row * row_bytes + i))
            assert named(problems) == [f"video '{vid}' (number {i})"]
            assert problems[0] == Problem("file", "the contents do not match the checksum")


def test_a_flip_in_a_videos_name_gives_its_number(intact: Path) -> None:
    start, length = place(intact, "video/vid_utf8")
    assert length == 6 * len("video-00")
    problems = verify(flipped(intact, start + 2 * len("video-00")))
    assert named(problems) == ["video 'wideo-02' (number 2)"]
    assert Problem("table video/vid_utf8", "the contents do not match the checksum") in problems


@pytest.mark.parametrize("table", ["video/duration", "video/annotated_duration", "video/recovered", "video/sha256"])
def test_a_flip_in_what_is_known_of_a_video_names_it(intact: Path, table: str) -> None:
    start, length = place(intact, table)
    problems = verify(flipped(intact, start + 4 * length // 6))
    assert named(problems) == ["video 'video-04' (number 4)"]
    assert f"table {table}" in [problem.where for problem in problems]


def test_a_flip_in_token_features_names_the_sentence(intact: Path) -> None:
    start, length = place(intact, "text/features")
    assert named(verify(flipped(intact, start + length - 1))) == ["text 'someone opens the fenêtre' (number 2)"]


def test_a_flip_in_the_queries_names_the_table(intact: Path) -> None:
    start, _ = place(intact, "query/windows")
    problems = verify(flipped(intact, start + 3))
    assert [problem.where for problem in problems] == ["file", "table query/windows"]


def test_damaged_small_tables_are_refused_when_read(intact: Path) -> None:
    start, _ = place(intact, "query/windows")
    cache = open_cache(flipped(intact, start + 3))
    assert cache.vids  # the rest can be read
    with pytest.raises(InputError, match="table query/windows is damaged; `rdmf features verify`"):
        _ = cache.queries.windows


def test_a_wrong_digest_in_the_header_still_opens(intact: Path) -> None:
    at = intact.read_bytes().index(b'"sha256":"') + len(b'"sha256":"')
    data = bytearray(intact.read_bytes())
    data[at : at + 1] = b"0" if data[at : at + 1] != b"0" else b"1"
    copy = intact.with_name("wrong-digest.h5")
    copy.write_bytes(data)
    assert open_cache(copy).video("video-01")[0].shape == (2, 8)
    assert verify(copy) == [Problem("file", "the contents do not match the checksum")]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_truncation_is_refused_at_opening_and_reported(intact: Path, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, intact.stat().st_size - 1), label="length")
    copy = intact.with_name("truncated.h5")
    copy.write_bytes(intact.read_bytes()[:length])
    with pytest.raises(InputError) as caught:
        open_cache(copy)
    assert "\n" not in str(caught.value)
    if length >= len(MAGIC):
        assert any("truncated" in problem.what for problem in verify(copy))
    else:
        with pytest.raises(InputError):
            verify(copy)


def test_a_truncated_file_says_how_long_it_should_be(intact: Path) -> None:
    copy = intact.with_name("short.h5")
    copy.write_bytes(intact.read_bytes()[:-1])
    size = intact.stat().st_size
    with pytest.raises(
        InputError, match=rf"is {size - 1} bytes but was written as {size} \(truncated\); copy it again"
    ):
        open_cache(copy)


def test_appended_bytes_are_refused(intact: Path) -> None:
    copy = intact.with_name("long.h5")
    copy.write_bytes(intact.read_bytes() + b"\0")
    with pytest.raises(InputError, match="something was appended"):
        open_cache(copy)
    assert "too long" in verify(copy)[0].what


def test_truncation_while_open_is_an_error_not_garbage(intact: Path) -> None:
    copy = intact.with_name("shrinking.h5")
    copy.write_bytes(intact.read_bytes())
    cache = open_cache(copy)
    start, _ = place(intact, "video/features")
    with copy.open("r+b") as file:
        file.truncate(start + 10)
    with pytest.raises(InputError, match="truncated while open"):
        cache.video_rows()


def test_damage_in_a_part_is_found_through_its_index(tmp_path: Path) -> None:
    parts = [samples.sample_cache(tmp_path / f"part-{i}.h5", count=3, prefix=f"p{i}") for i in range(3)]
    index = merge(parts, tmp_path / "index.h5", queries=[], self_contained=False)
    assert verify(index) == []
    start, _ = place(parts[1], "video/features")
    flipped(parts[1], start + 16, name="part-1.h5")
    problems = verify(index)
    assert [problem.where for problem in problems] == [f"part {parts[1]}", "video 'p1-01' (number 4)"]


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_any_flipped_bit_of_an_index_or_its_part_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    home = tmp_path_factory.mktemp("index")
    part = samples.sample_cache(home / "part.h5", count=2)
    index = merge([part], home / "index.h5", self_contained=False)
    victim = data.draw(st.sampled_from([part, index]))
    offset = data.draw(st.integers(0, victim.stat().st_size - 1), label="offset")
    flipped(victim, offset, data.draw(st.integers(0, 7)), name=victim.name)
    assert verify(index)


def test_a_missing_or_short_part_is_reported(tmp_path: Path) -> None:
    parts = [samples.sample_cache(tmp_path / f"part-{i}.h5", count=3, prefix=f"p{i}") for i in range(3)]
    index = merge(parts, tmp_path / "index.h5", queries=[], self_contained=False)
    parts[0].unlink()
    parts[2].write_bytes(parts[2].read_bytes()[:3000])
    where = [(problem.where, problem.what) for problem in verify(index)]
    assert (f"part {parts[0]}", "missing") in where
    assert any(place == f"part {parts[2]}" and "3000 bytes" in what for place, what in where)
