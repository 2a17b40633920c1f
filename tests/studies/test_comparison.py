"""Means, spreads and paired tests, against SciPy and by their laws."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from studies_samples import make_cache

from rdmf.content import content_of
from rdmf.store import open_cache
from rdmf_pipelines.studies.comparison import Queries, Row, by_fold, by_type, difference, guess_row, means, stack
from rdmf_pipelines.studies.figure import seeds_said
from rdmf_pipelines.studies.layout import as_csv, as_values, markdown, p_text
from rdmf_pipelines.studies.scoring import METRICS, Scores

FOLDS = {"a": 5, "b": 8}


def test_a_cache_made_again_holds_the_same_and_one_with_a_number_changed_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def content(path: Path) -> str:
        with open_cache(path) as cache:
            return content_of(cache)

    one = content(make_cache(tmp_path / "one.h5", train=2, test=2))
    monkeypatch.setattr("rdmf.store.compose.datetime", Tomorrow)
    other = make_cache(tmp_path / "other.h5", train=2, test=2)
    with open_cache(other) as cache:
        assert cache.about["created"] == "tomorrow"
    assert content(other) == one
    # Queries without types, then other features.
    assert content(make_cache(tmp_path / "untyped.h5", train=2, test=2, typed=False)) != one
    monkeypatch.setattr("rdmf_pipelines.studies.synthetic.STRIDE_SECONDS", 2.5)
    assert content(make_cache(tmp_path / "slower.h5", train=2, test=2)) != one


class Tomorrow:
    """Stands in for the module `datetime`."""

    timezone = dt.timezone

    class datetime:
        @staticmethod
        def now(_: object) -> Tomorrow:
            return Tomorrow()

    def isoformat(self, **_: object) -> str:
        return "tomorrow"


def scores(fold: str, values: np.ndarray | None = None) -> Scores:
    count = FOLDS[fold]
    kinds = ["action", "object"] * count
    given_values = np.zeros((len(METRICS), count)) if values is None else values
    return Scores({}, [f"{fold}{i}" for i in range(count)], kinds[:count], given_values, None)


QUERIES = Queries.of({fold: scores(fold) for fold in FOLDS})


def row(label: str, seeds: int = 3, *, shift: float = 0.0, number: int = 0) -> Row:
    rng = np.random.default_rng(number)
    runs = {(f, s): rng.random((len(METRICS), n)) / 2 + shift for f, n in FOLDS.items() for s in range(seeds)}
    return stack(label, runs, QUERIES)


def test_mean_and_spread_are_those_of_the_seeds() -> None:
    one = row("one")
    by_seed = [100 * one.values[s, METRICS.index("mIoU")].mean() for s in range(3)]
    found = means(one)["mIoU"]
    assert found.mean == pytest.approx(np.mean(by_seed))
    assert found.spread == pytest.approx(np.std(by_seed, ddof=1))
    assert found.seeds == 3
    assert means(row("single", 1))["mIoU"].spread is None


def test_folds_are_pooled_over_their_queries_not_over_their_means() -> None:
    one = row("one", 1)
    parts = {fold: (count, rows[0]["mIoU"].mean) for fold, (count, rows) in by_fold([one], QUERIES).items()}
    pooled = sum(count * mean for count, mean in parts.values()) / sum(FOLDS.values())
    assert means(one)["mIoU"].mean == pytest.approx(pooled)
    assert {fold: count for fold, (count, _) in parts.items()} == FOLDS


def test_a_seed_that_lacks_a_fold_takes_no_part_in_the_spread() -> None:
    rng = np.random.default_rng(1)
    runs = {(f, s): rng.random((len(METRICS), n)) for f, n in FOLDS.items() for s in range(3)}
    del runs["b", 2]
    whole = stack("whole", {place: values for place, values in runs.items() if place[1] < 2}, QUERIES)
    partly = stack("partly", runs, QUERIES)
    assert means(partly)["mAP"] == means(whole)["mAP"]
    # Nor in what is compared query by query: a difference is that of the means beside it.
    reference = row("reference", number=4)
    found = difference(partly, reference, "mAP")
    assert found is not None
    assert found.difference == pytest.approx(means(partly)["mAP"].mean - means(reference)["mAP"].mean)
    # Where no seed has all folds, all that there is counts.
    single = stack(
        "single", {place: values for place, values in runs.items() if place in (("a", 0), ("b", 1))}, QUERIES
    )
    assert np.isfinite(single.averaged("mAP")).all()


def test_the_test_is_the_paired_one_over_queries() -> None:
    first, second = row("first", number=1), row("second", number=2, shift=0.1)
    found = difference(second, first, "mIoU")
    assert found is not None
    expected = stats.ttest_rel(second.averaged("mIoU"), first.averaged("mIoU"))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.queries == 13  # not 39: seeds are no further queries
    assert found.low < found.difference < found.high
    assert found.difference == pytest.approx(means(second)["mIoU"].mean - means(first)["mIoU"].mean)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.25, 1 / 3]), st.booleans())
def test_p_is_a_probability_and_symmetric_whatever_the_ties(seed: int, step: float, shuffled: bool) -> None:
    rng = np.random.default_rng(seed)
    base = np.round(rng.random((3, len(METRICS), 13)) * 3) / 3
    order = rng.permutation(3) if shuffled else np.arange(3)
    first, second = Row("first", (0, 1, 2), base), Row("second", (0, 1, 2), base[order] + step)
    for metric in METRICS:
        one, other = difference(second, first, metric), difference(first, second, metric)
        assert one is not None
        assert other is not None
        assert 0 <= one.p <= 1
        assert one.p == other.p
        # The same seeds in another order are the same model; the same plus a step differ for certain.
        assert one.p == 1 if step == 0 else one.p < 1e-9
        assert one.low <= one.difference + 1e-9
        assert one.difference <= one.high + 1e-9


def test_queries_without_annotation_are_left_out_and_nothing_is_nan() -> None:
    first, second = row("first", number=1), row("second", number=2)
    for one in (first, second):
        one.values[:, METRICS.index("mIoU"), :12] = np.nan
        one.values[:, METRICS.index("Hit@1")] = np.nan
        one.values[:, METRICS.index("mAP"), 3] = np.nan
    assert difference(first, second, "mIoU") is None  # a single query is no test
    assert "Hit@1" not in means(first)
    paired = difference(first, second, "mAP")
    assert paired is not None
    assert paired.queries == 12
    text = json.dumps(as_values([first, second], QUERIES, first), allow_nan=False)
    assert "NaN" not in text


def test_types_and_guesses_stand_in_the_tables() -> None:
    one = row("one")
    guess = guess_row("query-blind", {fold: scores(fold) for fold in FOLDS}, QUERIES)
    assert guess.seeds == ()
    kinds = by_type([one, guess], QUERIES)
    assert {kind: count for kind, (count, _) in kinds.items()} == {"action": 7, "object": 6}
    values = as_values([one, guess], QUERIES, one)
    written = markdown(values)
    assert written.count("| query-blind |") == 2 + 2 + 2  # means and differences, two types, two folds
    # A line for the head, and for each of two models, ten metrics and (all, 2 types, 2 folds).
    assert len(as_csv(values).splitlines()) == 1 + 2 * len(METRICS) * 5
    assert values["rows"][0]["against"] == {}


def test_p_values_in_words() -> None:
    assert [p_text(p) for p in (0.0, 0.0004, 0.0123, 0.5, 1.0)] == ["<0.001", "<0.001", "0.012", "0.50", "1.00"]


def test_a_picture_says_how_many_seeds_its_rows_have() -> None:
    rule = Row("rule", (), np.zeros((1, len(METRICS), 13)))
    assert seeds_said([row("one", 1), rule]) == "1 seed"
    assert seeds_said([row("one"), row("other")]) == "3 seeds"
    assert seeds_said([row("one"), row("other", 1), rule]) == "1 to 3 seeds"
