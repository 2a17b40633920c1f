"""What guessing reaches: chosen on training annotations only, and worth something where there is something to guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rdmf.evaluation import (
    both_baselines,
    moment_metrics,
    query_blind_baseline,
    query_blind_oracle,
    read_jsonl,
    saliency_metrics,
    text_only_baseline,
)
from rdmf.store.errors import InputError


def query(qid: int, text: str, start: float, end: float, duration: float, kind: str = "") -> dict[str, Any]:
    windows = [[start, end]]
    return {
        "qid": qid,
        "vid": f"v{qid}",
        "query": text,
        "duration": duration,
        "relevant_windows": windows,
        "type": kind,
    }


def test_relative_and_absolute_windows_are_both_found() -> None:
    durations = np.linspace(40, 200, 30)
    last_quarter = [query(i, "q", 0.75 * d, d, d) for i, d in enumerate(durations.tolist())]
    assert moment_metrics(query_blind_baseline(last_quarter, last_quarter), last_quarter)["R1@0.7"] == 100.0
    ten_to_twenty = [query(i, "q", 10.0, 20.0, d) for i, d in enumerate(durations.tolist())]
    assert moment_metrics(query_blind_baseline(ten_to_twenty, ten_to_twenty), ten_to_twenty)["R1@0.7"] == 100.0


def test_choice_looks_at_training_only() -> None:
    train = [query(i, "q", 0.0, 10.0, 100.0) for i in range(5)]
    test = [query(i, "q", 80.0, 100.0, 100.0) for i in range(5)]
    assert moment_metrics(query_blind_baseline(train, test), test)["R1@0.5"] == 0.0
    assert moment_metrics(query_blind_oracle(test), test)["R1@0.5"] == 100.0
    # The same predictions whatever the annotated windows of the evaluated split are.
    moved = [{**record, "relevant_windows": [[0.0, 10.0]]} for record in test]
    assert query_blind_baseline(train, moved) == query_blind_baseline(train, test)


def test_text_only_falls_back_from_sentence_to_type_to_anything() -> None:
    train = [query(i, "pours Milk.", 0.0, 10.0, 100.0, "pour") for i in range(4)]
    train += [query(10 + i, "cuts", 60.0, 80.0, 100.0, "cut") for i in range(3)]
    test = [
        query(1, "pours milk", 0.0, 10.0, 100.0),
        query(2, "slices", 60.0, 80.0, 100.0, "cut"),
        query(3, "sleeps", 0.0, 10.0, 100.0, "sleep"),
    ]
    first = [record["pred_relevant_windows"][0][:2] for record in text_only_baseline(train, test)]
    assert first == [[0.0, 10.0], [60.0, 80.0], [0.0, 10.0]]
    blind, text = both_baselines(train, test)
    assert blind == query_blind_baseline(train, test)
    assert text == text_only_baseline(train, test)


def test_further_guesses_cover_what_the_first_misses() -> None:
    train = [query(i, "q", 0.0, 10.0, 100.0) for i in range(3)]
    train += [query(5 + i, "q", 50.0, 70.0, 100.0) for i in range(2)]
    (record,) = query_blind_baseline(train, train[:1])
    windows = record["pred_relevant_windows"]
    assert [window[:2] for window in windows] == [[0.0, 10.0], [50.0, 70.0]]
    assert [window[2] for window in windows] == pytest.approx([0.6, 0.4])


def test_saliency_follows_the_mean_relevance_over_relative_time() -> None:
    train = [query(i, "q", 50.0, 100.0, 100.0) for i in range(3)]
    test = [query(1, "q", 10.0, 20.0, 20.0)]
    (record,) = query_blind_baseline(train, test)
    assert record["pred_saliency_scores"] == [0.0] * 5 + [1.0] * 5  # ten clips of 2 s
    assert saliency_metrics([record], test)["saliency mAP"] == 100.0


def test_highlight_data_without_windows_still_has_a_baseline() -> None:
    train = [
        {
            "qid": i,
            "query": "q",
            "duration": 10.0,
            "relevant_windows": [],
            "relevant_clip_ids": [0, 4],
            "saliency_scores": [[0, 0, 0], [4, 4, 4]],
        }
        for i in range(3)
    ]
    records = query_blind_baseline(train, train)
    assert records[0]["pred_relevant_windows"] == [[0.0, 10.0, 0.0]]
    assert saliency_metrics(records, train)["saliency mAP"] == 100.0


def test_odd_videos_get_windows_inside_them() -> None:
    train = [query(i, "q", 90.0, 100.0, 100.0) for i in range(3)]
    test = [query(1, "q", 0.0, 1.0, 1.0), query(2, "q", 0.0, 5.0, 5000.0)]
    for record, truth in zip(query_blind_baseline(train, test), test, strict=True):
        windows = np.array(record["pred_relevant_windows"])
        assert (windows[:, 0] >= 0).all()
        assert (windows[:, 1] <= truth["duration"]).all()
        assert (windows[:, 1] > windows[:, 0]).all()
    with pytest.raises(InputError, match="duration"):
        query_blind_baseline([{**train[0], "duration": None}], test)


@pytest.mark.shared
def test_joined_videos_floor(shared: Path) -> None:
    """The floor that the shared data's README speaks of, and ours, which is chosen among more windows."""
    folder = shared / "video" / "joined"
    train, val = read_jsonl(folder / "train.jsonl"), read_jsonl(folder / "val.jsonl")
    blind, text = both_baselines(train, val)
    oracle = moment_metrics(query_blind_oracle(val), val)["R1@0.5"]
    assert 13.6 <= oracle < 30
    assert moment_metrics(blind, val)["R1@0.5"] <= oracle
    assert moment_metrics(text, val)["R1@0.5"] < 30
