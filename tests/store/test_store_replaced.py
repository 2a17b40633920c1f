"""Caches that are replaced while others read them: an open one stays what it was, and opening always works."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import store_samples as samples

from rdmf.store import InputError, PartWriter, merge, open_cache

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="readers are forked, which this system cannot")

#: So many processes open both caches again and again, read all there is in them, and check that what they see is one
#: state, not two. They are forked from one that has everything imported and nothing open.
READERS = """
import multiprocessing, sys, time
from pathlib import Path
import numpy as np
from rdmf.store import open_cache
readers, pause, stop, *places = int(sys.argv[1]), float(sys.argv[2]), *map(Path, sys.argv[3:])

def read(_):
    seen, turns = set(), 0
    while not stop.exists() or turns == 0:
        for place in places:
            with open_cache(place) as cache:
                mark = cache.provenance.notes["state"]
                assert len(cache.vids) == cache.n_videos == 3 + mark % 4
                assert all(f"-{mark}-" in vid for vid in cache.vids), (mark, list(cache.vids))
                time.sleep(pause * (turns % 3))
                rows = np.concatenate([cache.video(i)[0] for i in range(cache.n_videos)])
                assert (rows == mark).all(), (mark, rows)
                assert len(cache.query_records()) == cache.n_videos
                assert (cache.video_rows() == mark).all()
                assert len(cache.texts) == 1 and cache.text(0).shape == (2, 5)
            seen.add(mark)
        turns += 1
    return turns, len(seen)

with multiprocessing.get_context("fork").Pool(readers) as pool:
    told = pool.map_async(read, range(readers), chunksize=1)
    print("ready", flush=True)
    for turns, states in told.get():
        print(turns, states)
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


def read_while_writing(home: Path, readers: int, states: int, pause: float = 0.001) -> list[tuple[int, int]]:
    """(turns, states seen) of each reader, while a file is replaced by its own kind and an index by a newer one.

    The index gets new parts beside the old ones: a reader of the old index still needs those. `pause` seconds, times 0
    to 2, a reader holds a cache open: many readers that never pause would leave the writer no processor to run on.
    """
    stop, own, index = home / "stop", home / "own.h5", home / "index.h5"

    def write(mark: int) -> None:
        state(own, mark)
        merge([state(home / "parts" / f"{mark}.h5", mark)], index, self_contained=False)

    write(0)
    command = [sys.executable, "-c", READERS, str(readers), str(pause), str(stop), str(own), str(index)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for mark in range(1, states):
            write(mark)
            merge([own], home / "merged.h5")  # beside it, out of what is being read
            time.sleep(0.005 + 2 * pause)
        stop.touch()
        out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return [(int(turns), int(seen)) for turns, seen in (line.split() for line in out.splitlines())]


@needs_fork
@pytest.mark.long
def test_processes_open_while_others_replace(tmp_path: Path) -> None:
    told = read_while_writing(tmp_path, readers=4, states=7)
    assert sum(seen for _, seen in told) > len(told)  # it did change under them


@needs_fork
@pytest.mark.long
def test_fifty_processes_open_while_others_replace(tmp_path: Path) -> None:
    told = read_while_writing(tmp_path, readers=50, states=6, pause=0.1)
    assert len(told) == 50
    assert sum(turns for turns, _ in told) > 100
    assert sum(seen for _, seen in told) > 50  # it did change under them


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
