"""Giving windows to moment queries: as training does it, in tensor code alone, and by scipy sample after sample."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rdmf.train.assignment import assign
from rdmf.train.matcher import match
from rdmf_pipelines.benching.bench import Bench, refuse_difference

GROUP = "matcher"
BATCH = 32
QUERIES, TARGETS = (10, 100), (1, 2, 3, 5, 10, 20)
SCIPY = "scipy, sample by sample"
WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "as in training": match,
    "tensor code alone": lambda cost, mask: assign(cost.transpose(1, 2), mask),
}
ABOUT = (
    f"The cheapest assignment for a batch of {BATCH} samples, each with up to so many targets (one at least), exactly. "
    "*As in training* takes scipy on the CPU where a sample has several targets, tensor code elsewhere. In brackets: "
    "how many times as fast as scipy sample by sample."
)


def by_scipy(cost: Tensor, mask: Tensor) -> Tensor:
    """What published loops do: the costs to the host, then one call a sample.

    Args:
        cost: (B, Q, W). mask: (B, W) bool, valid windows first.

    Returns:
        (B, W) int64, -1 where a window has no query.
    """
    values, counts = cost.cpu().numpy(), mask.sum(1).tolist()
    found = np.full(mask.shape, -1, dtype=np.int64)
    for row, count in enumerate(counts):
        queries, windows = linear_sum_assignment(values[row, :, :count])
        found[row, windows] = queries
    return torch.from_numpy(found).to(cost.device)


def measure(bench: Bench) -> None:
    """A line a number of targets and of moment queries."""
    bench.sheet.about[GROUP] = ABOUT
    for queries in QUERIES[:1] if bench.quick else QUERIES:
        for targets in (2, 7) if bench.quick else TARGETS:
            generator = torch.Generator().manual_seed(targets)
            cost = torch.randn(BATCH, queries, targets, generator=generator).to(bench.device)
            counts = torch.randint(1, targets + 1, (BATCH, 1), generator=generator)
            mask = (torch.arange(targets)[None] < counts).to(bench.device)
            case = f"{targets} target{'s' * (targets > 1)}, {queries} moment queries"
            ways = {SCIPY: by_scipy, **WAYS}
            right = sums(cost, by_scipy(cost, mask))
            for name, way in ways.items():
                refuse_difference(name, sums(cost, way(cost, mask)), right, where=f"matcher, {case}", tolerance=1e-5)
            timed = {name: partial(way, cost, mask) for name, way in ways.items()}
            bench.compare(GROUP, case, timed, against=SCIPY, share=0.5)


def sums(cost: Tensor, assigned: Tensor) -> Tensor:
    """(B, 2): what an assignment costs, and how many windows it serves: among equally cheap ones any will do."""
    chosen = cost.double().gather(1, assigned.clamp_min(0)[:, None])[:, 0]  # (B, W)
    served = assigned >= 0
    return torch.stack((torch.where(served, chosen, 0.0).sum(1), served.sum(1).double()), 1)
