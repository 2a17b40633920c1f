"""Batched assignment against scipy, cost by cost: ties, costs that are no numbers, padding, too few columns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from rdmf.train import matcher
from rdmf.train.assignment import ENUMERATED, assign, by_enumeration, by_shortest_paths

CASES = settings(max_examples=80, deadline=None)


def problem(seed: int, rows: int, columns: int, ties: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Costs (4, R, C) and which rows there are, valid ones first; the last sample has all."""
    generator = torch.Generator().manual_seed(seed)
    cost = torch.randn(4, rows, columns, generator=generator) * 10
    if ties:
        cost = cost.sign() + torch.randint(0, 3, cost.shape, generator=generator)
    counts = torch.randint(0, rows + 1, (4,), generator=generator)
    counts[-1] = rows
    valid = torch.arange(rows)[None] < counts[:, None]
    cost[~valid] = -1e9  # padding is tempting
    return cost, valid


def check(cost: torch.Tensor, valid: torch.Tensor, chosen: torch.Tensor) -> None:
    """Equal in cost to scipy, as many given as can be, no column twice."""
    assert chosen.shape == valid.shape
    assert chosen.dtype == torch.int64
    assert (chosen[~valid] == -1).all()
    for b in range(len(cost)):
        values = cost[b, valid[b]].double().numpy()
        taken = chosen[b, valid[b]].numpy()
        given_one = taken >= 0
        assert given_one.sum() == min(values.shape)
        assert len(set(taken[given_one])) == given_one.sum()
        best = values[linear_sum_assignment(values)].sum()
        found = values[np.flatnonzero(given_one), taken[given_one]].sum()
        assert found == pytest.approx(best, rel=1e-6, abs=1e-5)


@CASES
@given(st.integers(0, 9999), st.integers(1, 20), st.integers(1, 30), st.booleans())
def test_shortest_paths_are_exact(seed: int, rows: int, columns: int, ties: bool) -> None:
    cost, valid = problem(seed, rows, columns, ties)
    check(cost, valid, by_shortest_paths(cost, valid))


@CASES
@given(st.integers(0, 9999), st.integers(1, ENUMERATED), st.integers(0, 25), st.booleans())
def test_enumeration_is_exact(seed: int, rows: int, spare: int, ties: bool) -> None:
    cost, valid = problem(seed, rows, rows + spare, ties)
    check(cost, valid, by_enumeration(cost, valid))


@CASES
@given(st.integers(0, 9999), st.integers(1, 12), st.integers(1, 15))
def test_the_matcher_gives_one_cost_on_either_way(seed: int, windows: int, queries: int) -> None:
    """Costs with NaN and infinities, which count as very large or very small numbers."""
    cost, mask = problem(seed, windows, queries, ties=False)
    odd = torch.rand(cost.shape, generator=torch.Generator().manual_seed(seed))
    for low, value in ((0.97, float("nan")), (0.94, float("inf")), (0.91, float("-inf"))):
        cost[(odd > low) & (odd < low + 0.03)] = value
    finite = torch.nan_to_num(cost, nan=1e9, posinf=1e9, neginf=-1e9)
    check(finite, mask, matcher.match(cost.transpose(1, 2), mask))
    check(finite, mask, assign(finite, mask))


def test_by_hand_where_the_greedy_choice_is_wrong() -> None:
    cost = torch.tensor([[[1.0, 2.0, 9.0], [1.0, 9.0, 9.0], [2.0, 1.0, 4.0]]])
    everything = torch.ones(1, 3, dtype=torch.bool)
    for way in (assign, by_enumeration, by_shortest_paths):
        assert way(cost, everything).tolist() == [[1, 0, 2]]  # 2 + 1 + 4; each row's own least would clash
        assert way(cost, torch.tensor([[True, False, False]])).tolist() == [[0, -1, -1]]


def test_no_rows() -> None:
    assert assign(torch.zeros(3, 0, 4), torch.zeros(3, 0, dtype=torch.bool)).shape == (3, 0)


def test_it_is_the_same_every_time() -> None:
    cost, valid = problem(3, 7, 9, ties=True)
    first = by_shortest_paths(cost, valid)
    assert all(by_shortest_paths(cost, valid).equal(first) for _ in range(3))
