"""Joining caches column by column gives what joining their records one by one gives."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import store_samples as samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdmf.store import Failure, InputError, Provenance, QueryRecord, merge, open_cache, subset, verify, write_cache

BOTH = pytest.mark.parametrize("self_contained", [True, False])
FREE = Provenance({}, {})
SENTENCES = ["open the door", "close it", "eat", "窓を開ける"]


def query(number: int, draw: st.DrawFn, vids: list[str]) -> QueryRecord:
    """A query with anything that a query may have, and an id of its own."""
    annotators = draw(st.integers(1, 3))
    clips = tuple(draw(st.lists(st.integers(0, 50), max_size=3)))
    return QueryRecord(
        qid=draw(st.sampled_from([number, f"q{number}"])),
        vid=draw(st.sampled_from(vids)),
        text=draw(st.sampled_from(SENTENCES)),
        split=draw(st.sampled_from(["train", "val", "test"])),
        windows=tuple((float(i), i + 1.5) for i in range(draw(st.integers(0, 2)))),
        saliency_clips=clips,
        saliency_scores=tuple(tuple(float(a + clip) for a in range(annotators)) for clip in clips),
        clip_length=draw(st.sampled_from([1.0, 2.0])),
        kind=draw(st.sampled_from(["", "action", "object"])),
        duration=draw(st.sampled_from([float("nan"), 30.0])),
    )


@st.composite
def parts(draw: st.DrawFn) -> list[tuple[list[str], list[QueryRecord], list[Failure]]]:
    """(videos, queries, failures) of some caches; a cache may ask about videos that only another one has, or none."""
    names = [f"v{i}" for i in range(8)]
    owner = [draw(st.integers(0, 3)) for _ in names]  # 3: nobody has it
    number, out = 0, []
    for part in range(draw(st.integers(1, 3))):
        queries = []
        for _ in range(draw(st.integers(0, 5))):
            queries.append(query(number, draw, names))
            number += 1
        failures = [Failure(vid, f"part {part}") for vid in draw(st.lists(st.sampled_from(names), max_size=2))]
        out.append(([vid for vid, of in zip(names, owner) if of == part], queries, failures))
    return out


def write(home: Path, drawn: list[tuple[list[str], list[QueryRecord], list[Failure]]]) -> list[Path]:
    return [
        write_cache(
            home / f"{i}.h5",
            FREE,
            [samples.video(vid, 1 + int(vid[1:]) % 3, seed=int(vid[1:])) for vid in vids],
            [samples.text(sentence) for sentence in SENTENCES[i:] + SENTENCES[:i]],
            queries,
            failures,
        )
        for i, (vids, queries, failures) in enumerate(drawn)
    ]


def told(path: Path) -> dict[str, object]:
    """All that a cache says, in Python's own words; as text where NaN occurs."""
    with open_cache(path) as cache:
        return {
            "vids": list(cache.vids),
            "rows": [cache.video(i)[0].tolist() for i in range(cache.n_videos)],
            "texts": {text: cache.text(i).tolist() for i, text in enumerate(cache.texts)},
            "queries": repr(cache.query_records()),
            "missing": cache.missing_videos(),
            "splits": cache.splits,
            "kinds": cache.queries.kind_names,
            "decoders": cache.decoders,
            "failures": cache.failures,
            "durations": cache.durations.tolist(),
        }


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(parts(), st.booleans())
def test_merging_columns_is_merging_records(
    drawn: list[tuple[list[str], list[QueryRecord], list[Failure]]], own: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        paths = write(Path(directory), drawn)
        records = [record for _, queries, _ in drawn for record in queries]
        by_column = merge(paths, Path(directory) / "columns.h5", self_contained=own)
        by_record = merge(paths, Path(directory) / "records.h5", queries=records)
        assert told(by_column) == told(by_record)
        assert verify(by_column) == []


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(parts(), st.data())
def test_a_subset_is_what_its_conditions_leave(
    drawn: list[tuple[list[str], list[QueryRecord], list[Failure]]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        whole = merge(write(home, drawn), home / "whole.h5", self_contained=data.draw(st.booleans(), label="whole"))
        before = told(whole)
        cache = open_cache(whole)
        known = {*cache.vids, *cache.missing_videos(), *(failure.vid for failure in cache.failures)}
        vids = data.draw(st.none() | st.lists(st.sampled_from(sorted(known)), max_size=6) if known else st.none())
        splits = data.draw(st.lists(st.sampled_from(cache.splits), unique=True)) if cache.splits else []
        limit = data.draw(st.none() | st.integers(1, 6))
        queries = [q for q in cache.query_records() if not splits or q.split in splits]
        kept = [v for v in cache.vids if (vids is None or v in vids) and (not splits or v in {q.vid for q in queries})]
        cut = limit is not None and len(kept) > limit
        kept = kept[:limit]
        away = set() if cut else (known - set(cache.vids)) & (known if vids is None else set(vids))
        queries = [q for q in queries if q.vid in kept or q.vid in away]
        out = home / "out.h5"
        if not kept and not queries:
            with pytest.raises(InputError, match=r"nothing of .* is left"):
                subset(whole, out, vids=vids, splits=splits, limit=limit)
            return
        link = data.draw(st.booleans(), label="link")
        after = told(subset(whole, out, vids=vids, splits=splits, limit=limit, self_contained=not link))
        assert after["vids"] == kept
        assert after["queries"] == repr(queries)
        assert after["rows"] == [before["rows"][before["vids"].index(vid)] for vid in kept]  # type: ignore[index]
        assert after["texts"] == {
            text: rows for text, rows in before["texts"].items() if text in {q.text for q in queries}
        }  # type: ignore[attr-defined]
        assert after["missing"] == list(dict.fromkeys(q.vid for q in queries if q.vid not in kept))
        assert set(after["splits"]) == {q.split for q in queries}  # type: ignore[arg-type]
        assert verify(out) == []


def test_what_a_subset_refuses(tmp_path: Path) -> None:
    cache = samples.sample_cache(tmp_path / "c.h5")
    out = tmp_path / "out.h5"
    with pytest.raises(InputError, match=r"2 of 3 videos are not in .*c.h5: 'nope', 'neither'"):
        subset(cache, out, vids=["video-00", "nope", "neither"])
    with pytest.raises(InputError, match="no split 'tset' in"):
        subset(cache, out, splits=["tset"])
    with pytest.raises(InputError, match="give a limit of 1 or more"):
        subset(cache, out, limit=0)
    with pytest.raises(InputError, match=r"nothing of .* is left"):
        subset(cache, out, vids=["video-00"], splits=["val"])
    with pytest.raises(InputError, match="that is one of the parts it is over"):
        subset(cache, cache, limit=1, self_contained=False)
    assert not out.exists()
    data = bytearray(cache.read_bytes())
    data[open_cache(cache).structure.extents["video/features"].offset] ^= 1
    cache.write_bytes(data)
    with pytest.raises(InputError, match="video 'video-00' is damaged"):
        subset(cache, out, limit=1)
    assert open_cache(subset(cache, out, vids=["video-02"])).n_videos == 1  # what is not taken is not looked at


def test_failures_come_along_with_the_videos_that_are_meant(tmp_path: Path) -> None:
    cache = samples.sample_cache(tmp_path / "c.h5")
    assert open_cache(subset(cache, tmp_path / "1.h5", splits=["train"])).failures == [
        Failure("video-missing", "moov atom not found")
    ]
    assert open_cache(subset(cache, tmp_path / "2.h5", splits=["val"])).failures == []
    chosen = open_cache(subset(cache, tmp_path / "3.h5", vids=["video-missing", "video-01"]))
    assert (list(chosen.vids), len(chosen.failures), len(chosen.queries)) == (["video-01"], 1, 2)
    assert open_cache(subset(cache, tmp_path / "4.h5", limit=99)).missing_videos() == ["video-missing"]
    assert open_cache(subset(cache, tmp_path / "5.h5", limit=2)).failures == []


def test_an_index_links_to_the_files_it_needs_and_no_others(tmp_path: Path) -> None:
    paths = [samples.sample_cache(tmp_path / "parts" / f"{i}.h5", count=3, prefix=f"p{i}") for i in range(4)]
    index = merge(
        paths,
        tmp_path / "all.h5",
        queries=[QueryRecord(1, "p2-01", samples.texts()[0].text, "train")],
        self_contained=False,
    )
    small = subset(index, tmp_path / "deeper" / "small.h5", splits=["train"], self_contained=False)
    cache = open_cache(small)
    # The video lies in part 2, its sentence in part 0, which had it first.
    assert [str(name) for name in cache.columns.strings("link/path")] == ["../parts/0.h5", "../parts/2.h5"]
    np.testing.assert_array_equal(cache.video("p2-01")[0], open_cache(index).video("p2-01")[0])
    assert verify(small) == []
