"""What the DETR-like models share beyond layers: moments and their losses, clip pairs, ranking, and the frame around.

Losses follow the code of Lei et al. 2021 (Moment-DETR) and Moon et al. 2023 (QD-DETR). Where annotation is of another
kind than QVHighlights', on which both were published, this page says what takes its place.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from rdmf.baselines.settings import DETRConfig
from rdmf.model.base import Grounder
from rdmf.model.batch import Batch
from rdmf.model.curves import Floats, squashed, unsquashed
from rdmf.model.spans import overlap, to_centre, to_edges
from rdmf.train.losses import Targets
from rdmf.train.matcher import match


@dataclass(frozen=True)
class Moments:
    """What one decoder layer says of Q moments.

    Attributes:
        spans: (B, Q, 2) (centre, width) as shares of the duration, each in (0, 1).
        logits: (B, Q, 2), the first of being a moment, the second of being none.
    """

    spans: Tensor
    logits: Tensor

    @property
    def scores(self) -> Tensor:
        """(B, Q) probability of being a moment."""
        return self.logits.softmax(-1)[..., 0]


@torch.no_grad()
def assign(moments: Moments, targets: Targets, own: DETRConfig) -> Tensor:
    """Which query answers for each window: (B, W) int64, -1 where there is no window (or no query left).

    The cost is L1 on (centre, width), less generalised IoU, less the probability of being a moment, weighted.
    """
    spans = moments.spans[:, :, None]
    l1 = (spans - to_centre(targets.windows)[:, None]).abs().sum(-1)
    giou = overlap(to_edges(spans), targets.windows[:, None])[1]
    cost = own.cost_span * l1 - own.cost_giou * giou - own.cost_label * moments.scores[..., None]
    return match(cost, targets.window_mask)


def layer_losses(layers: Sequence[Moments], targets: Targets, own: DETRConfig) -> dict[str, Tensor]:
    """Span (L1), generalised IoU and label losses, (N,) each: one number for each of N decoder layers.

    The label loss is the mean over all queries of weighted cross-entropies, not their weighted mean, as published.
    Samples without windows take no part: nobody said that they hold no moment. All layers are one batch.
    """
    layer_count = len(layers)
    moments = Moments(*(torch.cat([getattr(m, name) for m in layers]) for name in ("spans", "logits")))
    windows, window_mask = targets.windows.repeat(layer_count, 1, 1), targets.window_mask.repeat(layer_count, 1)
    targets = dataclasses.replace(targets, windows=windows, window_mask=window_mask)

    def each(values: Tensor) -> Tensor:
        """Sums over the samples of each layer, (N * B, ...) to (N,)."""
        return values.view(layer_count, -1).sum(1)

    chosen = assign(moments, targets, own)  # (N * B, W)
    given = chosen >= 0
    count = each(given).clamp_min(1)
    picked = moments.spans.gather(1, chosen.clamp_min(0)[..., None].expand(-1, -1, 2))
    l1 = (picked - to_centre(targets.windows)).abs().mean(-1)
    giou = 1 - overlap(to_edges(picked), targets.windows)[1]
    hit = (chosen[..., None] == torch.arange(moments.spans.shape[1], device=chosen.device)).any(1)  # (N * B, Q)
    share = moments.logits.log_softmax(-1)
    label = torch.where(hit, -share[..., 0], -own.background * share[..., 1])
    annotated = targets.window_mask.any(1)[:, None] & torch.ones_like(hit)
    return {
        "span": each(l1 * given) / count,
        "giou": each(giou * given) / count,
        "label": each(label * annotated) / each(annotated).clamp_min(1),
    }


def moment_losses(moments: Moments, targets: Targets, own: DETRConfig) -> dict[str, Tensor]:
    """`layer_losses` of one decoder layer, () each."""
    return {name: value[0] for name, value in layer_losses([moments], targets, own).items()}


@dataclass(frozen=True)
class Pairs:
    """Clips of which one should be more salient than the other.

    Attributes:
        high, low: (B, P) int64, clip numbers. valid: (B, P) bool, pairs there are.
    """

    high: Tensor
    low: Tensor
    valid: Tensor


def draw_pairs(targets: Targets) -> Pairs:
    """Two pairs a query, drawn with torch's generator.

    Where annotators scored clips (`targets.rated`): the most and the least salient of the relevant clips (ties by lot),
    and a relevant against another clip; where all clips are relevant, the first pair twice. A clip is relevant where
    its score is above 0: the cache does not say which clips were shown to annotators and got nothing from all of them.

    Elsewhere the windows tell: twice a clip inside against one outside, without repetition where there are two. A clip
    is inside where a window covers half of it, or else (windows shorter than that) the one covered best.
    """
    known, saliency = targets.saliency_mask, targets.saliency
    relevant = relevant_clips(targets)
    other = known & ~relevant
    rated = _rated(targets)[:, None]
    luck = torch.rand((4, *saliency.shape), device=saliency.device)
    worst = torch.where(relevant, saliency, 2.0).amin(1, keepdim=True)
    best = torch.where(relevant, saliency, -1.0).amax(1, keepdim=True)
    top, top_has = _draw(luck[0], relevant & (saliency == best), 1)
    bottom, _ = _draw(luck[1], relevant & (saliency == worst), 1)
    inside, has_inside = _draw(luck[2], relevant, 2)
    outside, has_outside = _draw(luck[3], other, 2)
    easy = has_inside & has_outside
    # Of a rated query the easy pair is the second; it repeats the hard one where there is no clip to be easy.
    high_rated = torch.cat((top, torch.where(easy, inside[:, :1], top)), 1)
    low_rated = torch.cat((bottom, torch.where(easy, outside[:, :1], bottom)), 1)
    valid = torch.where(rated, top_has, easy).expand(-1, 2)
    return Pairs(torch.where(rated, high_rated, inside), torch.where(rated, low_rated, outside), valid)


def relevant_clips(targets: Targets) -> Tensor:
    """(B, L) bool: clips with any score where annotators scored, else clips inside windows; see `draw_pairs`."""
    saliency = torch.where(targets.saliency_mask, targets.saliency, 0)
    best = saliency.amax(1, keepdim=True)
    limit = torch.where(_rated(targets)[:, None], torch.finfo(saliency.dtype).tiny, best.clamp_max(0.5))
    return (saliency >= limit) & (saliency > 0)


def _rated(targets: Targets) -> Tensor:
    """(B,) bool; False where nobody told."""
    return torch.zeros_like(targets.saliency_mask[:, 0]) if targets.rated is None else targets.rated


def _draw(luck: Tensor, pool: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The luckiest of each pool (B, L): (B, count) clips, repeated where the pool has fewer, and (B, 1) whether any."""
    size = pool.sum(1, keepdim=True)
    ranked = torch.where(pool, luck, -1.0).argsort(1, descending=True)
    place = torch.arange(count, device=pool.device)[None].expand(len(pool), -1)
    return ranked.gather(1, place % size.clamp_min(1)), size > 0


