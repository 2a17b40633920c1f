"""What must hold of the official metrics for any input, against slow reference code written from their definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.evaluation import evaluate, evaluate_with_coverage, moments
from rdmf.evaluation.average_precision import detection_ap, ranking_ap
from rdmf.evaluation.tables import Ragged


def sample(seed: int, n: int = 30) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Random predictions (some near the truth, many tied) and annotations, of several durations."""
    rng = np.random.default_rng(seed)
    predictions, annotations = [], []
    for qid in range(n):
        duration = float(rng.choice([31, 75.5, 150]))
        clips = int(duration / 2)
        starts = rng.integers(0, clips - 2, rng.integers(1, 5))
        truth = [[2.0 * s, min(2.0 * (s + rng.integers(1, 30)), duration)] for s in starts.tolist()]
        guesses = [[s + rng.normal(), e + rng.normal(), float(rng.integers(0, 4))] for s, e in truth]
        guesses += [[10.0, 20.0, 1.0], [10.0, 20.0, 1.0], [0.0, duration, 0.5]]
        chosen = np.sort(rng.choice(clips, rng.integers(1, clips), replace=False)).tolist()
        annotations.append(
            {
                "qid": qid,
                "query": f"q{qid}",
                "vid": f"v{qid}",
                "duration": duration,
                "relevant_windows": truth,
                "relevant_clip_ids": chosen,
                "saliency_scores": rng.integers(0, 5, (len(chosen), 3)).tolist(),
            }
        )
        scores = rng.integers(-3, 4, clips + rng.integers(-2, 3)).astype(float).tolist()
        predictions.append({"qid": qid, "pred_relevant_windows": guesses, "pred_saliency_scores": scores})
    return predictions, annotations


def iou(a: list[float], b: list[float]) -> float:
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / (a[1] - a[0] + b[1] - b[0] - shared) if shared else 0.0


def slow_detection_ap(guesses: list[list[float]], truth: list[list[float]], threshold: float) -> float:
    """VOC: greedy matching by score, then the sum over recall steps of the best precision at or beyond them."""
    free = list(range(len(truth)))
    flags = []
    for guess in sorted(guesses[:10], key=lambda window: -window[2]):
        ranked = sorted(free, key=lambda j: (iou(guess, truth[j]), j))
        hit = bool(ranked) and iou(guess, truth[ranked[-1]]) >= threshold
        if hit:
            free.remove(ranked[-1])
        flags.append(hit)
    precisions = [sum(flags[: i + 1]) / (i + 1) for i in range(len(flags))]
    return sum(max(precisions[i:]) for i, hit in enumerate(flags) if hit) / len(truth)


def slow_ranking_ap(labels: list[bool], scores: list[float]) -> float:
    """One precision and recall per distinct threshold; interpolate; average where recall changes."""
    points = []
    for threshold in sorted(set(scores), reverse=True):
        above = [label for label, score in zip(labels, scores, strict=True) if score >= threshold]
        points.append((sum(above), sum(above) / len(above)))
    steps = []
    for index, (found, _) in enumerate(points):
        if found > (points[index - 1][0] if index else 0):
            steps.append(max(precision for _, precision in points[index:]))
    return sum(steps) / len(steps) if steps else 0.0


@pytest.mark.parametrize("seed", range(5))
def test_against_slow_reference(seed: int) -> None:
    predictions, annotations = sample(seed)
    scores = evaluate(predictions, annotations)
    for threshold in (0.5, 0.75, 0.95):
        slow = [
            slow_detection_ap(p["pred_relevant_windows"], a["relevant_windows"], threshold)
            for p, a in zip(predictions, annotations, strict=True)
        ]
        assert scores["full"]["MR-mAP"][str(threshold)] == pytest.approx(100 * np.mean(slow), abs=0.0051)
    firsts = [
        max(iou(p["pred_relevant_windows"][0], w) for w in a["relevant_windows"])
        for p, a in zip(predictions, annotations, strict=True)
    ]
    assert scores["full"]["MR-R1"]["0.7"] == pytest.approx(100 * np.mean(np.array(firsts) >= 0.7), abs=0.0051)

    aps, hits = [], []
    for p, a in zip(predictions, annotations, strict=True):
        matrix = np.zeros((int(a["duration"] / 2), 3))
        matrix[a["relevant_clip_ids"]] = a["saliency_scores"]
        fitted = (p["pred_saliency_scores"] + [0.0, 0.0])[: len(matrix)]
        aps += [slow_ranking_ap((matrix[:, k] >= 3).tolist(), fitted) for k in range(3)]
        best = int(np.argmax(p["pred_saliency_scores"]))
        hits.append(best < len(matrix) and (matrix[best] >= 3).any())
    assert scores["HL-min-Good"]["HL-mAP"] == pytest.approx(100 * np.mean(aps), abs=0.0051)
    assert scores["HL-min-Good"]["HL-Hit1"] == pytest.approx(100 * np.mean(hits), abs=0.0051)


