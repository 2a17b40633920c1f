"""Reading moments off a pattern: the best maximum-sum runs of a score along time."""

from __future__ import annotations

import torch
from torch import Tensor


def best_runs(score: Tensor, mask: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k best disjoint runs of clips, greedily: the run of largest sum, then the largest that does not touch it, ...

    Each run is found by one cumulative sum and one running minimum (Kadane's recurrence as two scans), so the cost is
    linear in L and the same for every row of the batch.

    Args:
        score: (B, L), e.g. saliency logits less a level; what is worth including is positive.
        mask: (B, L) bool, True where valid.
        k: number of runs.

    Returns:
        first (B, k), last (B, k): indices of the first and the last clip of each run, inclusive.
        total (B, k): its sum. When nothing is left, the run is the best free clip, or repeats clip 0 with total -inf.
    """
    length = score.shape[1]
    # A wall that no sum can climb separates used and padded clips; float64 keeps the cumulative sum exact beside it.
    free = mask.clone()
    values = score.detach().double()
    wall = -(values.abs() * mask).sum(1, keepdim=True) - 1.0
    place = torch.arange(length, device=score.device)
    firsts, lasts, totals = [], [], []
    for _ in range(k):
        walled = torch.where(free, values, wall)
        upto = walled.cumsum(1)
        before = torch.nn.functional.pad(upto, (1, 0))[:, :-1]  # sum of the clips before i
        lowest, where = before.cummin(1)
        last = (upto - lowest).argmax(1, keepdim=True)
        first = where.gather(1, last)
        total = (upto - lowest).gather(1, last)
        possible = free.any(1, keepdim=True)
        total = torch.where(possible, total, torch.full_like(total, -torch.inf))
        first, last = torch.where(possible, first, 0), torch.where(possible, last, 0)
        free = free & ~((place >= first) & (place <= last))
        firsts.append(first)
        lasts.append(last)
        totals.append(total)
    return torch.cat(firsts, 1), torch.cat(lasts, 1), torch.cat(totals, 1).to(score.dtype)
