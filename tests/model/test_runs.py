"""Reading runs off a pattern, against trying every interval."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.model.runs import best_runs

CASES = settings(max_examples=60, deadline=None)
scores = st.lists(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=12), min_size=1, max_size=4)


def padded(rows: list[list[float]], fill: float = 1e4) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, L) scores with a tempting value in padding, and the mask."""
    length = max(map(len, rows))
    values = torch.tensor([row + [fill] * (length - len(row)) for row in rows])
    return values, torch.arange(length)[None] < torch.tensor([len(row) for row in rows])[:, None]


def best_sum(row: list[float], used: list[bool]) -> float | None:
    """Largest sum of a non-empty interval of unused clips, by trying them all."""
    best = None
    for i in range(len(row)):
        total = 0.0
        for j in range(i, len(row)):
            if used[j]:
                break
            total += row[j]
            best = total if best is None else max(best, total)
    return best


@CASES
@given(scores, st.integers(1, 6))
def test_every_run_is_the_best_that_is_left(rows: list[list[float]], k: int) -> None:
    values, mask = padded(rows)
    first, last, total = best_runs(values, mask, k)
    assert first.shape == last.shape == total.shape == (len(rows), k)
    for b, row in enumerate(rows):
        used = [False] * len(row)
        for i, j, found in zip(first[b].tolist(), last[b].tolist(), total[b].tolist()):
            expected = best_sum(row, used)
            if expected is None:
                assert (i, j, found) == (0, 0, float("-inf"))
                continue
            assert 0 <= i <= j < len(row)
            assert not any(used[i : j + 1])
            assert found == pytest.approx(expected, abs=1e-4)
            assert sum(row[i : j + 1]) == pytest.approx(expected, abs=1e-4)
            used[i : j + 1] = [True] * (j + 1 - i)


@CASES
@given(scores, st.integers(1, 5))
def test_a_batch_is_its_rows(rows: list[list[float]], k: int) -> None:
    together = best_runs(*padded(rows), k)
    for b, row in enumerate(rows):
        alone = best_runs(*padded([row]), k)
        for big, small in zip(together, alone):
            assert torch.equal(big[b], small[0])


def test_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0, -4.0, 3.0, -1.0, 2.0, -9.0, 1.0]])
    first, last, total = best_runs(values, torch.ones(1, 8, dtype=torch.bool), 4)
    assert first[0, :3].tolist() == [3, 0, 7]
    assert last[0, :3].tolist() == [5, 1, 7]
    assert total[0].tolist() == [4.0, 3.0, 1.0, -4.0]  # then the best of what is left, negative as it is


def test_all_negative_gives_single_best_clips() -> None:
    first, last, total = best_runs(torch.tensor([[-3.0, -1.0, -2.0]]), torch.ones(1, 3, dtype=torch.bool), 3)
    assert first.tolist() == last.tolist() == [[1, 2, 0]]
    assert total.tolist() == [[-1.0, -2.0, -3.0]]


def test_more_runs_than_clips() -> None:
    first, last, total = best_runs(torch.tensor([[2.0]]), torch.ones(1, 1, dtype=torch.bool), 3)
    assert first.tolist() == last.tolist() == [[0, 0, 0]]
    assert total.tolist() == [[2.0, float("-inf"), float("-inf")]]


def test_a_long_video_is_read_exactly() -> None:
    """The wall between runs must not swallow small differences by its size."""
    torch.manual_seed(0)
    values = torch.randn(1, 5000)
    values[0, 1200:1260] += 3
    values[0, 4000:4030] += 3
    mask = torch.ones(1, 5000, dtype=torch.bool)
    level = values - 1.5
    first, last, total = best_runs(level, mask, 5)
    for i, j, found in zip(first[0].tolist(), last[0].tolist(), total[0].tolist()):
        assert found == pytest.approx(float(level[0, i : j + 1].double().sum()), abs=1e-4)
    starts = sorted(first[0, :2].tolist())
    assert abs(starts[0] - 1200) < 10
    assert abs(starts[1] - 4000) < 10