def test_perfect_predictions_score_100_everywhere() -> None:
    _, annotations = sample(0)
    predictions = []
    for record in annotations:
        record["relevant_windows"] = [[0.0, 8.0], [10.0, 30.0]] if record["qid"] % 2 else [[0.0, 31.0]]
        record["relevant_clip_ids"], record["saliency_scores"] = [1, 2], [[4, 4, 4], [4, 4, 4]]
        curve = [1.0 if clip in (1, 2) else 0.0 for clip in range(int(record["duration"] / 2))]
        windows = [[start, end, 1.0] for start, end in record["relevant_windows"]]
        predictions.append({"qid": record["qid"], "pred_relevant_windows": windows, "pred_saliency_scores": curve})
    scores = evaluate(predictions, annotations)
    assert set(scores["full"]["MR-mAP"].values()) == set(scores["full"]["MR-R1"].values()) == {100.0}
    assert scores["long"]["MR-mAP"]["average"] == scores["HL-min-VeryGood"]["HL-mAP"] == 100.0
    assert scores["HL-min-Fair"]["HL-Hit1"] == 100.0


def test_order_of_records_does_not_matter_and_scores_are_bounded() -> None:
    predictions, annotations = sample(7)
    rng = np.random.default_rng(0)
    scores = evaluate(predictions, annotations)
    shuffled = evaluate(
        [predictions[i] for i in rng.permutation(len(predictions))],
        [annotations[i] for i in rng.permutation(len(annotations))],
    )
    assert shuffled == scores
    values = list(scores["brief"].values())
    assert len(values) == 14
    assert all(0 <= value <= 100 for value in values)


def test_one_query_worked_by_hand() -> None:
    annotation = {"qid": 1, "duration": 20, "relevant_windows": [[0, 10], [12, 16]]}
    # By score: [0, 8] has IoU 0.8 with the first; [0, 10] finds it taken; [12, 17] has 0.8 with the second.
    windows = [[0, 10, 0.5], [0, 8, 0.9], [12, 17, 0.1]]
    scores = evaluate([{"qid": 1, "pred_relevant_windows": windows}], [annotation])
    assert scores["full"]["MR-R1"]["0.95"] == 100.0  # the first in file order, whatever its score
    assert scores["full"]["MR-mAP"]["0.8"] == pytest.approx(100 * (1 + 2 / 3) / 2, abs=0.005)
    assert scores["full"]["MR-mAP"]["0.85"] == 25.0  # one of two, found at rank two
    assert math.isnan(scores["long"]["MR-mAP"]["average"])
    assert not any(key.startswith("HL") for key in scores)


def test_empty_lists_and_queries_without_windows() -> None:
    annotations = [
        {"qid": 1, "duration": 20, "relevant_windows": [[0, 10]]},
        {"qid": 2, "duration": 20, "relevant_windows": [[0, 10]]},
        {"qid": 3, "duration": 20, "relevant_windows": []},
    ]
    windows: list[list[list[float]]] = [[[0, 10, 1.0]], [], [[0, 10, 1.0]]]
    predictions = [{"qid": qid, "pred_relevant_windows": w} for qid, w in enumerate(windows, start=1)]
    scores, counted = evaluate_with_coverage(predictions, annotations)
    assert scores["full"]["MR-R1"]["0.5"] == 50.0  # the empty one is a miss
    assert scores["full"]["MR-mAP"]["0.5"] == 100.0  # and leaves the official mean
    assert (counted.queries, counted.without_moments, counted.without_prediction) == (3, 1, 1)


