"""Assigning moment queries to ground-truth windows (paper 3.5, DETR's bipartite matching)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rdmf.model.decoder import Moments
from rdmf.model.spans import overlap, to_centre, to_edges
from rdmf.sections import LossConfig
from rdmf.train.assignment import assign


@torch.no_grad()
def match_cost(moments: Moments, windows: Tensor, config: LossConfig) -> Tensor:
    """Cost of giving query q the window w: L1 on (centre, width), less generalised IoU, less class probability.

    Args:
        moments: B x Q predictions.
        windows: (B, W, 2) ground truth as (start, end) shares of the duration, padded.

    Returns:
        (B, Q, W).
    """
    spans = moments.spans.float()
    l1 = (spans[:, :, None] - to_centre(windows)[:, None]).abs().sum(-1)
    giou = overlap(to_edges(spans)[:, :, None], windows[:, None])[1]
    label = torch.sigmoid(moments.labels.float())[..., None]
    return config.cost_span * l1 - config.cost_giou * giou - config.cost_label * label


@torch.no_grad()
def match(cost: Tensor, window_mask: Tensor) -> Tensor:
    """Minimum-cost assignment of every window to a query of its own, exact.

    On the CPU several windows go to scipy, which is faster there (0.2 against 0.4 to 40 ms for 64 samples); elsewhere
    everything stays on the device, which is never waited for.

    Args:
        cost: (B, Q, W). What is not a number, or infinite, counts as 1e9, or -1e9.
        window_mask: (B, W) bool, True where there is a window; valid ones come first.

    Returns:
        (B, W) int64, the query of each window; -1 where there is no window, and for the costliest windows where there
        are more windows than queries. For each batch element the entries other than -1 are distinct.
    """
    cost = torch.nan_to_num(cost.float(), nan=1e9, posinf=1e9, neginf=-1e9).transpose(1, 2)
    if cost.device.type == "cpu" and cost.shape[1] > 1 and not torch.compiler.is_compiling():
        return match_on_host(cost, window_mask)
    return assign(cost, window_mask)


def match_on_host(cost: Tensor, window_mask: Tensor) -> Tensor:
    """`rdmf.train.assignment.assign` by scipy, sample after sample; cost (B, W, Q) and mask (B, W) on the CPU."""
    from scipy.optimize import linear_sum_assignment  # half a second to load, for samples of several windows

    # One window is an argmin, and most samples have no more.
    assigned = torch.where(window_mask, cost.argmin(2), -1).numpy()
    counts, values = window_mask.sum(1).numpy(), cost.numpy()
    for row in np.flatnonzero(counts > 1).tolist():
        windows, queries = linear_sum_assignment(values[row, : counts[row]])
        assigned[row] = -1
        assigned[row, windows] = queries
    return torch.from_numpy(assigned)
