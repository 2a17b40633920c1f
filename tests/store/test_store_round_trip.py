"""What is written is what is read, whatever its shape and however it is split into parts."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import store_samples as samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdmf.store import (
    Cache,
    Failure,
    InputError,
    Provenance,
    QueryRecord,
    TextRecord,
    VideoRecord,
    merge,
    open_cache,
    verify,
    write_cache,
)

WIDTH, TEXT_WIDTH = 3, 2
names = st.text(min_size=1, max_size=12)
seconds = st.floats(0.01, 1e6)
shared_settings = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])


def half(rows: int, width: int) -> st.SearchStrategy[Any]:
    """Any finite bit patterns, negative zero and subnormals among them; drawn by seed, which keeps examples small."""

    def patterns(seed: int) -> Any:
        bits = np.random.default_rng(seed).integers(0, 2**16, (rows, width)).astype(np.uint16).view(np.float16)
        return np.where(np.isfinite(bits), bits, np.float16(-0.0))

    return st.integers(0, 2**32).map(patterns)


@st.composite
def video_records(draw: st.DrawFn, vid: str) -> VideoRecord:
    rows = draw(st.integers(1, 7))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    starts = np.cumsum(generator.exponential(2.0, rows) * generator.integers(0, 2, rows))
    lengths = generator.uniform(0.01, 100, rows)
    return VideoRecord(
        vid,
        draw(half(rows, WIDTH)),
        np.stack([starts, starts + lengths], axis=1),
        draw(seconds),
        annotated_duration=draw(st.one_of(st.just(math.nan), seconds)),
        decoder=draw(st.sampled_from(["", "pyav 1", "décodeur"])),
        recovered=draw(st.floats(0.01, 1)),
        padded=draw(st.booleans()),
    )


@st.composite
def query_records(draw: st.DrawFn, qid: int | str, vids: list[str], sentences: list[str]) -> QueryRecord:
    starts = draw(st.lists(st.floats(0, 1000), max_size=3))
    clips = draw(st.lists(st.integers(0, 500), max_size=4))
    annotators = draw(st.integers(1, 3))
    score = st.floats(-10, 10, width=32)
    scores = [tuple(draw(st.tuples(*[score] * annotators))) for _ in clips]
    return QueryRecord(
        qid=qid,
        vid=draw(st.sampled_from(vids)),
        text=draw(st.sampled_from(sentences)),
        split=draw(st.sampled_from(["train", "val", "épreuve"])),
        windows=tuple((start, start + 1) for start in starts),
        saliency_clips=tuple(clips),
        saliency_scores=tuple(scores),
        clip_length=draw(st.sampled_from([1.0, 2.0])),
        kind=draw(st.sampled_from(["", "action"])),
        duration=draw(st.one_of(st.just(math.nan), seconds)),
    )


@st.composite
def contents(draw: st.DrawFn) -> tuple[list[VideoRecord], list[TextRecord], list[QueryRecord]]:
    vids = draw(st.lists(names, unique=True, min_size=1, max_size=5))
    present = vids[: draw(st.integers(0, len(vids)))]
    sentences = draw(st.lists(names.filter(str.strip), unique=True, min_size=1, max_size=4))
    qids = draw(st.lists(st.one_of(st.integers(-(2**62), 2**62), names), unique=True, max_size=5))
    return (
        [draw(video_records(vid)) for vid in present],
        [TextRecord(sentence, draw(half(draw(st.integers(1, 5)), TEXT_WIDTH))) for sentence in sentences],
        [draw(query_records(qid, vids, sentences)) for qid in qids],
    )


def assert_holds(cache: Cache, videos: list[VideoRecord], texts: list[TextRecord], queries: list[QueryRecord]) -> None:
    assert cache.vids == [record.vid for record in videos]
    for i, record in enumerate(videos):
        for features, times in (cache.video(i), cache.video(record.vid)):
            np.testing.assert_array_equal(features, record.features)
            np.testing.assert_array_equal(times, record.times)
    assert repr(cache.durations.tolist()) == repr([record.duration for record in videos])
    assert repr(cache.annotated_durations.tolist()) == repr([record.annotated_duration for record in videos])
    assert cache.recovered.tolist() == [record.recovered for record in videos]
    assert cache.padded.tolist() == [record.padded for record in videos]
    assert cache.decoders == [record.decoder for record in videos]
    if videos:
        np.testing.assert_array_equal(cache.video_rows(), np.concatenate([record.features for record in videos]))
        np.testing.assert_array_equal(cache.times_rows(), np.concatenate([record.times for record in videos]))
    assert cache.texts == [record.text for record in texts]
    for i, record in enumerate(texts):
        np.testing.assert_array_equal(cache.text(i), record.features)
    # As text, because NaN != NaN.
    assert repr(cache.query_records()) == repr(queries)
    present = {record.vid for record in videos}
    assert cache.missing_videos() == list(dict.fromkeys(q.vid for q in queries if q.vid not in present))
    assert [cache.vids[i] if i >= 0 else None for i in cache.queries.video_index] == [
        q.vid if q.vid in present else None for q in queries
    ]


@shared_settings
@given(contents())
def test_a_cache_holds_what_was_written(written: Any) -> None:
    videos, texts, queries = written
    with tempfile.TemporaryDirectory() as directory:
        path = write_cache(Path(directory) / "cache.h5", Provenance({}, {}), videos, texts, queries)
        with open_cache(path) as cache:
            assert_holds(cache, videos, texts, queries)
        assert verify(path) == []


@shared_settings
@given(contents(), st.data())
def test_parts_merge_to_what_was_written(written: Any, data: st.DataObject) -> None:
    videos, texts, queries = written
    n_parts = data.draw(st.integers(1, 3), label="parts")
    cuts = [0, *sorted(data.draw(st.integers(0, len(videos))) for _ in range(n_parts - 1)), len(videos)]
    # Sentences recur in parts at will; the first part has them all so that their order is known.
    recurring = [texts, *(data.draw(st.lists(st.sampled_from(texts), unique_by=id)) for _ in range(n_parts - 1))]
    self_contained = data.draw(st.booleans(), label="self-contained")
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        provenance = Provenance({}, {})
        parts = [
            write_cache(home / f"{i}.h5", provenance, videos[cuts[i] : cuts[i + 1]], recurring[i], [])
            for i in range(n_parts)
        ]
        path = merge(parts, home / "merged.h5", queries=queries, self_contained=self_contained)
        if self_contained:
            for part in parts:
                part.unlink()
        with open_cache(path) as cache:
            assert_holds(cache, videos, texts, queries)
        assert verify(path) == []


def test_every_column_of_the_query_table(tmp_path: Path) -> None:
    path = samples.sample_cache(tmp_path / "cache.h5")
    cache = open_cache(path)
    table = cache.queries
    expected = samples.queries([*(f"video-{i:02d}" for i in range(6)), "video-missing"])
    assert len(table) == 7
    assert table.qids == ["q0", 1, "q2", 3, "q4", 5, "q6"]
    assert table.vids == [query.vid for query in expected]
    assert table.video_index.tolist() == [0, 1, 2, 3, 4, 5, -1]
    assert table.text_index.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert table.splits == ["train", "train", "val", "train", "train", "val", "train"]
    assert table.kinds == ["action", "", "action", "", "action", "", "action"]
    assert table.clip_lengths.tolist() == [2.0] * 7
    assert table.window_offsets.tolist() == [0, 0, 1, 3, 3, 4, 6, 6]
    assert table.windows.shape == (6, 2)
    assert table.saliency_offsets.tolist() == [0, 0, 2, 2, 4, 4, 6, 6]
    assert table.saliency_clips.tolist() == [0, 2, 0, 2, 0, 2]
    assert table.saliency_scores.shape == (6, 3)
    assert table.n_annotators.tolist() == [0, 3, 0, 3, 0, 3, 0]
    assert cache.select("val").tolist() == [2, 5]
    assert cache.select("val").dtype == np.int64
    assert [query.qid for query in cache.query_records("val")] == ["q2", 5]
    assert cache.failures == [Failure("video-missing", "moov atom not found")]
    with pytest.raises(InputError, match=r"no split 'test' in .*; it has: train, val$"):
        cache.select("test")


def test_annotators_of_different_number_share_a_table(tmp_path: Path) -> None:
    sentence = samples.texts()[0]
    asked = [
        QueryRecord(i, "v", sentence.text, "train", saliency_clips=(4,), saliency_scores=(tuple(range(i + 1)),))
        for i in range(3)
    ]
    cache = open_cache(write_cache(tmp_path / "cache.h5", samples.PROVENANCE, [], [sentence], asked))
    np.testing.assert_array_equal(cache.queries.saliency_scores, [[0, np.nan, np.nan], [0, 1, np.nan], [0, 1, 2]])
    assert [query.saliency_scores for query in cache.query_records()] == [((0.0,),), ((0.0, 1.0),), ((0.0, 1.0, 2.0),)]


def test_slices_of_the_flat_tables_follow_python(tmp_path: Path) -> None:
    parts = [samples.sample_cache(tmp_path / f"{i}.h5", count=3, prefix=f"p{i}") for i in range(3)]
    cache = open_cache(merge(parts, tmp_path / "index.h5", queries=[], self_contained=False))
    rows = cache.video_rows()
    assert rows.shape == (18, 8)
    for start in (None, 0, 3, 6, 7, 18, 25, -4):
        for stop in (None, 0, 5, 6, 12, 13, 18, 30, -1):
            np.testing.assert_array_equal(cache.video_rows(start, stop), rows[start:stop])
            np.testing.assert_array_equal(cache.times_rows(start, stop), cache.times_rows()[start:stop])


def test_float32_is_kept_when_asked_for(tmp_path: Path) -> None:
    record = samples.video("v", 3)
    path = write_cache(tmp_path / "c.h5", samples.PROVENANCE, [record], samples.texts(), [], feature_dtype="float32")
    features, _ = open_cache(path).video("v")
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, record.features)


def test_provenance_notes_and_date_are_kept(tmp_path: Path) -> None:
    cache = open_cache(samples.sample_cache(tmp_path / "cache.h5"))
    assert cache.provenance == samples.PROVENANCE
    assert cache.about["created"].endswith("+00:00")
    assert (cache.d_video, cache.d_text, cache.n_rows) == (8, 5, 21)


def test_all_tables_are_contiguous_and_lie_outside_the_header(tmp_path: Path) -> None:
    with h5py.File(samples.sample_cache(tmp_path / "cache.h5"), "r") as file:
        assert file.userblock_size == 512
        tables = [table for group in file.values() for table in group.values()]
        assert len(tables) > 30
        assert all(table.chunks is None for table in tables)


def test_an_index_of_a_cache_without_videos_opens(tmp_path: Path) -> None:
    empty = write_cache(tmp_path / "empty.h5", samples.PROVENANCE, [], samples.texts(), samples.queries(["a"]))
    path = merge([empty], tmp_path / "index.h5", self_contained=False)
    cache = open_cache(path)
    assert (cache.vids, cache.n_rows, cache.missing_videos()) == ([], 0, ["a"])
    assert cache.video_rows().shape == (0, 8)  # the width is known from the provenance
