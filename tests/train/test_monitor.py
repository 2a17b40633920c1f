"""Hold-out scores: by hand, and beside the evaluation that reports use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rdmf.evaluation import moment_metrics
from rdmf.evaluation.records import annotations_from_cache
from rdmf.predict import records
from rdmf.store import open_cache
from rdmf.train.data import Split
from rdmf.train.monitor import monitor_scores

CPU = torch.device("cpu")


def as_split(
    windows: list[list[tuple[float, float]]], durations: list[float], saliency: list[list[float]], known: list[bool]
) -> Split:
    """Only what the scores look at; windows as shares of the duration."""
    width = max(map(len, windows))
    table, mask = torch.zeros(len(windows), width, 2), torch.zeros(len(windows), width, dtype=torch.bool)
    for q, row in enumerate(windows):
        for w, window in enumerate(row):
            table[q, w], mask[q, w] = torch.tensor(window), True
    none, counts = torch.zeros(0), [len(row) for row in saliency]
    return Split(
        **dict.fromkeys(
            ("rows", "edges", "tokens", "row_start", "edge_start", "token_start", "token_count", "source", "rated"),
            none,
        ),
        row_count=torch.tensor(counts),
        windows=table,
        window_mask=mask,
        saliency=torch.tensor([v for row in saliency for v in row]),
        saliency_known=torch.tensor([k for k, n in zip(known, counts) for _ in range(n)]),
        saliency_start=torch.tensor(np.cumsum([0, *counts])[:-1]),
        durations=np.array(durations),
        index=np.arange(len(windows)),
        video_index=np.arange(len(windows)),
        sizes=np.zeros((len(windows), 3), dtype=np.int64),
    )


def test_by_hand() -> None:
    data = as_split(
        [[(0.0, 0.5)], [(0.2, 0.4), (0.6, 0.8)], []],
        [10.0, 100.0, 10.0],
        [[1, 0], [0, 1, 1], [0, 0]],
        [True, True, False],
    )
    spans = np.array(
        [
            [[0, 6], [0, 5], [0, 0]],  # IoU 5/6, then a perfect second, then an empty place
            [[60, 80], [20, 40], [0, 100]],  # both windows, exactly
            [[0, 1], [0, 1], [0, 1]],  # a query without windows counts nowhere
        ],
        np.float32,
    )
    scores = np.array([[0.9, 0.8, -1], [0.9, 0.8, 0.7], [0.9, 0.8, 0.7]], np.float32)
    saliency = [np.array(v, np.float32) for v in ([0.2, 0.8], [0.1, 0.9, 0.5], [0.5, 0.5])]
    found = monitor_scores(spans, scores, saliency, data)
    assert found["R1@0.5"] == found["R1@0.7"] == 100
    assert found["mIoU"] == pytest.approx(100 * (5 / 6 + 1) / 2, abs=1e-4)
    # Of the ten thresholds 0.5, 0.55, ..., 0.95 the first seven accept 5/6 at rank 1, the last three find rank 2.
    assert found["mAP"] == pytest.approx(100 * ((7 * 1 + 3 * 0.5) / 10 + 1) / 2, abs=1e-4)
    # The first query's only positive is ranked second, the second's positives come first.
    assert found["saliency mAP"] == pytest.approx(100 * (0.5 + 1) / 2)
    parts = ("R1@0.5", "R1@0.7", "mIoU", "saliency mAP")
    assert found["mean"] == pytest.approx(np.mean([found[k] for k in parts]))


def test_what_is_not_annotated_is_left_out_of_the_mean_too() -> None:
    spans, scores = np.zeros((2, 1, 2), np.float32), np.ones((2, 1), np.float32)
    saliency = [np.array([0.9, 0.1], np.float32)] * 2
    only_saliency = as_split([[], []], [5.0, 5.0], [[1, 0], [1, 0]], [True, True])
    assert monitor_scores(spans, scores, saliency, only_saliency) == {"saliency mAP": 100.0, "mean": 100.0}
    nothing = as_split([[], []], [5.0, 5.0], [[0, 0], [0, 0]], [False, False])
    assert monitor_scores(spans, scores, saliency, nothing) == {"mean": 0.0}


def test_recall_and_miou_are_those_of_the_evaluation(cache_path: Path) -> None:
    rng = np.random.default_rng(3)
    with open_cache(cache_path) as cache:
        data = Split.load(cache, cache.select("train"), device=CPU)
        count = len(data)
        truth = data.windows[:, 0].numpy() * data.durations[:, None]
        # Guesses around the truth, so that every threshold is met by some and missed by others.
        spans = np.sort(truth[:, None] + rng.normal(0, 3, (count, 4, 2)), -1).clip(0, data.durations[:, None, None])
        spans[..., 1] = np.maximum(spans[..., 1], spans[..., 0] + 0.1)
        scores = -np.sort(-rng.random((count, 4)), 1)
        scores[::3, 2:] = -1
        saliency: list[Any] = [rng.random(int(n)).astype(np.float32) for n in data.row_count]
        spans32, scores32 = spans.astype(np.float32), scores.astype(np.float32)
        found = monitor_scores(spans32, scores32, saliency, data)
        told = records(cache, data, spans32, scores32, saliency)
        reported = moment_metrics(told, annotations_from_cache(cache, "train"))
    assert 10 < reported["R1@0.5"] < 95
    for name in ("R1@0.5", "R1@0.7", "mIoU"):
        assert found[name] == pytest.approx(reported[name], abs=0.02), name
