"""Caches that are replaced while others read them: an open one stays what it was, and opening always works."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import store_samples as samples

from rdmf.store import InputError, PartWriter, merge, open_cache

#: Opens both caches again and again, reads all there is in them, and checks that what it sees is one state, not two.
READER = """
import sys, time
from pathlib import Path
import numpy as np
from rdmf.store import open_cache
places, stop = [Path(name) for name in sys.argv[2:]], Path(sys.argv[1])
seen, turns = set(), 0
print("ready", flush=True)
while not stop.exists() or turns == 0:
    for place in places:
        with open_cache(place) as cache:
            mark = cache.provenance.notes["state"]
            assert len(cache.vids) == cache.n_videos == 3 + mark % 4
            assert all(f"-{mark}-" in vid for vid in cache.vids), (mark, list(cache.vids))
            time.sleep(0.001 * (turns % 3))
            rows = np.concatenate([cache.video(i)[0] for i in range(cache.n_videos)])
            assert (rows == mark).all(), (mark, rows)
            assert len(cache.query_records()) == cache.n_videos
            assert (cache.video_rows() == mark).all()
            assert len(cache.texts) == 1 and cache.text(0).shape == (2, 5)
        seen.add(mark)
    turns += 1
print(turns, len(seen))
"""


def state(path: Path, mark: int) -> Path:
    """A cache all of whose values tell which state it is of."""
    provenance = samples.Provenance({"dim": 8}, {}, {"state": mark})
    with PartWriter(path, provenance) as writer:
        for i in range(3 + mark % 4):
            record = samples.video(f"v-{mark}-{i}", 5)
            record.features[:] = mark
            writer.add_video(record)
            writer.add_query(samples.QueryRecord(i, record.vid, "open", "train"))
        writer.add_text(samples.text("open", 2))
    return writer.path


def read_while_writing(home: Path, readers: int, states: int) -> list[tuple[int, int]]:
    """(turns, states seen) of each reader, while a file is replaced by its own kind and an index by a newer one.

    The index gets new parts beside the old ones: a reader of the old index still needs those.
    """
    stop, own, index = home / "stop", home / "own.h5", home / "index.h5"

    def write(mark: int) -> None:
        state(own, mark)
        merge([state(home / "parts" / f"{mark}.h5", mark)], index, self_contained=False)

    write(0)
    command = [sys.executable, "-c", READER, str(stop), str(own), str(index)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(readers)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for mark in range(1, states):
        write(mark)
        merge([own], home / "merged.h5")  # beside it, out of what is being read
        time.sleep(0.005)
    stop.touch()
    told = []
    for process in started:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        told.append((int(out.split()[0]), int(out.split()[1])))
    return told


def test_processes_open_while_others_replace(tmp_path: Path) -> None:
    told = read_while_writing(tmp_path, readers=4, states=12)
    assert sum(seen for _, seen in told) > len(told)  # it did change under them


@pytest.mark.long
def test_fifty_processes_open_while_others_replace(tmp_path: Path) -> None:
    told = read_while_writing(tmp_path, readers=50, states=40)
    assert len(told) == 50
    assert sum(turns for turns, _ in told) > 200


def test_an_open_cache_stays_what_it_was(tmp_path: Path) -> None:
    path = samples.sample_cache(tmp_path / "c.h5")
    expected = open_cache(path).video_rows()
    cache = open_cache(path)  # nothing of it is read yet
    samples.sample_cache(path, count=2, prefix="another")
    assert list(cache.vids) == [f"video-{i:02d}" for i in range(6)]
    np.testing.assert_array_equal(cache.video_rows(), expected)
    assert len(cache.query_records()) == 7
    assert open_cache(path).n_videos == 2


def test_a_closed_cache_does_not_take_another_for_itself(tmp_path: Path) -> None:
    path = samples.sample_cache(tmp_path / "c.h5")
    before = path.read_bytes()
    cache = open_cache(path)
    cache.close()
    samples.sample_cache(path, count=2)
    with pytest.raises(InputError, match="was replaced by another cache while in use; start again"):
        cache.video(0)
    path.write_bytes(before)  # the same bytes, whatever file they lie in
    assert cache.video(0)[0].shape == (1, 8)


def test_a_part_that_is_replaced_is_noticed(tmp_path: Path) -> None:
    part = samples.sample_cache(tmp_path / "part.h5")
    cache = open_cache(merge([part], tmp_path / "index.h5", self_contained=False))
    samples.sample_cache(part, prefix="other")
    with pytest.raises(InputError, match=r"part.h5 was replaced by another cache while in use"):
        cache.video(0)
