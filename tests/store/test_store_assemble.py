"""Parts to one cache in a given order: the same contents, the same tables, whoever wrote what."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import store_samples as samples

from rdmf.store import Cache, Failure, InputError, open_cache, verify, write_cache
from rdmf.store.assemble import DamagedPartError, assemble
from rdmf.store.layout import read_structure

VIDS = [f"video-{i:02d}" for i in range(6)]
TEXTS = [record.text for record in samples.texts()]


def part(path: Path, numbers: list[int], texts: list[int]) -> Path:
    videos, sentences = samples.videos(), samples.texts()
    return write_cache(path, samples.PROVENANCE, [videos[i] for i in numbers], [sentences[i] for i in texts], [])


def assembled(parts: list[Path], out: Path, **changes: object) -> Path:
    arguments = {
        "provenance": samples.PROVENANCE,
        "vids": VIDS,
        "texts": TEXTS,
        "queries": samples.queries(VIDS),
        "failures": [Failure("video-missing", "moov atom not found")],
    }
    return assemble(parts, out, **(arguments | changes))


def tables(path: Path) -> dict[str, bytes]:
    """Every table of a cache."""
    found = {}
    with h5py.File(path, "r", locking=False) as file:
        for name in read_structure(path).extents:
            found[name] = file[name][()].tobytes()
    return found


def test_the_same_contents_give_the_same_tables_in_any_division(tmp_path):
    whole = part(tmp_path / "whole.h5", [0, 1, 2, 3, 4, 5], [0, 1, 2])
    a = part(tmp_path / "a.h5", [5, 1], [2])
    b = part(tmp_path / "b.h5", [3, 0], [])
    c = part(tmp_path / "c.h5", [4, 2, 0, 1], [1, 0, 2])  # two videos and a sentence twice
    expected = tables(assembled([whole], tmp_path / "out.h5"))
    for i, order in enumerate(itertools.permutations([a, b, c])):
        out = assembled(list(order), tmp_path / f"{i}.h5")
        assert tables(out) == expected
        assert verify(out) == []
    with open_cache(out) as cache:
        assert cache.vids == VIDS
        assert cache.texts == TEXTS
        np.testing.assert_array_equal(cache.video("video-03")[0], samples.videos()[3].features.astype(np.float16))


def test_blocks_of_any_size_give_the_same(tmp_path, monkeypatch):
    parts = [part(tmp_path / "a.h5", [5, 1, 3], [2, 0]), part(tmp_path / "b.h5", [0, 2, 4], [1])]
    expected = tables(assembled(parts, tmp_path / "one.h5"))
    monkeypatch.setattr("rdmf.store.assemble.BLOCK_BYTES", 20)
    assert tables(assembled(parts, tmp_path / "many.h5")) == expected


def test_only_what_is_asked_for_is_taken(tmp_path):
    whole = part(tmp_path / "whole.h5", [0, 1, 2], [0, 1])
    out = assembled([whole], tmp_path / "out.h5", vids=VIDS[1:2], texts=TEXTS[:1], queries=[], failures=[])
    with open_cache(out) as cache:
        assert (cache.vids, cache.texts) == (VIDS[1:2], TEXTS[:1])


def test_nothing_at_all_is_a_cache_too(tmp_path):
    out = assembled([], tmp_path / "out.h5", vids=[], texts=[], queries=[], failures=[])
    with open_cache(out) as cache:
        assert (cache.vids, cache.n_rows) == ([], 0)


def test_what_is_in_no_part_is_named(tmp_path):
    whole = part(tmp_path / "whole.h5", [0, 1, 2], [0, 1, 2])
    with pytest.raises(InputError, match="video 'video-03' is in none of the parts"):
        assembled([whole], tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("table", ["video/features", "video/times", "text/features", "video/vid_utf8", "video/sha256"])
def test_a_damaged_part_is_told_by_its_path_and_nothing_is_written(tmp_path, table):
    good = part(tmp_path / "good.h5", [0, 1, 2], [0])
    bad = part(tmp_path / "bad.h5", [3, 4, 5], [1, 2])
    data = bytearray(bad.read_bytes())
    data[read_structure(bad).extents[table].offset] ^= 1
    bad.write_bytes(data)
    with pytest.raises(DamagedPartError, match=r"bad\.h5 is damaged") as caught:
        assembled([good, bad], tmp_path / "out.h5")
    assert caught.value.path == bad
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.h5", "good.h5"]


def test_a_part_that_is_none_is_told_by_its_path(tmp_path):
    (tmp_path / "bad.h5").write_text("not a cache")
    with pytest.raises(DamagedPartError) as caught:
        assembled([tmp_path / "bad.h5"], tmp_path / "out.h5", vids=[], texts=[], queries=[], failures=[])
    assert caught.value.path == tmp_path / "bad.h5"


def test_notes_are_those_given(tmp_path):
    whole = part(tmp_path / "whole.h5", [0], [0])
    provenance = replace(samples.PROVENANCE, notes={"dataset": "mine"})
    out = assembled([whole], tmp_path / "out.h5", provenance=provenance, vids=VIDS[:1], texts=[], queries=[])
    with open_cache(out) as cache:
        assert cache.provenance.notes == {"dataset": "mine"}


def test_more_parts_than_a_process_may_open(tmp_path, monkeypatch):
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("counts open files in /proc")
    monkeypatch.setattr("rdmf.store.assemble.MOST_OPEN", 3)
    videos = samples.videos(24)
    parts = [write_cache(tmp_path / f"{v.vid}.h5", samples.PROVENANCE, [v], [], []) for v in videos]
    most = 0
    real = Cache.video

    def watched(self: Cache, vid_or_index: str | int):
        nonlocal most
        found = real(self, vid_or_index)
        most = max(most, sum("video-" in str(link.readlink()) for link in folder.iterdir() if link.is_symlink()))
        return found

    monkeypatch.setattr(Cache, "video", watched)
    vids = [video.vid for video in reversed(videos)]
    out = assembled(parts, tmp_path / "out.h5", vids=vids, texts=[], queries=[], failures=[])
    assert 3 <= most <= 4
    with open_cache(out) as cache:
        assert cache.vids == vids
