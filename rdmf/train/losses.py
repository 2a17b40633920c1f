"""Every loss of the paper (3.6, Eq. 14-17), batched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rdmf.config import Config
from rdmf.model.decoder import Moments
from rdmf.model.rdmf import Output
from rdmf.model.segments import REACH, Segments
from rdmf.model.spans import overlap, to_centre, to_edges
from rdmf.sections import LossConfig
from rdmf.train.matcher import match, match_cost


@dataclass(frozen=True)
class Targets:
    """Ground truth of a batch.

    Attributes:
        windows: (B, W, 2) (start, end) as shares of the duration, padded with zeros.
        window_mask: (B, W) bool, valid windows first.
        saliency: (B, L) in [0, 1].
        saliency_mask: (B, L) bool, True where a clip's saliency is known.
        rated: (B,) bool, True where annotators scored clips, so that the saliency does not come from the windows; None
            where nobody asked.
    """

    windows: Tensor
    window_mask: Tensor
    saliency: Tensor
    saliency_mask: Tensor
    rated: Tensor | None = None


def saliency_loss(logits: Tensor, targets: Targets) -> Tensor:
    """Binary cross-entropy (Eq. 14), averaged over each query's valid clips, then over the queries that have any.

    Averaging by query first gives a short video the same say as a long one.
    """
    mask = targets.saliency_mask.to(logits.dtype)
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets.saliency.to(logits.dtype), reduction="none")
    per_query = (loss * mask).sum(1) / mask.sum(1).clamp_min(1)
    has = (mask.sum(1) > 0).to(logits.dtype)
    return (per_query * has).sum() / has.sum().clamp_min(1)


def contrast_loss(logits: Tensor, targets: Targets) -> Tensor:
    """Clips inside the moment against all clips: -log of the softmax mass that falls on the positives, by query."""
    known = targets.saliency_mask
    positive = known & (targets.saliency > 0.5)
    usable = positive.any(1) & (known & ~positive).any(1)
    low = torch.finfo(logits.dtype).min
    every = torch.logsumexp(logits.masked_fill(~known, low), 1)
    inside = torch.logsumexp(logits.masked_fill(~positive, low), 1)
    loss = torch.where(usable, every - inside, torch.zeros_like(every))
    return loss.sum() / usable.sum().clamp_min(1)


def segment_loss(segments: Segments, targets: Targets) -> Tensor:
    """Negative log-probability of the moment among all segments of the pattern; the mean over a query's windows, then
    over the queries that have any. A distribution can do no better on several windows than share itself among them."""
    chosen = segments.log_probability(*segments.locate(targets.windows)) * targets.window_mask
    per_query = -chosen.sum(1) / targets.window_mask.sum(1).clamp_min(1)
    return (per_query.sum() / targets.window_mask.any(1).sum().clamp_min(1)).float()


def expected_loss(segments: Segments, targets: Targets) -> Tensor:
    """1 - the expected IoU of a segment of the pattern with the nearest window; the mean over queries with windows."""
    found = segments.expected_iou(segments.likely(), targets.windows, targets.window_mask)
    has = targets.window_mask.any(1)
    return ((1 - found) * has).sum() / has.sum().clamp_min(1)


def border_loss(segments: Segments, targets: Targets) -> Tensor:
    """L1 error of where each window starts within its first and ends within its last clip, in widths of the clip.

    Windows that do not hold the clip's centre (short ones, between two centres) count up to the centre. The mean over a
    query's windows, then over the queries that have any.
    """
    first, last = segments.locate(targets.windows)
    width = (segments.edges[:, 1:] - segments.edges[:, :-1]).clamp_min(1e-9)
    wanted = targets.windows.float()
    error = torch.zeros_like(wanted[..., 0])
    for place, at, edge, true in (
        (segments.starts, first, segments.edges[:, :-1], wanted[..., 0]),
        (segments.ends, last, segments.edges[:, 1:], wanted[..., 1]),
    ):
        border, size = edge.gather(1, at), width.gather(1, at)
        reachable = border + ((true - border) / size).clamp(-REACH, REACH) * size
        error = error + (place.gather(1, at) - reachable).abs() / size
    per_query = (error * targets.window_mask).sum(1) / targets.window_mask.sum(1).clamp_min(1)
    return per_query.sum() / targets.window_mask.any(1).sum().clamp_min(1)


def layer_losses(layers: Sequence[Moments], targets: Targets, config: LossConfig) -> dict[str, Tensor]:
    """Span, generalised IoU, label and IoU losses (Eq. 15, 16), (N,) each: one number for each of N decoder layers.

    All layers are one batch of N * B samples, matched and compared at once. Queries without windows contribute nothing
    (no window annotation is not the same as no moment).
    """
    count = len(layers)
    moments = Moments(*(torch.cat([getattr(m, name) for m in layers]) for name in ("spans", "labels", "ious")))
    windows, valid = targets.windows.repeat(count, 1, 1), targets.window_mask.repeat(count, 1)

    def each(values: Tensor) -> Tensor:
        """Sums over the samples of each layer, (N * B, ...) to (N,)."""
        return values.view(count, -1).sum(1)

    chosen = match(match_cost(moments, windows, config), valid)  # (N * B, W)
    given = chosen >= 0  # all valid ones, but where there are more windows than moment queries
    matched = each(given).clamp_min(1)
    picked = moments.spans.gather(1, chosen.clamp_min(0)[..., None].expand(-1, -1, 2))  # (N * B, W, 2)
    l1 = nn.functional.smooth_l1_loss(picked, to_centre(windows), beta=config.smooth, reduction="none").sum(-1)
    giou = 1 - overlap(to_edges(picked), windows)[1]
    annotated = valid.any(1)[:, None].expand_as(moments.labels)  # (N * B, Q)
    hit = (chosen[..., None] == torch.arange(moments.labels.shape[1], device=chosen.device)).any(1)
    label = nn.functional.binary_cross_entropy_with_logits(
        moments.labels, hit.to(moments.labels.dtype), reduction="none"
    )
    weight = torch.where(hit, 1.0, config.background) * annotated
    with torch.no_grad():
        every = overlap(to_edges(moments.spans)[:, :, None], windows[:, None])[0]  # (N * B, Q, W)
        reached = every.masked_fill(~valid[:, None], 0).amax(-1)  # best IoU with any window
    learns = (annotated if config.iou_queries == "all" else hit).to(label.dtype)
    # Mean absolute error is Eq. 16; matched queries weigh as much as all others together: most of those overlap none.
    level = (each(learns) / each(hit).clamp_min(1)).repeat_interleave(len(hit) // count)[:, None]
    weight_iou = learns * torch.where(hit, level, torch.ones_like(level))
    iou = (torch.sigmoid(moments.ious) - reached).abs()
    return {
        "span": each(l1 * given) / matched,
        "giou": each(giou * given) / matched,
        "label": each(label * weight) / each(weight).clamp_min(1e-6),
        "iou": each(iou * weight_iou) / each(weight_iou).clamp_min(1e-6),
    }


def moment_losses(moments: Moments, targets: Targets, config: LossConfig) -> dict[str, Tensor]:
    """`layer_losses` of one decoder layer, () each."""
    return {name: value[0] for name, value in layer_losses([moments], targets, config).items()}


def total_loss(output: Output, targets: Targets, config: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum (Eq. 17) and its parts, unweighted and detached, those of moments after the last layer."""
    weights = config.loss
    parts = {"saliency": saliency_loss(output.saliency, targets)}
    total = weights.saliency * parts["saliency"]
    if weights.contrast:
        parts["contrast"] = contrast_loss(output.saliency, targets)
        total = total + weights.contrast * parts["contrast"]
    if targets.windows.shape[1]:
        if output.segments is not None and weights.segment:
            parts["segment"] = segment_loss(output.segments, targets)
            total = total + weights.segment * parts["segment"]
        if output.segments is not None and weights.expected:
            parts["expected"] = expected_loss(output.segments, targets)
            total = total + weights.expected * parts["expected"]
        if output.segments is not None and output.segments.borders is not None and weights.border:
            parts["border"] = border_loss(output.segments, targets)
            total = total + weights.border * parts["border"]
        if output.votes is not None and weights.vote:
            parts["vote"] = output.votes.losses(targets.windows, targets.window_mask)
            total = total + weights.vote * parts["vote"]
        layers = output.layers if config.decoder.aux_loss else output.layers[-1:]
        for name, value in layer_losses(layers, targets, weights).items():
            parts[name] = value[-1]
            total = total + getattr(weights, name) * value.sum()
    return total, {name: value.detach() for name, value in parts.items()}
