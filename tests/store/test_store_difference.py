"""Two caches compared: what is counted, what is named, and what the numbers are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import store_samples as samples

from rdmf.store import Provenance, TextRecord, VideoRecord, difference, merge, write_cache

TIMES = np.array([[0.0, 2.0], [2.0, 4.0]])


def cache(path: Path, features: dict[str, object], *, fps: float = 2.0, shift: float = 0.0) -> Path:
    """Videos of these (2, d) features."""
    videos = [VideoRecord(vid, np.array(rows, np.float32), TIMES + shift, 4.0) for vid, rows in features.items()]
    return write_cache(path, Provenance({"fps": fps}, {}), videos, samples.texts(), [], feature_dtype="float32")


def test_a_cache_is_its_own_equal_whatever_its_order_and_parts(tmp_path: Path) -> None:
    parts = [samples.sample_cache(tmp_path / f"{i}.h5", count=3, prefix=f"p{i}") for i in range(3)]
    here = merge(parts, tmp_path / "here.h5", queries=[])
    there = merge(parts[::-1], tmp_path / "there.h5", queries=[], self_contained=False)
    found = difference(here, there)
    assert found.settings == []
    assert (found.videos.compared, found.videos.identical, found.videos.worst) == (9, 9, [])
    assert (found.texts.compared, found.texts.identical) == (3, 3)
    assert (found.videos.least_cosine, found.videos.mean_cosine, found.videos.largest) == (1.0, 1.0, 0.0)
    assert found.videos.agree(0)


def test_the_numbers(tmp_path: Path) -> None:
    same = [[1, 2], [3, 4]]
    here = cache(tmp_path / "a.h5", {"same": same, "turned": [[1, 0], [0, 1]], "zero": [[0, 0], [0, 0]], "mine": same})
    there = cache(
        tmp_path / "b.h5",
        {"theirs": same, "zero": [[0, 0], [0, 3]], "turned": [[0, 1], [0, 1]], "same": same, "also theirs": same},
    )
    found = difference(here, there).videos
    assert (list(found.only_here), list(found.only_there)) == (["mine"], ["theirs", "also theirs"])
    assert (found.compared, found.identical) == (3, 1)
    zero, turned = found.worst
    assert (zero.name, zero.least_cosine, zero.mean_cosine, zero.largest) == ("zero", 0.0, 0.5, 3.0)
    assert (turned.name, turned.least_cosine, turned.mean_cosine, turned.largest) == ("turned", 0.0, 0.5, 1.0)
    assert (found.least_cosine, found.largest) == (0.0, 3.0)
    assert np.isclose(found.mean_cosine, (1 + 0.5 + 0.5) / 3)
    assert not found.agree(10)


def test_shapes_settings_and_times(tmp_path: Path) -> None:
    here = cache(tmp_path / "a.h5", {"v": [[1, 2], [3, 4]]})
    wide = cache(tmp_path / "b.h5", {"v": [[1, 2, 3], [3, 4, 5]]}, fps=4.0)
    found = difference(here, wide)
    assert found.settings == ["video.fps: 2.0 here, 4.0 there"]
    assert found.videos.shapes == [("v", (2, 2), (2, 3))]
    assert (found.videos.compared, found.videos.agree(1)) == (0, False)
    late = difference(here, cache(tmp_path / "c.h5", {"v": [[1, 2], [3, 4]]}, shift=0.25)).videos
    assert (late.identical, late.seconds, late.largest, late.agree(0.2), late.agree(0.25)) == (
        0,
        0.25,
        0.0,
        False,
        True,
    )


def test_the_worst_are_the_worst_and_in_order(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    ours = {f"v{i:02d}": generator.normal(size=(2, 8)) for i in range(30)}
    theirs = {vid: rows + generator.normal(size=rows.shape) * i / 30 for i, (vid, rows) in enumerate(ours.items())}
    here, there = cache(tmp_path / "a.h5", ours), cache(tmp_path / "b.h5", theirs)
    everything = difference(here, there, worst=99).videos.worst
    assert len(everything) == 29
    assert [item.least_cosine for item in everything] == sorted(item.least_cosine for item in everything)
    assert difference(here, there, worst=4).videos.worst == everything[:4]
    assert difference(here, there, worst=0).videos.worst == []
    a, b = np.float32(ours["v07"]), np.float32(theirs["v07"])
    (item,) = [item for item in everything if item.name == "v07"]
    cosines = [float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)) for x, y in zip(np.float64(a), np.float64(b))]
    np.testing.assert_allclose([item.least_cosine, item.mean_cosine], [min(cosines), np.mean(cosines)])
    assert item.largest == np.abs(np.float64(a) - np.float64(b)).max()


def test_sentences_are_compared_too(tmp_path: Path) -> None:
    words = samples.texts()
    other = TextRecord(words[1].text, words[1].features + 0.5)
    here = write_cache(tmp_path / "a.h5", Provenance({}, {}), [], words, [])
    there = write_cache(tmp_path / "b.h5", Provenance({}, {}), [], [words[0], other], [])
    found = difference(here, there).texts
    assert (list(found.only_here), found.compared, found.identical) == ([words[2].text], 2, 1)
    assert [item.name for item in found.worst] == [words[1].text]
