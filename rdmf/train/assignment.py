"""Minimum-cost assignment of a whole batch at once, exact, in tensor code alone.

No value is asked of the device and no shape depends on one, so nothing waits, and the whole can be captured in a graph.
Rows are to be given columns of their own; here rows are windows and columns moment queries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rdmf.model.kernels import launched_for

#: Up to so many rows every combination of their cheapest columns is tried; beyond it there are too many.
ENUMERATED = 5


def assign(cost: Tensor, valid: Tensor) -> Tensor:
    """The columns that cost least in sum, each given to one row at most.

    Args:
        cost: (B, R, C), finite.
        valid: (B, R) bool, rows that want a column; the others get none, whatever they cost.

    Returns:
        (B, R) int64; -1 for rows that are not valid and, where more rows are valid than there are columns, for those
        that are best left without.
    """
    rows, columns = cost.shape[1:]
    if rows == 0:
        return torch.zeros_like(valid, dtype=torch.int64)
    if rows == 1:
        return torch.where(valid, cost.argmin(2), -1)
    if launched_for(cost):
        return by_launch(cost, valid)
    if rows <= min(ENUMERATED, columns):
        return by_enumeration(cost, valid)
    return by_shortest_paths(cost, valid)


def by_enumeration(cost: Tensor, valid: Tensor) -> Tensor:
    """`assign` by trying every combination of each row's R cheapest columns; R must not exceed C.

    Nothing better lies outside: a row whose column is not among its R cheapest can take the one of them that the R - 1
    others leave free, and pays no more.
    """
    batch, rows, _ = cost.shape
    values, columns = cost.topk(rows, 2, largest=False)  # (B, R, R): row, rank
    # Less the row's least: the sums keep their digits, and the place of a row without a wish costs nothing.
    excess = (values - values[..., :1]) * valid[..., None]

    def along(part: Tensor, *dims: int) -> Tensor:
        """(B, R, ...) with its ranks on dimensions 1 + dims of a table of all combinations."""
        return part.view(batch, *(rows if d in dims else 1 for d in range(rows)))

    total = along(excess[:, 0], 0)
    for row in range(1, rows):
        total = total + along(excess[:, row], row)
    never, nothing = cost.new_full((), torch.inf), cost.new_zeros(())
    for a in range(rows):
        for b in range(a + 1, rows):
            same = columns[:, a, :, None] == columns[:, b, None, :]
            both = (valid[:, a] & valid[:, b])[:, None, None]
            total = total + along(torch.where(same & both, never, nothing), a, b)
    best = total.flatten(1).argmin(1)
    ranks = torch.stack([best // rows ** (rows - 1 - row) % rows for row in range(rows)], 1)  # (B, R)
    return torch.where(valid, columns.gather(2, ranks[..., None])[..., 0], -1)


def by_launch(cost: Tensor, valid: Tensor) -> Tensor:
    """`assign` for any number of rows by one kernel on a GPU."""
    from rdmf.train import triton_assignment

    real = cost.shape[2]
    column = triton_assignment.by_shortest_paths(with_nothing(cost.double()), valid)
    return torch.where(column < real, column, -1)


def with_nothing(cost: Tensor) -> Tensor:
    """Costs (B, R, C) with a column for every row that finds none: places to be left without, dearer than any exchange
    among the real columns can save."""
    rows, real = cost.shape[1:]
    if rows <= real:
        return cost
    low, high = (f(cost.flatten(1), 1).view(-1, 1, 1) for f in (torch.amin, torch.amax))
    nothing = high + (high - low + 1) * (rows + 1)
    return torch.cat((cost, nothing.expand(-1, rows, rows - real)), 2)


def by_shortest_paths(cost: Tensor, valid: Tensor) -> Tensor:
    """`assign` for any number of rows: one shortest augmenting path after another (Jonker and Volgenant), all samples
    in step. R (R + 1) / 2 steps of a few operations on (B, C); a sample that is done earlier waits.

    Dual prices keep every reduced cost from being negative, so that Dijkstra's rule finds the path; sums are double.
    """
    rows, real = cost.shape[1:]
    cost = with_nothing(cost.double())
    batch, _, columns = cost.shape
    price_row, price_column = cost.new_zeros(batch, rows), cost.new_zeros(batch, columns)
    owner = torch.full((batch, columns), -1, device=cost.device)
    column = torch.full((batch, rows), -1, device=cost.device)
    far, place = cost.new_full((), torch.inf), torch.arange(columns, device=cost.device)[None]
    for row in range(rows):
        wanted = valid[:, row, None]  # (B, 1)
        looking, length = wanted, cost.new_zeros(batch, 1)
        at, sink = (torch.full((batch, 1), start, device=cost.device) for start in (row, 0))
        reach = far.expand(batch, columns)  # length of the shortest path to each column
        before = at.expand(-1, columns)  # the row from which it gets there
        seen = torch.zeros_like(owner, dtype=torch.bool)
        for _ in range(row + 1):  # at most `row` columns are taken
            step = cost.gather(1, at[..., None].expand(-1, -1, columns))[:, 0] - price_row.gather(1, at) - price_column
            shorter = looking & ~seen & (length + step < reach)
            reach, before = torch.where(shorter, length + step, reach), torch.where(shorter, at, before)
            nearest, found = torch.where(seen, far, reach).min(1, keepdim=True)
            seen = seen | (looking & (place == found))
            length, holder = torch.where(looking, nearest, length), owner.gather(1, found)
            sink = torch.where(looking & (holder < 0), found, sink)
            looking = looking & (holder >= 0)
            at = torch.where(looking, holder, at)
        gain = torch.where(seen, length - reach, 0.0)
        price_column = price_column - gain
        price_row = price_row.scatter_add(1, owner.clamp_min(0), torch.where(owner >= 0, gain, 0.0))
        price_row[:, row] += length[:, 0]
        walking = wanted
        for _ in range(row + 1):  # back along the path, each row on it takes the column by which it was left
            giver = before.gather(1, sink)
            left = column.gather(1, giver)
            owner = torch.where(walking & (place == sink), giver, owner)
            column = torch.where(walking, column.scatter(1, giver, sink), column)
            walking = walking & (giver != row)
            sink = torch.where(walking, left, sink)
    return torch.where(column < real, column, -1)