def test_video_of_one_clip_and_of_less() -> None:
    annotations = [
        {
            "qid": q,
            "duration": d,
            "relevant_windows": [[0, d]],
            "relevant_clip_ids": [0],
            "saliency_scores": [[4, 4, 4]],
        }
        for q, d in ((1, 2.0), (2, 0.9))
    ]
    predictions = [
        {"qid": q, "pred_relevant_windows": [[0, d, 1.0]], "pred_saliency_scores": [0.3]}
        for q, d in ((1, 2.0), (2, 0.9))
    ]
    scores = evaluate(predictions, annotations)
    assert scores["full"]["MR-R1"]["0.95"] == scores["HL-min-VeryGood"]["HL-mAP"] == 100.0


seconds = st.floats(0, 100, allow_nan=False).map(lambda x: round(x, 3))
window = st.tuples(seconds, seconds).map(sorted).filter(lambda w: w[1] - w[0] > 1e-3)


@settings(max_examples=80, deadline=None)
@given(window, window, st.floats(-50, 50), st.floats(0.1, 10))
def test_iou_laws(a: list[float], b: list[float], shift: float, scale: float) -> None:
    x, y = np.array([a]), np.array([b])
    both = float(moments.paired_iou(x, y)[0])
    assert 0 <= both <= 1
    assert float(moments.paired_iou(y, x)[0]) == both
    assert float(moments.cross_iou(x, y)[0, 0]) == pytest.approx(both, abs=1e-9)
    assert float(moments.paired_iou(x, x)[0]) == 1
    assert float(moments.paired_iou(x * scale + shift, y * scale + shift)[0]) == pytest.approx(both, abs=1e-6)


def test_degenerate_windows_have_iou_zero() -> None:
    odd = np.array([[5.0, 5.0], [9.0, 2.0], [0.0, 0.0]])
    truth = np.array([[0.0, 10.0], [5.0, 5.0]])
    assert not moments.cross_iou(odd, truth).any()
    assert not moments.paired_iou(odd[:, None], truth[None]).any()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=20))
def test_ranking_ap_laws(clips: list[tuple[bool, int]]) -> None:
    labels, scores = [label for label, _ in clips], [float(score) for _, score in clips]

    def ap(y: list[bool], s: list[float], pad: int = 0) -> float:
        table = np.array([s + [9.0] * pad])
        return float(ranking_ap(table, np.array([[y + [True] * pad]]), np.array([len(s)]))[0, 0])

    value = ap(labels, scores)
    assert value == pytest.approx(slow_ranking_ap(labels, scores))
    assert ap(labels, scores, pad=3) == pytest.approx(value)  # padding is never looked at
    assert ap(labels, [math.atan(score) for score in scores]) == pytest.approx(value)  # only the order counts
    assert ap(labels[::-1], scores[::-1]) == pytest.approx(value)  # ties have no order
    assert ap(labels, [float(label) for label in labels]) == float(any(labels))


def test_detection_ap_by_hand() -> None:
    hits = np.array([[True, False, True, False], [False, False, False, False], [False, True, False, False]])
    assert detection_ap(hits, np.array([2, 1, 1])) == pytest.approx([(1 + 2 / 3) / 2, 0, 0.5])


def test_ragged_rows_keep_their_items() -> None:
    rows = Ragged(np.arange(6.0), np.array([2, 0, 3, 1]))
    again = rows.rows(np.array([2, 1, 0]))
    assert again.values.tolist() == [2, 3, 4, 0, 1]
    values, present = again.padded(-1.0)
    assert values.tolist() == [[2, 3, 4], [-1, -1, -1], [0, 1, -1]]
    assert present.sum(axis=1).tolist() == [3, 0, 2]
    with pytest.raises(ValueError, match="add up"):
        Ragged(np.arange(3.0), np.array([1, 1]))
