"""What makes a cache of millions usable: what is read, and how much of it is held, not how fast the machine is.

The index is that of benchmarks/store_scale.py, smaller: its features are holes, which nothing here may read.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from benchmark_scripts import load_script

from rdmf.store import describe, header, merge, open_cache, ragged, subset
from rdmf.store.layout import Columns
from rdmf.store.rows import Files, RowTable

ROOT = Path(__file__).resolve().parents[2]
VIDEOS, QUERIES, PARTS = 4_000, 40_000, 80


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load_script("store_scale")


@pytest.fixture(scope="module")
def index(benchmark: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = benchmark.make_index(
        tmp_path_factory.mktemp("scale") / "index.h5", first=0, videos=VIDEOS, queries=QUERIES, parts=PARTS
    )
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The tables that are read, in order; reading rows of features is an error."""
    names: list[str] = []
    array = Columns.array

    def noted(self: Columns, name: str) -> object:
        names.append(name)
        return array(self, name)

    def refused(*_: object) -> None:
        raise AssertionError("rows were read")

    monkeypatch.setattr(Columns, "array", noted)
    monkeypatch.setattr(RowTable, "read", refused)
    return names


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buffers of fixed size, which are nothing beside a large index, made small beside this one too."""
    monkeypatch.setattr(ragged, "ELEMENTS_A_BLOCK", 1 << 12)
    monkeypatch.setattr(header, "_PIECE_BYTES", 1 << 12)


def held(function: Callable[[], object]) -> int:
    """The most bytes that Python and numpy held at once while a function ran, beyond what they held before."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_opening_reads_where_the_parts_are_and_nothing_else(index: Path, read: list[str]) -> None:
    cache = open_cache(index)
    assert set(read) == {"link/path_utf8", "link/path_offsets", "link/bytes", "link/sha256", "link/data_offsets"}
    assert (cache.n_videos, len(cache.queries), cache.n_texts) == (VIDEOS, QUERIES, QUERIES)
    assert len(cache.data_files) == PARTS
    assert len(read) == 5


def test_opening_holds_no_more_for_more_videos(index: Path, benchmark: ModuleType, tmp_path: Path) -> None:
    small = benchmark.make_index(tmp_path / "small.h5", first=0, videos=80, queries=80, parts=PARTS)
    held(lambda: open_cache(small))  # imports and caches of the first time
    assert held(lambda: open_cache(index)) < held(lambda: open_cache(small)) + 100_000


def test_every_question_reads_the_columns_it_needs(index: Path, read: list[str]) -> None:
    cache = open_cache(index)

    def tables(question: Callable[[], object]) -> set[str]:
        read.clear()
        question()
        return set(read)

    assert tables(lambda: cache.select("val")) == {
        "query/split_name_utf8",
        "query/split_name_offsets",
        "query/split_code",
    }
    assert tables(lambda: cache.n_rows) == {"video/row_offsets"}
    assert tables(lambda: cache.video_numbers(cache.vids)) == {"video/vid_utf8", "video/vid_offsets"}
    assert tables(lambda: cache.queries.ids(np.arange(3))) == {"query/qid_int", "query/qid_is_text"}
    assert not tables(lambda: (cache.vids[7], len(cache.vids), cache.select("test"), cache.n_rows))


def test_a_few_records_decode_a_few_sentences(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = open_cache(index)
    (record,) = cache.queries.records(np.array([12_345]))
    assert (record.qid, record.vid, record.text) == (12_345, cache.vids[1234], cache.texts[12_345])
    assert record.windows == (tuple(cache.queries.windows[12_345]),)
    # All columns are there now; a hundred records more hold a hundred records' worth.
    assert held(lambda: cache.queries.records(np.arange(0, QUERIES, 400))) < 300_000


def test_a_name_is_looked_up_without_a_str_for_any_other(index: Path) -> None:
    cache = open_cache(index)
    vid = cache.vids[VIDEOS - 1]
    assert held(lambda: cache.video(vid)) < 40 * VIDEOS + 2_500_000  # hashes and their order, a block, one video
    assert cache.video_numbers(cache.vids).tolist() == list(range(VIDEOS))


def test_summing_up_reads_no_names_and_no_sentences(
    index: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RowTable, "read", lambda table, start, stop: np.zeros((stop - start, table.shape[1])))
    facts = describe(index)
    assert facts["queries"]["splits"]["val"] == {
        "queries": QUERIES // 10,
        "videos": VIDEOS // 10,
        "queries_without_video": 0,
        "queries_with_windows": QUERIES // 10,
        "queries_with_saliency": 0,
    }
    assert facts["video"]["decoders"] == {"pyav": VIDEOS}
    assert not {"video/vid_utf8", "text/text_utf8", "query/windows", "video/sha256"} & set(read)


@pytest.mark.usefixtures("small_buffers")
def test_a_subset_reads_each_column_a_few_times_and_holds_few(index: Path, read: list[str], tmp_path: Path) -> None:
    out = tmp_path / "val.h5"
    subset(index, out, limit=1, self_contained=False)  # imports of the first time
    read.clear()
    most = held(lambda: subset(index, out, splits=["val"], self_contained=False))
    assert max(map(read.count, read)) <= 8
    assert most < index.stat().st_size / 2
    with open_cache(out) as cache:
        assert (cache.n_videos, len(cache.queries), cache.n_texts) == (VIDEOS // 10, QUERIES // 10, QUERIES // 10)
        assert cache.vids == open_cache(index).vids.take(np.arange(8, VIDEOS, 10))


@pytest.mark.usefixtures("small_buffers")
def test_a_merge_holds_few_columns_at_a_time(
    index: Path, benchmark: ModuleType, read: list[str], tmp_path: Path
) -> None:
    halves = [
        benchmark.make_index(tmp_path / f"{i}.h5", first=QUERIES * (i + 1), videos=VIDEOS, queries=QUERIES, parts=PARTS)
        for i in range(2)
    ]
    out = tmp_path / "out.h5"
    most = held(lambda: merge(halves, out, self_contained=False))
    assert max(map(read.count, read)) <= 2 * 8
    assert most < out.stat().st_size
    with open_cache(out) as cache:
        assert (cache.n_videos, len(cache.queries), len(cache.data_files)) == (2 * VIDEOS, 2 * QUERIES, 2 * PARTS)


def test_reading_goes_through_few_open_files(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    monkeypatch.setattr(
        Files, "_opened", lambda files, number, real=Files._opened: (opened.append(number), real(files, number))[1]
    )
    cache = open_cache(index)
    for number in range(0, VIDEOS, VIDEOS // PARTS):
        assert not cache.video(number)[0].any()
    assert opened == list(range(PARTS))
    assert len(cache._files._open) <= 64
