"""Joining parts: what is refused, what is carried over, and how little memory and how few open files it takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import store_samples as samples

from rdmf.store import Failure, InputError, Provenance, QueryRecord, merge, open_cache, verify, write_cache

BOTH = pytest.mark.parametrize("self_contained", [True, False])


def three_parts(home: Path) -> list[Path]:
    return [samples.sample_cache(home / "parts" / f"part-{i}.h5", count=2 + i, prefix=f"p{i}") for i in range(3)]


def renumbered(parts: list[Path]) -> list[QueryRecord]:
    """All parts' queries under ids of their own."""
    found = [query for part in parts for query in open_cache(part).query_records()]
    return [QueryRecord(i, query.vid, query.text, query.split, query.windows) for i, query in enumerate(found)]


def other_settings(**changes: object) -> Provenance:
    return Provenance({**samples.PROVENANCE.video, **changes}, samples.PROVENANCE.text)


@BOTH
def test_other_settings_are_refused_by_name(tmp_path: Path, self_contained: bool) -> None:
    one = samples.sample_cache(tmp_path / "one.h5")
    other = write_cache(tmp_path / "other.h5", other_settings(fps=4.0, crop=224), [samples.video("v", 1)], [], [])
    with pytest.raises(InputError) as caught:
        merge([one, other], tmp_path / "out.h5", self_contained=self_contained)
    assert ": video.fps: 4.0 here, 2.0 there; video.crop: 224 here, absent there; extract one" in str(caught.value)
    assert str(other) in str(caught.value)
    assert not (tmp_path / "out.h5").exists()


def test_a_given_provenance_must_match_and_brings_its_notes(tmp_path: Path) -> None:
    part = samples.sample_cache(tmp_path / "part.h5")
    with pytest.raises(InputError, match=r"video\.fps: 2\.0 here, 8\.0 there"):
        merge([part], tmp_path / "out.h5", provenance=other_settings(fps=8.0))
    noted = Provenance(samples.PROVENANCE.video, samples.PROVENANCE.text, {"dataset": "charades"})
    out = merge([part], tmp_path / "out.h5", provenance=noted)
    assert open_cache(out).provenance.notes == {"dataset": "charades"}
    assert open_cache(out).fingerprint == open_cache(part).fingerprint


@BOTH
def test_a_video_in_two_parts_is_refused(tmp_path: Path, self_contained: bool) -> None:
    parts = [samples.sample_cache(tmp_path / f"{i}.h5") for i in range(2)]
    with pytest.raises(InputError, match=r"video 'video-00' is in both .*0.h5 and .*1.h5"):
        merge(parts, tmp_path / "out.h5", self_contained=self_contained)


def test_query_ids_must_be_unique_over_parts(tmp_path: Path) -> None:
    parts = three_parts(tmp_path)
    with pytest.raises(InputError, match="query id 'q0' is in split 'train' twice"):
        merge(parts, tmp_path / "out.h5")
    assert len(open_cache(merge(parts, tmp_path / "out.h5", queries=renumbered(parts))).queries) == 3 + 4 + 5


def test_parts_of_other_width_or_type_are_refused(tmp_path: Path) -> None:
    free = Provenance({}, {})
    wide = write_cache(tmp_path / "wide.h5", free, [samples.video("a", 1, width=9)], [], [])
    narrow = write_cache(tmp_path / "narrow.h5", free, [samples.video("b", 1)], [], [])
    single = write_cache(tmp_path / "f4.h5", free, [samples.video("c", 1)], [], [], feature_dtype="float32")
    with pytest.raises(InputError, match=r"narrow.h5 has video features of width 8 but .*wide.h5 9"):
        merge([wide, narrow], tmp_path / "out.h5")
    with pytest.raises(InputError, match=r"f4.h5 has features stored as float32 but .*narrow.h5 float16"):
        merge([narrow, single], tmp_path / "out.h5")


def test_queries_can_be_attached_anew(tmp_path: Path) -> None:
    part = samples.sample_cache(tmp_path / "part.h5")
    sentence = samples.texts()[1].text
    out = merge([part], tmp_path / "out.h5", queries=[QueryRecord(7, "video-01", sentence, "test", ((0.0, 1.0),))])
    with open_cache(out) as cache:
        assert [(query.qid, query.split) for query in cache.query_records()] == [(7, "test")]
        np.testing.assert_array_equal(cache.video_rows(), open_cache(part).video_rows())
    with pytest.raises(InputError, match="query 8: its sentence 'never seen' has no token features"):
        merge([part], tmp_path / "out.h5", queries=[QueryRecord(8, "video-01", "never seen", "test")])
    assert len(open_cache(out).queries) == 1


def test_failures_of_parts_and_more(tmp_path: Path) -> None:
    video = samples.video("late", 1)
    first = write_cache(tmp_path / "1.h5", samples.PROVENANCE, [], [], [], [Failure("late", "hung"), Failure("x", "?")])
    second = write_cache(tmp_path / "2.h5", samples.PROVENANCE, [video], [], [])
    out = merge([first, second], tmp_path / "out.h5", failures=[Failure("y", "no frames")])
    assert open_cache(out).failures == [Failure("x", "?"), Failure("y", "no frames")]


