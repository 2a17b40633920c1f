"""Columns of strings behave as lists, and are found, compared and kept once as Python's dicts would."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.store import InputError, string_index
from rdmf.store.ragged import blocks, first_seen, offsets_of, take
from rdmf.store.string_index import StringIndex, equal, first_of, hash_of, hashes
from rdmf.store.strings import Strings

words = st.lists(
    st.one_of(st.sampled_from(["", "a", "door", "fenêtre", "窓", "\0", "a\0"]), st.text(max_size=40)), max_size=12
)
law = settings(deadline=None, max_examples=60)


@law
@given(words, st.data())
def test_they_are_as_a_list(strings: list[str], data: st.DataObject) -> None:
    column = Strings.of(strings)
    assert column == strings
    assert strings == column
    assert list(column) == strings
    assert column == Strings.of(strings)
    assert len(column) == len(strings)
    assert [column[i] for i in range(-len(strings), len(strings))] == strings * 2
    bounds = st.none() | st.integers(-15, 15)
    some = slice(data.draw(bounds), data.draw(bounds), data.draw(st.sampled_from([None, 1, 2, -1])))
    assert column[some] == strings[some]
    assert pickle.loads(pickle.dumps(column)) == strings
    assert column != [*strings, "more"]
    items = data.draw(st.lists(st.integers(0, len(strings) - 1), max_size=8) if strings else st.just([]))
    assert column.take(np.array(items, np.int64)) == [strings[i] for i in items]
    assert Strings.join([column, Strings.of([]), column]) == strings * 2


def test_what_they_refuse() -> None:
    with pytest.raises(IndexError):
        Strings.of(["a"])[1]
    with pytest.raises(InputError, match=r"name '\\udcff' is not valid Unicode"):
        Strings.of(["\udcff"], "name")
    with pytest.raises(TypeError):
        hash(Strings.of([]))
    assert repr(Strings.of([str(i) for i in range(9)])) == "['0', '1', '2', '3', '4', '5', '6', '7', ... 9 strings]"


@law
@given(words)
def test_one_hash_however_it_is_computed(strings: list[str]) -> None:
    column = Strings.of(strings)
    assert hashes(column).tolist() == [hash_of(string.encode()) for string in strings]


@pytest.mark.parametrize("weak", [False, True])
def test_finding_is_what_a_dict_does(weak: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if weak:  # all strings of one length share a hash, so that nothing but their bytes tells them apart
        monkeypatch.setattr(string_index, "hashes", lambda strings: np.diff(strings.offsets).astype(np.uint64))
        monkeypatch.setattr(string_index, "hash_of", len)

    @law
    @given(words, words)
    def holds(strings: list[str], wanted: list[str]) -> None:
        known: dict[str, int] = {}
        first = [known.setdefault(string, i) for i, string in enumerate(strings)]
        assert first_of(Strings.of(strings)).tolist() == first
        index = StringIndex(Strings.of(strings))
        expected = [known.get(string, -1) for string in (*wanted, *strings)]
        assert index.find(Strings.of([*wanted, *strings])).tolist() == expected
        assert [index.number(string) for string in (*wanted, *strings)] == expected
        assert index.number("\udcff") == -1

    holds()


def test_hashes_of_like_strings_differ() -> None:
    column = Strings.of(
        f"{prefix}{i:0{width}d}" for prefix in ("v_", "video") for i in range(20_000) for width in (5, 7)
    )
    assert len(np.unique(hashes(column))) == len(column)
    assert hashes(Strings.of(["ab", "ba", "a", "a\0"])).tolist() != [0] * 4


def test_strings_longer_than_a_block() -> None:
    strings = ["x" * 3_000_000, "y", "x" * 3_000_000, "x" * 2_999_999 + "z"]
    column = Strings.of(strings)
    assert first_of(column).tolist() == [0, 1, 0, 3]
    assert equal(column, np.array([0, 0]), column, np.array([2, 3])).tolist() == [True, False]


@law
@given(st.lists(st.integers(0, 5), max_size=20), st.integers(1, 7))
def test_blocks_cover_every_item_once(counts: list[int], most: int) -> None:
    offsets = offsets_of(np.array(counts, np.int64))
    cuts = list(blocks(offsets, most))
    assert [first for first, _ in cuts[1:]] == [last for _, last in cuts[:-1]]
    assert not cuts or (cuts[0][0], cuts[-1][1]) == (0, len(counts))
    assert all(offsets[last] - offsets[first] <= most or last == first + 1 for first, last in cuts)


def test_taking_ragged_items_of_any_shape() -> None:
    data, offsets = np.arange(20.0).reshape(10, 2), np.array([0, 3, 3, 4, 10])
    taken, bounds = take(data, offsets, np.array([3, 1, 0]))
    np.testing.assert_array_equal(taken, np.concatenate([data[4:10], data[0:3]]))
    assert bounds.tolist() == [0, 6, 6, 9]
    assert take(data, offsets, None)[0] is data
    assert first_seen(np.array([7, 2, 7, 5, 2])).tolist() == [7, 2, 5]
