"""The matcher, against scipy on every row."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from rdmf.model.decoder import Moments
from rdmf.model.spans import overlap, to_centre, to_edges
from rdmf.sections import LossConfig
from rdmf.train.matcher import match, match_cost

CASES = settings(max_examples=60, deadline=None)


def window_masks(counts: list[int], width: int) -> torch.Tensor:
    return torch.arange(width)[None] < torch.tensor(counts)[:, None]


@CASES
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.integers(6, 12), st.integers(0, 2), st.integers(0, 999))
def test_total_cost_is_the_least_there_is(counts: list[int], queries: int, spare: int, seed: int) -> None:
    torch.manual_seed(seed)
    mask = window_masks(counts, max(counts) + spare)
    cost = torch.randn(len(counts), queries, mask.shape[1])
    cost[~mask[:, None].expand_as(cost)] = -1e9  # padding is tempting
    chosen = match(cost, mask)
    assert chosen.shape == mask.shape
    assert (chosen[~mask] == -1).all()
    for b, n in enumerate(counts):
        taken = chosen[b, :n].tolist()
        assert len(set(taken)) == n
        assert all(0 <= q < queries for q in taken)
        values = cost[b, :, :n].double().numpy()
        rows, columns = linear_sum_assignment(values)
        found = sum(values[q, w] for w, q in enumerate(taken))
        assert abs(found - values[rows, columns].sum()) < 1e-5


def test_more_windows_than_queries_leaves_some_without() -> None:
    torch.manual_seed(0)
    chosen = match(torch.randn(2, 3, 5), window_masks([5, 2], 5))
    taken = [q for q in chosen[0].tolist() if q >= 0]
    assert sorted(taken) == [0, 1, 2]
    assert len(set(chosen[1, :2].tolist())) == 2


def test_costs_that_are_not_numbers_do_not_stop_it() -> None:
    cost = torch.full((1, 4, 2), float("nan"))
    cost[0, 2, 0], cost[0, 1, 1] = 0.0, 0.0
    assert match(cost, window_masks([2], 2)).tolist() == [[2, 1]]


def test_no_windows_at_all() -> None:
    assert match(torch.zeros(3, 4, 0), torch.zeros(3, 0, dtype=torch.bool)).shape == (3, 0)
    assert match(torch.zeros(3, 4, 2), torch.zeros(3, 2, dtype=torch.bool)).tolist() == [[-1, -1]] * 3


def test_cost_by_hand() -> None:
    torch.manual_seed(1)
    config = LossConfig(cost_span=3.0, cost_giou=2.0, cost_label=5.0)
    moments = Moments(torch.rand(2, 4, 2) * 0.5 + 0.2, torch.randn(2, 4), torch.randn(2, 4))
    windows = torch.tensor([[[0.1, 0.3], [0.5, 0.9]], [[0.0, 1.0], [0.2, 0.4]]])
    cost = match_cost(moments, windows, config)
    assert cost.shape == (2, 4, 2)
    for b in range(2):
        for q in range(4):
            for w in range(2):
                span, window = moments.spans[b, q], windows[b, w]
                expected = (
                    3 * (span - to_centre(window)).abs().sum()
                    - 2 * overlap(to_edges(span), window)[1]
                    - 5 * torch.sigmoid(moments.labels[b, q])
                )
                torch.testing.assert_close(cost[b, q, w], expected)
