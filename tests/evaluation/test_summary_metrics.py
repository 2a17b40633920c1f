"""Metrics for any dataset, per query and per type, worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rdmf.evaluation import metrics_by_type, moment_metrics, per_query, saliency_metrics, tvsum
from rdmf.evaluation.relevance import above_median, relevance
from rdmf.store.errors import InputError


def truth(qid: int, windows: list[list[float]], **more: Any) -> dict[str, Any]:
    return {"qid": qid, "vid": "v", "query": "q", "duration": 10.0, "relevant_windows": windows, **more}


def answer(qid: int, windows: list[list[float]], saliency: list[float]) -> dict[str, Any]:
    return {"qid": qid, "pred_relevant_windows": windows, "pred_saliency_scores": saliency}


TRUTHS = [
    truth(1, [[0.0, 4.0]], type="action"),
    truth(2, [[2.0, 4.0], [8.0, 10.0]], type="object"),
    truth(3, [], type="object"),
    truth(4, [[0.0, 10.0]]),
]
ANSWERS = [
    answer(4, [], [0.0]),
    answer(2, [[0.0, 2.0, 0.9], [8.0, 9.0, 0.8]], [0.0, 0.2, 0.0, 0.0, 0.9]),
    answer(3, [[0.0, 1.0, 0.5]], [0.1]),
    answer(1, [[0.0, 2.0, 0.9], [0.0, 4.0, 0.1]], [0.5, 0.1, 0.2, 0.0, 0.0]),
]


def test_values_per_query() -> None:
    values = per_query(ANSWERS, TRUTHS)
    assert values["qid"] == [1, 2, 3, 4]  # the annotations' order
    assert values["mIoU"].tolist()[:2] == [0.5, 0.0]
    assert np.isnan(values["mIoU"][2])  # nothing to find there
    assert values["mIoU"][3] == 0  # something to find, nothing predicted
    assert values["R1@0.5"].tolist()[:2] == [1.0, 0.0]
    assert values["R1@0.7"].tolist()[:2] == [0.0, 0.0]
    assert values["R5@0.5"].tolist()[:2] == [1.0, 1.0]
    # Query 1: positive clips are 0 and 1, scored first and third: (1 + 2/3) / 2.
    assert values["saliency mAP"][0] == pytest.approx((1 + 2 / 3) / 2)
    # Query 2: positive clips 1 and 4 are the two best.
    assert values["saliency mAP"][1] == 1.0
    assert values["Hit@1"].tolist()[:2] == [1.0, 1.0]


def test_means_are_over_queries_that_can_be_answered() -> None:
    metrics = moment_metrics(ANSWERS, TRUTHS)
    assert metrics["R1@0.5"] == pytest.approx(100 / 3)
    assert metrics["R5@0.5"] == pytest.approx(200 / 3)
    assert metrics["mIoU"] == pytest.approx(50 / 3)
    assert set(metrics) == {"R1@0.3", "R1@0.5", "R1@0.7", "R5@0.5", "mIoU", "mAP@0.5", "mAP@0.75", "mAP"}
    assert set(saliency_metrics(ANSWERS, TRUTHS)) == {"saliency mAP", "Hit@1"}


def test_no_annotations_of_a_kind_give_no_metrics_of_that_kind() -> None:
    assert moment_metrics([answer(3, [[0.0, 1.0, 0.5]], [0.1])], [TRUTHS[2]]) == {}
    assert saliency_metrics([answer(3, [[0.0, 1.0, 0.5]], [0.1])], [TRUTHS[2]]) == {}
    assert saliency_metrics([{"qid": 1, "pred_relevant_windows": []}], [TRUTHS[0]]) == {}


def test_table_by_type() -> None:
    table = metrics_by_type(ANSWERS, TRUTHS)
    assert list(table) == ["action", "object"]
    assert table["action"]["R1@0.5"] == 100.0
    assert table["object"]["R1@0.5"] == 0.0
    assert table["object"]["queries"] == 2


def test_clips_are_positive_where_their_centre_lies_in_a_window() -> None:
    labels = relevance([truth(1, [[1.0, 3.0]]), truth(2, [[0.9, 3.1]]), truth(3, [[9.0, 10.0]], clip_length=1.0)])
    assert labels.positive[0, 0].tolist() == [True] + [False] * 9  # centre 1.0 is in, 3.0 is out: half-open
    assert labels.positive[1, 0, :2].tolist() == [True, True]
    assert np.flatnonzero(labels.positive[2, 0]).tolist() == [9]
    assert labels.n_clips.tolist() == [5, 5, 10]


def test_annotators_come_before_windows_and_choose_their_scale() -> None:
    graded = truth(1, [[0.0, 10.0]], relevant_clip_ids=[0, 1], saliency_scores=[[4, 3], [2, 4]])
    labels = relevance([graded, truth(2, [[0.0, 2.0]])])
    assert labels.positive[0, :, :2].tolist() == [[True, False], [False, True]]
    assert labels.columns.tolist() == [[True, True], [True, False]]
    binary = truth(1, [], relevant_clip_ids=[0, 1], saliency_scores=[[0], [1]])
    assert relevance([binary]).positive[0, 0].tolist() == [False, True, False, False, False]
    crowd = truth(1, [], relevant_clip_ids=[0, 1, 2, 3, 4], saliency_scores=[[k] * 20 for k in (1, 2, 3, 3, 1)])
    assert relevance([crowd]).positive[0, 0].tolist() == [False, False, True, True, False]


def test_a_duration_is_needed_only_where_it_is_used() -> None:
    without = [{"qid": 1, "relevant_windows": [[0.0, 4.0]]}]
    assert moment_metrics([{"qid": 1, "pred_relevant_windows": [[0.0, 4.0, 1.0]]}], without)["mIoU"] == 100.0
    with pytest.raises(InputError, match="duration"):
        saliency_metrics([{"qid": 1, "pred_saliency_scores": [1.0]}], without)


def test_trapezoid_ap_by_hand() -> None:
    # Hits at ranks 1 and 3: half of the recall each, at (1 + 1) / 2 and (1/2 + 2/3) / 2.
    assert tvsum.trapezoid_ap(np.array([True, False, True])) == pytest.approx((1 + 7 / 12) / 2)
    assert tvsum.trapezoid_ap(np.array([True] * 5 + [False, True]), 5) == 1.0  # the sixth does not count
    assert tvsum.trapezoid_ap(np.array([False, False])) == 0.0
    assert above_median(np.array([1.0, 2.0, 3.0, 4.0])).tolist() == [False, False, True, True]  # the lower median


def test_clips_are_those_that_the_annotation_names_in_whatever_order() -> None:
    """As a cache tells it: scores by annotators, of the clips of "relevant_clip_ids"; the others have none."""
    scores = {9: [5.0] * 10, 8: [4.0] * 10, 7: [3.0] * 10, 6: [1.0] * 10}
    predictions = [{"qid": 1, "pred_saliency_scores": [0, 0, 0, 0, 0, 0, 0.1, 0.3, 0.4, 0.5]}]
    dense = [scores.get(clip, [0.0] * 10) for clip in range(10)]
    expected = tvsum.tvsum_metrics(predictions, [{"qid": 1, "label": dense}])
    assert expected["mAP"] == 100.0
    about = {"qid": 1, "duration": 20.0, "clip_length": 2.0}
    for order in ([6, 7, 8, 9], [9, 8, 7, 6], [7, 9, 6, 8]):
        sparse = {"relevant_clip_ids": order, "saliency_scores": [scores[clip] for clip in order]}
        assert tvsum.tvsum_metrics(predictions, [{**about, **sparse}]) == expected


def test_domains_weigh_the_same() -> None:
    def video(qid: int, domain: str, label: list[list[int]]) -> dict[str, Any]:
        return {"qid": qid, "domain": domain, "label": label}

    annotations = [video(1, "dog", [[1], [0]]), video(2, "dog", [[1], [0]]), video(3, "ski", [[0], [1]])]
    annotations.append(video(4, "ski", [[0], [0]]))  # nothing positive: skipped
    predictions = [{"qid": qid, "pred_saliency_scores": [0.9, 0.1]} for qid in (1, 2, 3, 4)]
    metrics = tvsum.clip_labels_metrics(predictions, annotations)
    assert metrics == {"dog": 100.0, "ski": 25.0, "mAP": 62.5}
    with pytest.raises(InputError, match="label must hold one list"):
        tvsum.tvsum_metrics(predictions[:1], [video(1, "dog", [[1], [0, 1]])])
