"""Targets: clips tile the video, windows and saliency land on the right clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.store import Cache, Provenance, QueryRecord, TextRecord, VideoRecord, open_cache, write_cache
from rdmf.train.targets import clip_edges, ragged, saliency_targets, window_table


def times(*intervals: tuple[float, float]) -> np.ndarray[Any, Any]:
    return np.array(intervals, np.float64)


def one(rows: np.ndarray[Any, Any], duration: float) -> list[float]:
    out: list[float] = clip_edges(rows, np.array([0, len(rows)]), np.array([duration])).tolist()
    return out


def test_rows_side_by_side_keep_their_borders() -> None:
    assert one(times((0, 2), (2, 4), (4, 6), (6, 8)), 8) == [0, 0.25, 0.5, 0.75, 1]


def test_overlapping_rows_are_cut_midway_between_centres() -> None:
    assert one(times((0, 4), (1, 5), (2, 6)), 8) == pytest.approx([0, 2.5 / 8, 3.5 / 8, 1])


def test_gaps_are_shared_by_their_neighbours() -> None:
    assert one(times((0, 1), (5, 6), (9, 10)), 10) == pytest.approx([0, 0.3, 0.75, 1])


def test_one_clip_is_the_whole_video() -> None:
    assert one(times((0, 1.3)), 9) == [0, 1]


def test_several_videos_lie_flat_with_one_edge_more_each() -> None:
    rows = np.concatenate((times((0, 2), (2, 4)), times((0, 1)), times((0, 1), (1, 2), (2, 3))))
    found = clip_edges(rows, np.array([0, 2, 3, 6]), np.array([4.0, 1.0, 3.0]))
    assert found == pytest.approx([0, 0.5, 1, 0, 1, 0, 1 / 3, 2 / 3, 1])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 15)), min_size=1, max_size=8), min_size=1, max_size=4),
    st.floats(0.5, 2),
)
def test_any_rows_tile_their_video(videos: list[list[tuple[float, float]]], stretch: float) -> None:
    rows, durations, parts = [], [], []
    for video in videos:
        own = np.array(sorted((start, start + length) for start, length in video))
        rows.append(own)
        durations.append(float(own.max()) * stretch)  # the container's duration may be shorter or longer than the rows
    offsets = np.concatenate(([0], np.cumsum([len(r) for r in rows])))
    flat = clip_edges(np.concatenate(rows), offsets, np.array(durations))
    assert len(flat) == offsets[-1] + len(videos)
    for v, own in enumerate(rows):
        part = flat[offsets[v] + v : offsets[v + 1] + v + 1]
        parts.append(part)
        assert part[0] == 0
        assert part[-1] == 1
        assert (np.diff(part) >= 0).all()
        alone = clip_edges(own, np.array([0, len(own)]), np.array(durations[v : v + 1]))
        np.testing.assert_allclose(part, alone, atol=1e-12)


def test_ragged_by_hand() -> None:
    flat, owner = ragged(np.array([0, 2, 2, 5]), np.array([2, 0, 1, 2]))
    assert flat.tolist() == [2, 3, 4, 0, 1, 2, 3, 4]
    assert owner.tolist() == [0, 0, 0, 1, 1, 3, 3, 3]


Build = Callable[..., Cache]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A cache of one ten-second video `a` (5 rows of 2 s) and one `b` (3 rows of 1 s), and the given queries."""

    def make(*queries: QueryRecord) -> Cache:
        rng = np.random.default_rng(0)
        videos = []
        for vid, count, stride in (("a", 5, 2.0), ("b", 3, 1.0)):
            start = np.arange(count) * stride
            features = rng.standard_normal((count, 2)).astype(np.float32)
            videos.append(VideoRecord(vid, features, np.stack((start, start + stride), 1), count * stride))
        texts = [TextRecord("x", np.ones((1, 2), np.float32))]
        return open_cache(write_cache(tmp_path / "c.h5", Provenance({"dim": 2}, {"dim": 2}), videos, texts, queries))

    return make


