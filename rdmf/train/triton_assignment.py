"""Minimum-cost assignment on a GPU: one launch, a program a sample, everything on chip.

The same shortest augmenting paths as `rdmf.train.assignment.by_shortest_paths`, which takes a few operations on the
device for each of its R (R + 1) / 2 steps: six thousand launches for the 24 windows that some queries of QVHighlights
have. Here a sample takes the steps that it needs, and none for rows that are not valid. Imports triton: load lazily.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _at(values, place, index):
    """The number at one index of a vector that lies across a program."""
    return tl.sum(tl.where(place == index, values, 0), 0)


@triton.jit(do_not_specialize=["rows", "columns"])
def assign_kernel(cost, valid, chosen, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """cost: (B, R, C) float64, R <= C; valid: (B, R) int8; chosen: (B, R) int64.

    `price`: dual prices; `owner` and `column`: who has what, -1 for nothing; `reach` and `before`: length of the
    shortest path to each column, and the row from which it gets there.
    """
    sample = tl.program_id(0).to(tl.int64)
    place, row_place = tl.arange(0, COLUMNS), tl.arange(0, ROWS)
    there = place < columns
    far = float("inf")
    price_column = tl.zeros((COLUMNS,), tl.float64)
    price_row = tl.zeros((ROWS,), tl.float64)
    owner = tl.full((COLUMNS,), -1, tl.int32)
    column = tl.full((ROWS,), -1, tl.int32)
    mine = cost + sample * rows * columns
    for row in range(rows):
        # What no row wants walks no step: both loops end before they begin.
        wanted = tl.load(valid + sample * rows + row).to(tl.int32)
        reach = tl.full((COLUMNS,), far, tl.float64)
        before = tl.full((COLUMNS,), -1, tl.int32)
        seen = place < 0
        length = tl.sum(tl.zeros((COLUMNS,), tl.float64), 0)
        at = row + 0 * wanted
        sink = -wanted
        while sink < 0:
            step = length + tl.load(mine + at * columns + place, mask=there, other=0.0)
            step = step - _at(price_row, row_place, at) - price_column
            shorter = there & (seen == 0) & (step < reach)
            reach = tl.where(shorter, step, reach)
            before = tl.where(shorter, at, before)
            open_ones = tl.where(there & (seen == 0), reach, far)
            length = tl.min(open_ones, 0)
            found = tl.min(tl.where(open_ones == length, place, COLUMNS), 0)
            seen = seen | (place == found)
            holder = _at(owner, place, found)
            sink = tl.where(holder < 0, found, -1)
            at = tl.where(holder < 0, at, holder)
        gain = tl.where(seen & there & (wanted > 0), length - reach, 0.0)
        price_column -= gain
        # Rows that hold a column which was seen: their own prices rise by what that column's falls.
        for i in range(row):
            held = _at(column, row_place, i)
            price_row = tl.where((row_place == i) & (held >= 0), price_row + _at(gain, place, held), price_row)
        price_row = tl.where((row_place == row) & (wanted > 0), price_row + length, price_row)
        walking = wanted
        while walking > 0:  # back along the path: each row on it takes the column by which it was left
            giver = _at(before, place, sink)
            left = _at(column, row_place, giver)
            owner = tl.where(place == sink, giver, owner)
            column = tl.where(row_place == giver, sink, column)
            walking = tl.where(giver == row, 0, walking)
            sink = left
    tl.store(chosen + sample * rows + row_place, column.to(tl.int64), mask=row_place < rows)


def by_shortest_paths(cost: Tensor, valid: Tensor) -> Tensor:
    """Columns (B, R) int64 of rows (B, R) bool at cost (B, R, C) float64, finite, R <= C; -1 where not valid."""
    batch, rows, columns = cost.shape
    chosen = torch.empty((batch, rows), dtype=torch.int64, device=cost.device)
    blocks = triton.next_power_of_2(rows), triton.next_power_of_2(columns)
    with torch.cuda.device_of(cost):
        assign_kernel[(batch,)](
            cost.contiguous(), valid.to(torch.int8).contiguous(), chosen, rows, columns, *blocks, num_warps=1
        )
    return chosen