def levels(targets: Targets, window_level: float) -> Tensor:
    """Saliency on the scale of three annotators' sums, (B, L) whole numbers in [0, 12] where annotators scored.

    Args:
        window_level: the level of a clip inside a window where they did not.
    """
    scored = (targets.saliency * 12 + 1e-3).floor()
    level = torch.where(_rated(targets)[:, None], scored, window_level * relevant_clips(targets))
    return level * targets.saliency_mask


def margin_loss(saliency: Tensor, pairs: Pairs, margin: float) -> Tensor:
    """Hinge: the higher clip should be above the lower by the margin; twice the mean over pairs, as published."""
    gap = margin + saliency.gather(1, pairs.low) - saliency.gather(1, pairs.high)
    return 2 * (gap.clamp_min(0) * pairs.valid).sum() / pairs.valid.sum().clamp_min(1)


def rank_loss(
    saliency: Tensor, level: Tensor, mask: Tensor, *, temperature: float, divisor: int, steps: int = 11
) -> Tensor:
    """For each level 1 to `steps`: the clips at or above it against all clips (QD-DETR's contrastive ranking).

    Args:
        saliency, level: (B, L), and mask (B, L) bool, valid clips; negative pairs are appended along L, of level 0.
        divisor: the sum over levels is divided by this.
    """
    logits = torch.where(mask, saliency, -1e3) / temperature
    logits = logits - logits.amax(1, keepdim=True)
    share = logits - torch.log(logits.exp().sum(1, keepdim=True) + 1e-6)
    asked = torch.arange(1, steps + 1, device=level.device)[:, None, None]
    above = ((level >= asked) & mask).to(share.dtype)  # (steps, B, L)
    return -((above * share).sum(-1) / (above.sum(-1) + 1e-6)).mean(1).sum() / divisor


class DETRGrounder(Grounder):
    """The frame around a DETR-like network: its losses summed, its last layer's moments as candidates.

    Its output has `saliency` (B, L) and `layers`, a list of Moments after each decoder layer.
    """

    saliency_has_zero = False

    @property
    @abstractmethod
    def own(self) -> DETRConfig:
        """The model's own section of the settings."""

    @abstractmethod
    def saliency_loss(self, output: Any, batch: Batch, targets: Targets) -> Tensor:
        """What the model learns of saliency."""

    def loss(self, output: Any, batch: Batch, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted by the settings of the parts' names; the history shows the last layer's moment losses."""
        own = self.own
        parts = {"saliency": self.saliency_loss(output, batch, targets)}
        total = own.saliency * parts["saliency"]
        if targets.windows.shape[1]:
            layers = output.layers if own.aux_loss else output.layers[-1:]
            for name, value in layer_losses(layers, targets, own).items():
                parts[name] = value[-1]
                total = total + getattr(own, name) * value.sum()
        return total, {name: value.detach() for name, value in parts.items()}

    def candidates(self, output: Any) -> tuple[Tensor, Tensor]:
        """One a moment query, scored by its probability of being a moment."""
        return output.layers[-1].spans, output.layers[-1].scores

    def curve(self, output: Any) -> Tensor:
        """Saliency (B, L) in [0, 1]; margins and ranks have formed it, so it is no logit: see `rdmf.model.curves`."""
        return squashed(output.saliency)

    def raw_saliency(self, curve: NDArray[Any]) -> Floats:
        """The saliency as the network said it."""
        return unsquashed(curve)