def flat_targets(cache: Cache, index: list[int]) -> tuple[list[list[float]], list[list[bool]]]:
    table, chosen = cache.queries, np.array(index)
    videos = table.video_index[chosen]
    offsets = cache.row_offsets
    edges = clip_edges(cache.times_rows(), offsets, cache.durations)
    counts = np.diff(offsets)[videos]
    starts = (offsets + np.arange(len(offsets)))[videos]
    values, known = saliency_targets(table, chosen, edges, starts, counts, cache.durations[videos])
    cut = np.cumsum(counts)[:-1]
    return [v.tolist() for v in np.split(values, cut)], [k.tolist() for k in np.split(known, cut)]


def test_window_table(build: Build) -> None:
    cache = build(
        QueryRecord(0, "a", "x", "train", windows=((2, 4), (9, 30))),
        QueryRecord(1, "b", "x", "train"),
        QueryRecord(2, "b", "x", "train", windows=((50, 60), (1, 2))),
        QueryRecord(3, "a", "x", "train", windows=((0, 10),)),
    )
    index = np.array([3, 0, 2, 1])
    windows, mask = window_table(cache.queries, index, np.array([10.0, 10, 3, 3]))
    assert mask.tolist() == [[True, False], [True, True], [True, False], [False, False]]
    # Cut to the video; a window wholly outside is dropped and the next one takes its place.
    assert windows[mask].tolist() == pytest.approx(np.array([[0, 1], [0.2, 0.4], [0.9, 1], [1 / 3, 2 / 3]]))
    assert not windows[~mask].any()


def test_no_windows_at_all_gives_an_empty_table(build: Build) -> None:
    cache = build(QueryRecord(0, "a", "x", "train"), QueryRecord(1, "b", "x", "train"))
    windows, mask = window_table(cache.queries, np.array([0, 1]), np.array([10.0, 3]))
    assert windows.shape == (2, 0, 2)
    assert mask.shape == (2, 0)


def test_saliency_from_windows_is_the_covered_share(build: Build) -> None:
    cache = build(
        QueryRecord(0, "a", "x", "train", windows=((1, 5),)),
        QueryRecord(1, "b", "x", "train"),
        QueryRecord(2, "b", "x", "train", windows=((0, 0.5), (2.25, 3))),
        QueryRecord(3, "a", "x", "train", windows=((0, 6), (4, 10))),
    )
    values, known = flat_targets(cache, [0, 1, 2, 3])
    assert values[0] == pytest.approx([0.5, 1, 0.5, 0, 0])
    assert values[2] == pytest.approx([0.5, 0, 0.75])
    assert values[3] == pytest.approx([1] * 5)  # overlapping windows do not count twice
    assert [all(k) for k in known] == [True, False, True, True]
    assert not any(known[1])


def test_saliency_from_annotators_by_hand(build: Build) -> None:
    cache = build(
        QueryRecord(
            0,
            "a",
            "x",
            "train",
            windows=((2, 6),),
            saliency_clips=(2, 1),
            saliency_scores=((4.0, 2.0, 3.0), (1.0, 0.0, 0.0)),
        ),
        QueryRecord(1, "a", "x", "train", windows=((8, 10),)),
        QueryRecord(2, "a", "x", "train", saliency_clips=(0, 4), saliency_scores=((2.0,), (4.0,))),
        QueryRecord(3, "b", "x", "train", saliency_clips=(0,), saliency_scores=((3.0, 1.0),), clip_length=2.0),
    )
    values, known = flat_targets(cache, [3, 0, 1, 2])
    # Video b has rows of 1 s, its query's clips are of 2 s: the centres 0.5 and 1.5 lie in clip 0, 2.5 in clip 1.
    assert values[0] == pytest.approx([0.5, 0.5, 0])
    assert values[1] == pytest.approx([0, (1 / 3) / 4, 3 / 4, 0, 0])  # scored: the windows do not count
    assert values[2] == pytest.approx([0, 0, 0, 0, 1])  # not scored: from its windows
    assert values[3] == pytest.approx([0.5, 0, 0, 0, 1])
    assert all(all(k) for k in known)