def test_nothing_to_merge(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no parts were given"):
        merge([], tmp_path / "out.h5")
    out = merge([], tmp_path / "out.h5", provenance=samples.PROVENANCE, failures=[Failure("v", "no frames")])
    assert open_cache(out).failures == [Failure("v", "no frames")]
    assert verify(out) == []


def test_checksums_travel_from_part_to_merged_file(tmp_path: Path) -> None:
    parts = three_parts(tmp_path)
    out = merge(parts, tmp_path / "out.h5", queries=[])
    expected = [digest for part in parts for digest in open_cache(part).video_table().digests]
    assert open_cache(out).video_table().digests == expected


def test_a_damaged_part_is_not_merged_in(tmp_path: Path) -> None:
    parts = three_parts(tmp_path)
    offset = open_cache(parts[1]).structure.extents["video/features"].offset
    data = bytearray(parts[1].read_bytes())
    data[offset + 16] ^= 1
    parts[1].write_bytes(data)
    with pytest.raises(InputError, match=r"part-1.h5: video 'p1-01' is damaged"):
        merge(parts, tmp_path / "out.h5", queries=[])
    assert [entry.name for entry in tmp_path.iterdir()] == ["parts"]


def test_a_part_may_be_replaced_by_its_own_merge(tmp_path: Path) -> None:
    part = samples.sample_cache(tmp_path / "c.h5")
    rows = open_cache(part).video_rows()
    np.testing.assert_array_equal(open_cache(merge([part], part)).video_rows(), rows)
    with pytest.raises(InputError, match="that is one of the parts it is over"):
        merge([part], part, self_contained=False)


def test_an_index_moves_with_its_parts(tmp_path: Path) -> None:
    parts = three_parts(tmp_path / "here")
    index = merge(parts, tmp_path / "here" / "data.h5", queries=[], self_contained=False)
    rows = open_cache(index).video_rows()
    (tmp_path / "there").mkdir()
    shutil.move(tmp_path / "here", tmp_path / "there" / "deep")
    moved = open_cache(tmp_path / "there" / "deep" / "data.h5")
    np.testing.assert_array_equal(moved.video_rows(), rows)
    assert verify(moved.path) == []
    link = tmp_path / "link.h5"
    link.symlink_to(moved.path)
    np.testing.assert_array_equal(open_cache(link).video_rows(), rows)


def test_an_index_refuses_missing_short_and_rewritten_parts(tmp_path: Path) -> None:
    parts = three_parts(tmp_path)
    index = merge(parts, tmp_path / "data.h5", queries=[], self_contained=False)
    whole = parts[1].read_bytes()
    parts[1].write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"part-1.h5 is \d+ bytes but was written as \d+ \(truncated\)"):
        open_cache(index)
    samples.sample_cache(parts[1], count=3, prefix="another")
    with pytest.raises(
        InputError, match=r"part-1.h5 is not the part that .*data.h5 was made over; merge the parts again"
    ):
        open_cache(index)
    parts[1].unlink()
    with pytest.raises(InputError, match=r"its part .*part-1.h5 is missing; move or copy them together"):
        open_cache(index)
    parts[1].write_bytes(whole)
    assert open_cache(index).n_videos == 9


def test_an_index_over_an_index_looks_through_it(tmp_path: Path) -> None:
    parts = three_parts(tmp_path)
    inner = merge(parts[:2], tmp_path / "parts" / "inner.h5", queries=[], self_contained=False)
    outer = merge([inner, parts[2]], tmp_path / "outer.h5", queries=[], self_contained=False)
    inner.unlink()
    flat = open_cache(merge(parts, tmp_path / "flat.h5", queries=[]))
    cache = open_cache(outer)
    assert [file.path.name for file in cache.data_files] == ["part-0.h5", "part-1.h5", "part-2.h5"]
    np.testing.assert_array_equal(cache.video_rows(), flat.video_rows())
    np.testing.assert_array_equal(cache.text_rows(), flat.text_rows())
    assert repr(cache.video_table()) == repr(flat.video_table())  # as text, because NaN != NaN


FRUGAL = """
import resource, sys
from pathlib import Path
import numpy as np
from rdmf.store import Provenance, VideoRecord, PartWriter, merge, open_cache
home, n_parts, rows = Path(sys.argv[1]), 40, 1600
features = np.ones((rows, 512), np.float16)
times = np.stack([np.arange(rows), np.arange(rows) + 1.0], axis=1)
parts = []
for i in range(n_parts):
    with PartWriter(home / f"{i}.h5", Provenance({}, {})) as writer:
        writer.add_video(VideoRecord(f"v{i}", features * i, times, 500.0))
    parts.append(writer.path)
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
merge(parts, home / "whole.h5")
merge(parts, home / "index.h5", self_contained=False)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
size = n_parts * features.nbytes
assert open_cache(home / "index.h5").n_videos == n_parts
assert size > 60e6 and grown < size / 2, (grown, size)
"""


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in kilobytes on Linux only")
def test_merging_many_parts_needs_little_memory_and_few_files(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FRUGAL, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
