"""1-D spans as (start, end) or (centre, width), and their overlaps."""

from __future__ import annotations

import torch
from torch import Tensor

from rdmf.model import native
from rdmf.model.kernels import compiled_for, launched_for


def to_edges(spans: Tensor) -> Tensor:
    """(..., 2) of (centre, width) to (start, end)."""
    centre, width = spans.unbind(-1)
    return torch.stack((centre - width / 2, centre + width / 2), -1)


def to_centre(spans: Tensor) -> Tensor:
    """(..., 2) of (start, end) to (centre, width)."""
    start, end = spans.unbind(-1)
    return torch.stack(((start + end) / 2, end - start), -1)


def iou_of(a: Tensor, b: Tensor) -> Tensor:
    """IoU in [0, 1] of spans given as (start, end); a and b (..., 2) broadcast against each other; 0 for two empty
    spans at one place."""
    inter, union = _shared(a, b)
    return inter / union.clamp_min(torch.finfo(a.dtype).eps)


def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of spans given as (start, end); a and b (..., 2) broadcast against each other.

    IoU is in [0, 1], generalised IoU in (-1, 1]; both are 0 for two empty spans at one place.
    """
    inter, union = _shared(a, b)
    hull = torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])
    tiny = torch.finfo(a.dtype).eps
    iou = inter / union.clamp_min(tiny)
    return iou, iou - (hull - union).clamp_min(0) / hull.clamp_min(tiny)


def _shared(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths of the intersection and of the union."""
    left, right = torch.maximum(a[..., 0], b[..., 0]), torch.minimum(a[..., 1], b[..., 1])
    inter = (right - left).clamp_min(0)
    return inter, (a[..., 1] - a[..., 0]).clamp_min(0) + (b[..., 1] - b[..., 0]).clamp_min(0) - inter


def inverse_sigmoid(x: Tensor, eps: float = 1e-4) -> Tensor:
    """Logit of x clamped to [eps, 1 - eps]."""
    x = x.clamp(eps, 1 - eps)
    return torch.log(x / (1 - x))


def suppress(spans: Tensor, scores: Tensor, limit: float) -> Tensor:
    """Greedy non-maximum suppression, batched.

    Args:
        spans: (B, Q, 2) as (start, end).
        scores: (B, Q).
        limit: a span that overlaps a better, kept one by more than this IoU is dropped.

    Returns:
        (B, Q) bool, True where kept.
    """
    order = torch.argsort(scores, dim=1, descending=True, stable=True)
    if spans.dtype == torch.float32 and compiled_for(spans):
        return native.suppress(spans, order, limit)
    ranked = spans.gather(1, order[..., None].expand(-1, -1, 2))
    if spans.dtype == torch.float32 and launched_for(spans):
        from rdmf.model import triton_suppress

        return torch.zeros_like(scores, dtype=torch.bool).scatter(1, order, triton_suppress.keep(ranked, limit))
    over = iou_of(ranked[:, :, None], ranked[:, None]) > limit  # (B, Q, Q)
    keep = torch.ones_like(scores, dtype=torch.bool)
    for i in range(spans.shape[1] - 1):
        keep[:, i + 1 :] &= ~(over[:, i, i + 1 :] & keep[:, i, None])
    return torch.zeros_like(keep).scatter(1, order, keep)
