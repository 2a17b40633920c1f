"""Spans, their overlaps and their suppression."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.model import kernels
from rdmf.model.spans import inverse_sigmoid, overlap, suppress, to_centre, to_edges

CASES = settings(max_examples=60, deadline=None)
places = st.floats(0, 1, width=32)
edges = st.tuples(places, places).map(lambda p: (min(p), max(p)))


@CASES
@given(edges, edges)
def test_overlap_is_lengths_of_sets(a: tuple[float, float], b: tuple[float, float]) -> None:
    inter = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - inter
    hull = max(a[1], b[1]) - min(a[0], b[0])
    iou, giou = overlap(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64))
    assert 0 <= float(iou) <= 1
    assert -1 <= float(giou) <= float(iou)
    if union > 1e-9:
        assert float(iou) == pytest.approx(inter / union, abs=1e-9)
        assert float(giou) == pytest.approx(inter / union - (hull - union) / hull, abs=1e-9)


def test_overlap_by_hand() -> None:
    a = torch.tensor([0.0, 0.4])
    b = torch.tensor([[0.0, 0.4], [0.2, 0.6], [0.4, 0.8], [0.6, 1.0], [0.1, 0.2]])
    iou, giou = overlap(a, b)
    torch.testing.assert_close(iou, torch.tensor([1, 1 / 3, 0, 0, 0.25]))
    torch.testing.assert_close(giou, torch.tensor([1, 1 / 3, 0, -0.2, 0.25]))


def test_overlap_broadcasts_and_survives_empty_spans() -> None:
    a = torch.rand(2, 5, 1, 2, requires_grad=True)
    b = torch.rand(2, 1, 3, 2)
    iou, giou = overlap(a, b)
    assert iou.shape == giou.shape == (2, 5, 3)
    point = torch.tensor([0.5, 0.5], requires_grad=True)
    values = overlap(point, point)
    assert [float(v.detach()) for v in values] == [0.0, 0.0]
    (values[0] + values[1]).backward()
    assert point.grad is not None
    assert torch.isfinite(point.grad).all()


@CASES
@given(st.lists(edges, min_size=1, max_size=5))
def test_round_trip_of_the_two_forms(spans: list[tuple[float, float]]) -> None:
    values = torch.tensor(spans, dtype=torch.float64)
    torch.testing.assert_close(to_edges(to_centre(values)), values, rtol=0, atol=1e-12)
    torch.testing.assert_close(to_centre(to_edges(values)), values, rtol=0, atol=1e-12)


@CASES
@given(st.floats(1e-3, 1 - 1e-3))
def test_inverse_sigmoid(x: float) -> None:
    value = torch.tensor(x, dtype=torch.float64)
    assert float(torch.sigmoid(inverse_sigmoid(value))) == pytest.approx(x, abs=1e-9)


def test_inverse_sigmoid_is_finite_at_the_ends() -> None:
    assert torch.isfinite(inverse_sigmoid(torch.tensor([0.0, 1.0]))).all()


def naive(spans: list[tuple[float, float]], scores: list[float], limit: float) -> list[bool]:
    keep = [False] * len(spans)
    for i in sorted(range(len(spans)), key=lambda i: -scores[i]):
        overlaps = [
            float(overlap(torch.tensor(spans[i]), torch.tensor(spans[j]))[0]) for j in range(len(spans)) if keep[j]
        ]
        keep[i] = all(value <= limit for value in overlaps)
    return keep


@CASES
@given(
    st.lists(st.lists(st.tuples(edges, places), min_size=6, max_size=6), min_size=1, max_size=3),
    st.sampled_from([0.0, 0.3, 0.7, 1.0]),
)
def test_suppression_is_the_naive_loop(batch: list[list[tuple[tuple[float, float], float]]], limit: float) -> None:
    spans = torch.tensor([[s for s, _ in row] for row in batch])
    scores = torch.tensor([[p for _, p in row] for row in batch])
    ways = [suppress(spans, scores, limit)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(kernels.SWITCH, "plain")
        ways.append(suppress(spans, scores, limit))
    for b, row in enumerate(batch):
        right = naive([s for s, _ in row], [p for _, p in row], limit)
        assert [kept[b].tolist() for kept in ways] == [right, right]
