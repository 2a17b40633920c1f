"""Moments as votes of clips: each clip of the pattern says how far its moment reaches to either side.

A second reading of the pattern beside `rdmf.model.segments`. A segment is judged by its own clips, so that a gap in
the evidence cuts it short; a vote carries how long such moments last, so that one telling clip is enough. The mixture
of the two distributions is what moment queries start from and are ranked by.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rdmf.model.layers import Near
from rdmf.model.segments import IMPOSSIBLE, LIKELY, Likely
from rdmf.model.spans import overlap

#: Reaches are kept between a tenth of a clip and 4096 clips: exp must neither vanish nor overflow.
LOW, HIGH = math.log(0.1), math.log(4096.0)


class Votes:
    """A span and a weight for every clip.

    Args:
        told: (B, L, 3): logs of the reach before and after the clip's centre, in widths of the clip; logit of the
            weight.
        mask: (B, L) bool, valid clips first.
        edges: (B, L + 1) clip borders as shares of the duration.
    """

    def __init__(self, told: Tensor, mask: Tensor, edges: Tensor) -> None:
        edges = edges.float()
        self.mask = mask
        self.centres = (edges[:, 1:] + edges[:, :-1]) / 2
        self.widths = (edges[:, 1:] - edges[:, :-1]).clamp_min(1e-9)
        self.reach = told[..., :2].float().clamp(LOW, HIGH)
        self.logits = told[..., 2].float().masked_fill(~mask, IMPOSSIBLE)
        before, after = (self.reach.exp() * self.widths[..., None]).unbind(-1)
        self.spans = torch.stack((self.centres - before, self.centres + after), -1).clamp(0, 1)  # (B, L, 2)

    @property
    def probability(self) -> Tensor:
        """(B, L), summing to 1 over a video's clips."""
        return torch.softmax(self.logits, 1)

    @torch.no_grad()
    def mixed(self, likely: Likely, share: float) -> Likely:
        """The mixture of segments, weighing 1 - share, and votes: the LIKELY most probable of both, best first.

        `first` and `last` of a vote are those of the best segment: they name no segment of their own.
        """
        probability = torch.cat(((1 - share) * likely.probability, share * self.probability), 1)
        spans = torch.cat((likely.spans, self.spans), 1)
        # Stable: of equals the segment comes first, in a batch as alone.
        best, order = (x[:, :LIKELY] for x in probability.sort(dim=1, descending=True, stable=True))
        # Padding votes for nothing, and a short video has few segments: the best of all stands in their places.
        order = torch.where(best > 0, order, order[:, :1])
        count = likely.first.shape[1]
        place = torch.where(order < count, order, 0)
        return Likely(
            likely.first.gather(1, place),
            likely.last.gather(1, place),
            spans.gather(1, order[..., None].expand(-1, -1, 2)),
            best / best.sum(1, keepdim=True),
        )

    def losses(self, windows: Tensor, valid: Tensor) -> Tensor:
        """Of clips inside a window the errors of their votes, of all clips 1 - expected IoU with the nearest window.

        Clips inside several windows answer for the one whose centre is nearest. Errors: generalised IoU, and half the
        L1 of the reaches' logs; averaged over a query's inside clips, then, like 1 - expected IoU, over the queries
        that have windows.

        Args:
            windows: (B, W, 2) (start, end) as shares of the duration; valid: (B, W) bool.

        Returns:
            scalar.
        """
        windows, middle = windows.float(), self.centres[..., None]  # (B, L, 1)
        start, end = windows[:, None, :, 0], windows[:, None, :, 1]  # (B, 1, W)
        inside = (middle >= start) & (middle < end) & valid[:, None] & self.mask[..., None]  # (B, L, W)
        distance = (middle - (start + end) / 2).abs().masked_fill(~inside, math.inf)
        own = distance.argmin(-1)  # (B, L)
        mine = windows.gather(1, own[..., None].expand(-1, -1, 2))  # (B, L, 2)
        answers = inside.any(-1)
        iou, giou = overlap(self.spans[:, :, None], windows[:, None])
        giou = giou.gather(2, own[..., None])[..., 0]
        wanted = torch.stack((self.centres - mine[..., 0], mine[..., 1] - self.centres), -1) / self.widths[..., None]
        wanted = wanted.clamp_min(math.exp(LOW)).log().clamp(LOW, HIGH)
        error = 1 - giou + 0.5 * (self.reach - wanted).abs().sum(-1)
        per_query = (error * answers).sum(1) / answers.sum(1).clamp_min(1)
        expected = (self.probability * iou.masked_fill(~valid[:, None], 0).amax(-1)).sum(1)
        has = valid.any(1)
        return ((per_query + 1 - expected) * has).sum() / has.sum().clamp_min(1)


class VoteHead(nn.Module):
    """Fused features to votes; at first every clip votes for itself and one clip to either side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near, self.told = Near(width, width), Near(width, 3)
        nn.init.normal_(self.told.weight, std=0.05 / width**0.5)
        assert self.told.bias is not None
        self.told.bias.data = torch.tensor([math.log(1.5), math.log(1.5), 0.0])

    def forward(self, fused: Tensor, mask: Tensor, edges: Tensor) -> Votes:
        """fused (B, L, d) with its mask (B, L) and clip borders (B, L + 1)."""
        valid = mask[..., None].to(fused.dtype)  # nothing comes in from padding
        near = nn.functional.gelu(self.near(fused * valid)) * valid
        return Votes(self.told(near), mask, edges)
