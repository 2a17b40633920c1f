"""Assigning moment queries to ground-truth windows (paper 3.5, DETR's bipartite matching)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rdmf.config import LossConfig
from rdmf.model.decoder import Moments
from rdmf.model.spans import overlap, to_centre, to_edges


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
    """Minimum-cost assignment of every window to a query of its own.

    Args:
        cost: (B, Q, W).
        window_mask: (B, W) bool, True where there is a window; valid ones come first.

    Returns:
        (B, W) int64, the query of each window; -1 where there is no window, and for the costliest windows where there
        are more windows than queries. For each batch element the entries other than -1 are distinct.
    """
    count = window_mask.sum(1)
    # One window is an argmin: no trip to the host for the most common case.
    best = torch.where(window_mask, cost.argmin(1), -1)
    if int(count.max()) <= 1:
        return best
    several = torch.nonzero(count > 1)[:, 0]
    host = cost[several].float().cpu().numpy()
    assigned = best.cpu().numpy()
    assigned[several.cpu().numpy()] = -1
    for row, values, n in zip(several.tolist(), host, count[several].tolist()):
        queries, windows = linear_sum_assignment(np.nan_to_num(values[:, :n], nan=1e9, posinf=1e9, neginf=-1e9))
        assigned[row, windows] = queries
    return torch.from_numpy(assigned).to(cost.device)
