"""What a writer refuses, and that a file is whole or absent however the writer ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import store_samples as samples

from rdmf.store import Failure, InputError, PartWriter, Provenance, QueryRecord, VideoRecord, open_cache, write_cache

TIMES = np.array([[0.0, 2.0], [2.0, 4.0]])
FEATURES = np.ones((2, 8), np.float32)


@pytest.fixture
def writer(tmp_path: Path) -> PartWriter:
    return PartWriter(tmp_path / "part.h5", samples.PROVENANCE)


def with_value(value: float) -> VideoRecord:
    features = FEATURES.copy()
    features[1, 3] = value
    return VideoRecord("v", features, TIMES, 4.0)


def test_float16_overflow_is_refused_with_row_and_value(writer: PartWriter) -> None:
    with pytest.raises(InputError, match=r"video 'v': 70000 in row 1 does not fit float16 \(largest 65504\)"):
        writer.add_video(with_value(-70000.0))
    writer.add_video(with_value(65504.0))


def test_token_features_overflow_is_refused(writer: PartWriter) -> None:
    record = samples.text("open")
    record.features[2, 0] = 1e5
    with pytest.raises(InputError, match="text 'open': 100000 in row 2 does not fit float16"):
        writer.add_text(record)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: with_value(np.nan), "video 'v': NaN or infinity in feature row 1"),
        (lambda: with_value(np.inf), "video 'v': NaN or infinity in feature row 1"),
        (lambda: VideoRecord("v", FEATURES[:0], TIMES[:0], 4.0), "video 'v': no feature rows"),
        (lambda: VideoRecord("v", FEATURES, TIMES[:1], 4.0), r"2 feature rows but times of shape \(1, 2\)"),
        (lambda: VideoRecord("v", FEATURES, TIMES[::-1], 4.0), "rows are not in order of time"),
        (lambda: VideoRecord("v", FEATURES, TIMES * np.nan, 4.0), "time interval is empty, reversed or not finite"),
    ],
)
def test_broken_videos_never_become_records(make: Callable[[], VideoRecord], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (samples.video("", 1), "video name '' is empty"),
        (samples.video("\udcff.mp4", 1), "not valid Unicode; rename it"),
        (samples.video("v", 2, width=7), "video 'v': features are 7 wide, but 8 is this cache's width"),
    ],
)
def test_videos_a_cache_cannot_hold(writer: PartWriter, record: VideoRecord, message: str) -> None:
    with pytest.raises(InputError, match=message):
        writer.add_video(record)


def test_a_video_may_be_added_once(writer: PartWriter) -> None:
    writer.add_video(samples.video("v", 2))
    with pytest.raises(InputError, match="video 'v' is in this part already"):
        writer.add_video(samples.video("v", 3))


def test_sentences_are_kept_once(writer: PartWriter) -> None:
    for _ in range(2):
        for record in samples.texts():
            writer.add_text(record)
    assert len(open_cache(writer.close()).texts) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qid": 2**63}, "does not fit 64 bits"),
        ({"qid": 1.5}, "must be an int or a str, not float"),
        ({"qid": True}, "must be an int or a str, not bool"),
        ({"saliency_clips": (1, 2), "saliency_scores": ((1.0,), (1.0, 2.0))}, "different numbers of annotators"),
        ({"saliency_clips": (1,), "saliency_scores": ((np.nan,),)}, "a saliency score is not a finite number"),
        ({"saliency_clips": (1,), "saliency_scores": ((1e39,),)}, "a saliency score is not a finite number"),
        ({"saliency_clips": (-1,), "saliency_scores": ((1.0,),)}, "a saliency clip number is negative"),
        ({"clip_length": 0.0}, "clip length 0.0 is not a positive number of seconds"),
    ],
)
def test_queries_a_cache_cannot_hold(writer: PartWriter, changes: dict[str, object], message: str) -> None:
    fields = {"qid": 1, "vid": "v", "text": "open", "split": "train", **changes}
    with pytest.raises(InputError, match=message):
        writer.add_query(QueryRecord(**fields))  # type: ignore[arg-type]


def test_query_ids_are_unique_within_a_split_only(writer: PartWriter) -> None:
    writer.add_query(QueryRecord(1, "v", "open", "train"))
    writer.add_query(QueryRecord(1, "v", "open", "val"))
    writer.add_query(QueryRecord("1", "v", "open", "train"))
    with pytest.raises(InputError, match="query id 1 is in split 'train' twice"):
        writer.add_query(QueryRecord(1, "w", "shut", "train"))


def test_a_query_may_come_before_its_sentence_but_not_without_it(writer: PartWriter) -> None:
    writer.add_query(QueryRecord(1, "v", "open", "train"))
    with pytest.raises(InputError, match="query 1: its sentence 'open' has no token features"):
        writer.close()
    assert not writer.path.exists()
    writer.add_text(samples.text("open"))
    assert open_cache(writer.close()).missing_videos() == ["v"]


def test_a_failure_is_dropped_when_the_video_comes_after_all(tmp_path: Path) -> None:
    failures = [Failure("a", "hung"), Failure("b", "hung"), Failure("b", "no frames")]
    path = write_cache(tmp_path / "c.h5", samples.PROVENANCE, [samples.video("a", 1)], [], [], failures)
    assert open_cache(path).failures == [Failure("b", "no frames")]


def test_records_are_copied(writer: PartWriter) -> None:
    record = VideoRecord("v", np.ones((2, 8), np.float16), TIMES.copy(), 4.0)
    writer.add_video(record)
    record.features[:] = 7
    record.times[:] = 7
    features, times = open_cache(writer.close()).video("v")
    assert (features == 1).all()
    np.testing.assert_array_equal(times, TIMES)


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with PartWriter(tmp_path / "part.h5", samples.PROVENANCE) as writer:
            writer.add_video(samples.video("v", 2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_abort_keeps_what_was_there(tmp_path: Path) -> None:
    path = samples.sample_cache(tmp_path / "c.h5")
    before = path.read_bytes()
    writer = PartWriter(path, samples.PROVENANCE)
    writer.add_video(samples.video("new", 2))
    writer.abort()
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="is closed"):
        writer.add_video(samples.video("newer", 2))


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        PartWriter(tmp_path, samples.PROVENANCE)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_cache(tmp_path / "file" / "c.h5", samples.PROVENANCE, [], [], [])
    with pytest.raises(InputError, match="feature dtype 'int8' is not one of float16, float32"):
        PartWriter(tmp_path / "c.h5", samples.PROVENANCE, feature_dtype="int8")
    with pytest.raises(InputError, match=r"provenance field provenance\.video\.fps: nan cannot be recorded"):
        PartWriter(tmp_path / "c.h5", Provenance({"fps": float("nan")}, {}))


KILLED = """
import os, signal, sys
from pathlib import Path
import store_samples as samples
import rdmf.store.compose as compose, rdmf.store.header as header

def killing(function, after):
    calls = [0]
    def wrapper(*args, **kwargs):
        calls[0] += 1
        if calls[0] > after:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapper

moment = sys.argv[2]
if moment == "tables":
    compose.write_table = killing(compose.write_table, 5)
elif moment == "rows":
    compose.write_root = killing(compose.write_root, 0)
elif moment == "checksum":
    header.digest_after_header = killing(header.digest_after_header, 0)
elif moment == "rename":
    Path.replace = killing(Path.replace, 0)
samples.sample_cache(Path(sys.argv[1]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("moment", ["rows", "tables", "checksum", "rename"])
def test_a_killed_writer_leaves_no_file_or_the_old_one(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "cache.h5"
    before = None
    if moment in {"tables", "rename"}:
        before = samples.sample_cache(path, prefix="old").read_bytes()
    command = [sys.executable, "-c", KILLED, str(path), moment]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (path.read_bytes() if path.exists() else None) == before
    leftovers = [entry.name for entry in tmp_path.iterdir() if entry != path]
    assert len(leftovers) == 1
    assert leftovers[0].endswith(".partial")
    assert open_cache(samples.sample_cache(path)).n_videos == 6
