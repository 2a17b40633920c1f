"""Opening: cheap, lazy, from many processes at once; and one clear line for whatever is not a cache."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import store_samples as samples

from rdmf.store import InputError, merge, open_cache, verify
from rdmf.store.header import SCHEMA, Header, parse_header
from rdmf.store.rows import Files

READER = """
import hashlib, pickle, sys
from pathlib import Path
from rdmf.store import open_cache
source = Path(sys.argv[1])
cache = pickle.loads(source.read_bytes()) if source.suffix == ".pickle" else open_cache(source)
digest = hashlib.sha256()
for _ in range(20):
    for i in range(cache.n_videos):
        features, times = cache.video(i)
        digest.update(features.tobytes() + times.tobytes())
print(digest.hexdigest(), len(cache.query_records()))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return samples.sample_cache(tmp_path / "cache.h5")


def read_elsewhere(sources: list[Path]) -> set[bytes]:
    """What fresh processes, all running at once, read from these."""
    started = [subprocess.Popen([sys.executable, "-c", READER, str(s)], stdout=subprocess.PIPE) for s in sources]
    answers = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * len(sources)
    return set(answers)


def test_many_processes_read_at_once_beside_an_hdf5_reader(path: Path, tmp_path: Path) -> None:
    index = merge([path], tmp_path / "index.h5", self_contained=False)
    with h5py.File(path, "r"):
        assert len(read_elsewhere([path, path, path, index, index])) == 1


def test_a_pickled_cache_reopens_in_another_process(path: Path, tmp_path: Path) -> None:
    cache = open_cache(path)
    cache.video(0)
    pickled = tmp_path / "cache.pickle"
    pickled.write_bytes(pickle.dumps(cache))
    assert read_elsewhere([pickled]) == read_elsewhere([path])


def test_a_relative_path_pickles_to_where_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    pickled = pickle.dumps(open_cache(path.name))
    monkeypatch.chdir("/")
    assert pickle.loads(pickled).n_videos == 6


def test_unpickling_notices_that_the_cache_was_replaced(path: Path) -> None:
    pickled = pickle.dumps(open_cache(path))
    samples.sample_cache(path, count=3)
    with pytest.raises(InputError, match="was replaced by another cache while in use"):
        pickle.loads(pickled)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_cache_survives_a_fork(path: Path) -> None:
    cache = open_cache(path)
    expected = [cache.video(i)[0].tobytes() for i in range(cache.n_videos)]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def child() -> None:
        for _ in range(50):
            seen = [cache.video(i)[0].tobytes() for i in range(cache.n_videos)]
        queue.put(seen)

    children = [context.Process(target=child) for _ in range(3)]
    for process in children:
        process.start()
    for _ in range(50):  # the parent reads meanwhile, through the same open file
        assert [cache.video(i)[0].tobytes() for i in range(cache.n_videos)] == expected
    assert [queue.get(timeout=60) for _ in children] == [expected] * 3
    for process in children:
        process.join()


def test_threads_may_read_through_few_open_files(path: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.bin" for i in range(6)]
    for i, one in enumerate(paths):
        one.write_bytes(bytes([i]) * 4096)
    files = Files(paths, most_open=1)
    wrong = []

    def read() -> None:
        out = np.empty(4096, np.uint8)
        for turn in range(300):
            files.read_into(turn % 6, 0, out)
            if not (out == turn % 6).all():
                wrong.append(turn)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


MANY = """
import resource, sys
from pathlib import Path
import store_samples as samples
from rdmf.store import open_cache
paths = [samples.sample_cache(Path(sys.argv[1]) / f"{i}.h5", count=2, prefix=f"p{i}") for i in range(60)]
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
caches = [open_cache(path) for path in paths]
for _ in range(2):
    for i, cache in enumerate(caches):
        assert cache.vids == [f"p{i}-00", f"p{i}-01"] and cache.video(1)[0].shape == (2, 8)
"""


def test_more_caches_may_be_open_than_files(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MANY, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_opening_reads_no_rows_and_no_queries(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a table was read")

    with monkeypatch.context() as patch:
        patch.setattr(Files, "read_into", refuse)
        cache = open_cache(path)
        assert (cache.n_videos, cache.n_rows, len(cache.queries), cache.d_video) == (6, 21, 7, 8)
        with pytest.raises(AssertionError):
            _ = cache.vids
    assert len(cache.vids) == 6


def test_the_whole_table_is_one_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = open_cache(path)
    calls = []
    read_into = Files.read_into
    monkeypatch.setattr(Files, "read_into", lambda self, *a: (calls.append(a), read_into(self, *a))[1])
    rows = cache.video_rows()
    assert len(calls) == 1
    np.testing.assert_array_equal(rows, np.concatenate([cache.video(i)[0] for i in range(6)]))


def test_reading_a_closed_cache_opens_it_again(path: Path) -> None:
    with open_cache(path) as cache:
        first = cache.video(0)[0]
    np.testing.assert_array_equal(cache.video(0)[0], first)


def test_unknown_videos(path: Path) -> None:
    cache = open_cache(path)
    with pytest.raises(InputError, match="no video 'nope' in"):
        cache.video("nope")
    with pytest.raises(IndexError):
        cache.video(6)
    np.testing.assert_array_equal(cache.video(-1)[0], cache.video("video-05")[0])


def foreign_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = np.zeros((3, 4))


def foreign_with_user_block(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file.attrs["format"] = 10**12


def other_schema(path: Path) -> None:
    samples.sample_cache(path)
    header = parse_header(path.read_bytes()[:512])
    assert header is not None
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = SCHEMA + 1
    with path.open("r+b") as file:
        file.write(Header(SCHEMA + 1, path.stat().st_size, header.sha256).pack())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no feature cache at .*: no such file"),
        (lambda path: path.mkdir(), "is a directory, not a feature cache; name the .h5 file"),
        (lambda path: path.write_text("qid,vid\n" * 200), "is not an rdmf feature cache"),
        (lambda path: path.write_bytes(b""), "is empty, not a feature cache"),
        (foreign_hdf5, "is an HDF5 file but not an rdmf feature cache"),
        (foreign_with_user_block, "is not an rdmf feature cache"),
        (other_schema, f"of schema {SCHEMA + 1}, and this rdmf reads schema {SCHEMA}"),
    ],
)
def test_what_is_not_a_cache_gets_one_line(tmp_path: Path, make: object, message: str) -> None:
    path = tmp_path / "thing.h5"
    make(path)  # type: ignore[operator]
    for function in (open_cache, verify):
        with pytest.raises(InputError, match=message) as caught:
            function(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
