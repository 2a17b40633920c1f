"""Changes of a training batch that keep its annotation true: other speeds, clips that show nothing, noisy features."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from rdmf.model.batch import Batch, later
from rdmf.model.rows import Rows
from rdmf.train.losses import Targets

#: Knots of the random speed along a video.
KNOTS = 8


def augment(batch: Batch, targets: Targets, *, warp: float, noise: float, blank: float = 0.0) -> tuple[Batch, Targets]:
    """The batch at random speeds, with blank clips and noisy features (`data.warp`, `data.blank`, `data.noise`); itself
    where all are 0.

    Torch's own random state decides, so that (seed, epoch) repeats it.
    """
    if warp:
        slowness = torch.exp(warp * torch.randn(len(batch.text), KNOTS, device=batch.edges.device))
        batch, targets = change_speed(batch, targets, slowness)
    if blank:
        which = torch.rand(batch.video_mask.shape, device=batch.video_mask.device) < blank
        batch = dataclasses.replace(batch, video=blanked(batch, which))
    if noise:
        video = batch.video + noise * torch.randn_like(batch.video)
        batch = dataclasses.replace(batch, video=video * batch.video_mask[..., None])
    return batch, targets


def blanked(batch: Batch, which: Tensor) -> Tensor:
    """The features (B, L, d) with the mean of the video's clips in place of some, `which` (B, L) bool.

    A clip that tells nothing must be judged by those around it, as a turned back or a passing car will have it.
    """
    mean = batch.video.sum(1, keepdim=True) / batch.lengths[:, None, None].clamp_min(1)
    replaced = which.to(batch.video_mask.device) & batch.video_mask
    return torch.where(replaced[..., None], mean.to(batch.video.dtype), batch.video)


def change_speed(batch: Batch, targets: Targets, slowness: Tensor) -> tuple[Batch, Targets]:
    """Each video with stretches played slower or faster: as many clips as before, drawn from other places.

    Args:
        slowness: (B, k) positive, how much longer each part of the video becomes relative to the others; linear between
            knots. A constant changes nothing.
    """
    mask, count = batch.video_mask, batch.lengths[:, None]
    length = mask.shape[1]
    slowness = slowness.to(batch.edges)
    share = (torch.arange(length, device=mask.device)[None] + 0.5) / count  # of the video, at each clip
    knot = (share * (slowness.shape[1] - 1)).clamp(0, slowness.shape[1] - 1)
    low = knot.floor().long().clamp_max(slowness.shape[1] - 2)
    weight = slowness.gather(1, low) + (knot - low) * (slowness.gather(1, low + 1) - slowness.gather(1, low))
    upto = nn.functional.pad((weight * mask).cumsum(1), (1, 0))  # (B, L + 1) new time at each old clip's border
    upto = upto / upto[:, -1:]
    source = (torch.searchsorted(upto, share.contiguous(), right=True) - 1).clamp_min(0).minimum(count - 1)
    windows = torch.stack([_at(upto, w * count, count) for w in targets.windows.unbind(-1)], -1)
    stored = batch.stored[0]
    if isinstance(stored, Rows):
        video = later(stored.table, torch.where(mask, stored.index.gather(1, source), -1))
    else:
        video = stored.gather(1, source[..., None].expand(-1, -1, stored.shape[-1])) * mask[..., None]
    known = targets.saliency_mask.gather(1, source) & mask
    return dataclasses.replace(batch, video=video), dataclasses.replace(
        targets,
        windows=windows * targets.window_mask[..., None],
        saliency=targets.saliency.gather(1, source) * known,
        saliency_mask=known,
    )


def _at(table: Tensor, place: Tensor, count: Tensor) -> Tensor:
    """Linear interpolation of a table (B, L + 1) at fractional clips (B, W)."""
    low = place.floor().long().clamp_min(0).minimum(count - 1)
    below, above = table.gather(1, low), table.gather(1, low + 1)
    return below + (place - low).clamp(0, 1) * (above - below)
