"""Moments as segments of an emergent pattern: a probability for every run of clips, normalised exactly in linear time.

The paper reads "key moments" off "emergent patterns" (3.3, 3.5) without saying how. Here the pattern gives each clip
three numbers, how much it belongs (unit), how well a moment starts with it and how well one ends with it. A moment from
clip i to clip j scores start[i] + unit[i] + ... + unit[j] + end[j], and its probability is the softmax of that over all
L (L + 1) / 2 segments. With cumulative sums the score splits into a part of i and a part of j, so the normaliser and
both marginals are two scans. Where within its first and last clip a moment starts and ends may be told apart from which
clips they are: two more numbers a clip, read only there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rdmf.model import native
from rdmf.model.kernels import compiled_for
from rdmf.model.spans import iou_of, suppress

#: Score of what cannot be; far below any sum of logits, and finite so that nothing turns into NaN.
IMPOSSIBLE = -1e9
#: Belonging of a clip that no segment may cross: small enough to add up over any video in float64.
WALL = -1e5
#: How far from a clip's own border a moment's start or end may lie, in widths of the clip. A clip belongs to a moment
#: where its centre does, so that half a width is all there is; a little less keeps every segment longer than nothing.
REACH = 0.49
#: Starts and ends that are looked at when the most probable segments are listed, and segments that carry expectations.
MARKS, LIKELY = 48, 192


class LogPartition(torch.autograd.Function):
    """log of the sum over i <= j of exp(opening[i] + closing[j]); its gradients are the marginals of i and of j."""

    @staticmethod
    def forward(ctx: Any, opening: Tensor, closing: Tensor) -> Tensor:
        """(B, L) each to (B,)."""
        ending = closing + opening.logcumsumexp(1)
        total = torch.logsumexp(ending, 1)
        starting = opening + closing.flip(1).logcumsumexp(1).flip(1)
        ctx.save_for_backward((starting - total[:, None]).exp(), (ending - total[:, None]).exp())
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        start, end = ctx.saved_tensors
        return start * gradients[0][:, None], end * gradients[0][:, None]


@dataclass(frozen=True)
class Likely:
    """The most probable segments of each video.

    Attributes:
        first, last: (B, K) indices of clips, inclusive, most probable first.
        spans: (B, K, 2) (start, end) as shares of the duration.
        probability: (B, K), summing to 1 over the K; 0 for places that hold no segment.
    """

    first: Tensor
    last: Tensor
    spans: Tensor
    probability: Tensor

    def expected_iou(self, spans: Tensor) -> Tensor:
        """Expected IoU of spans (B, Q, 2) as (start, end) with the moment, (B, Q) in [0, 1]."""
        parts = (spans.float(), self.spans, self.probability)
        if compiled_for(*parts) and not (torch.is_grad_enabled() and any(x.requires_grad for x in parts)):
            return native.expected_overlap(*parts)
        iou = iou_of(spans[:, :, None].float(), self.spans[:, None])  # (B, Q, K)
        return (iou * self.probability[:, None]).sum(-1)

    def distinct(self, count: int, *, among: int = 64, limit: float = 0.6) -> Tensor:
        """The `count` segments of highest expected IoU, none overlapping a better one by more than `limit`.

        Args:
            among: how many of the most probable are looked at.

        Returns:
            (B, count, 2) as (start, end), best first; where fewer are distinct, the best of the others fill up.
        """
        spans = self.spans[:, :among]
        # Of equals the more probable: a clip's own segment and its vote, weighing a half each, differ by rounding only.
        value = self.expected_iou(spans) - 1e-6 * torch.arange(spans.shape[1], device=spans.device)
        if count > 1:  # the best one is never dropped
            value = value + suppress(spans, value, limit)  # kept ones before dropped ones
        there = self.probability[:, :among] > 0
        best = value.masked_fill(~there, -1).topk(min(count, value.shape[1]), 1).indices
        best = torch.where(there.gather(1, best), best, best[:, :1])
        best = torch.cat((best, best[:, :1].expand(-1, count - best.shape[1])), 1)
        return spans.gather(1, best[..., None].expand(-1, -1, 2))


class Segments:
    """The distribution over segments.

    Args:
        units: (B, L, 3) logits of belonging, starting and ending; what lies in padding means nothing.
        mask: (B, L) bool, valid clips first.
        edges: (B, L + 1) clip borders as shares of the duration.
        borders: (B, L, 2) logits of where a moment starts that begins with the clip, and where one ends that ends with
            it: tanh of them, times REACH, is the distance from the clip's border in its widths. None: at the border.
    """

    def __init__(self, units: Tensor, mask: Tensor, edges: Tensor, borders: Tensor | None = None) -> None:
        # Sums over thousands of clips: float32 would lose the boundary logits in them.
        self.units = units.double() * mask[..., None]
        unit, start, end = self.units.unbind(-1)
        upto = unit.cumsum(1)
        self.opening = (start - (upto - unit)).masked_fill(~mask, IMPOSSIBLE)
        self.closing = (upto + end).masked_fill(~mask, IMPOSSIBLE)
        self.mask, self.edges = mask, edges.float()
        self.borders = borders
        self.starts, self.ends = self.edges[:, :-1], self.edges[:, 1:]  # (B, L) each
        if borders is not None:
            shift = REACH * torch.tanh(borders.float()) * (self.ends - self.starts)[..., None]
            starts, ends = self.starts + shift[..., 0], self.ends + shift[..., 1]
            self.starts, self.ends = starts.clamp(0, 1), ends.clamp(0, 1)
        self._likely: dict[tuple[int, int], Likely] = {}

    def log_partition(self) -> Tensor:
        """(B,) log of the normaliser."""
        total: Tensor = LogPartition.apply(self.opening, self.closing)
        return total

    def log_probability(self, first: Tensor, last: Tensor) -> Tensor:
        """Of segments from clip `first` to clip `last`, inclusive, (B, W) each with first <= last, to (B, W)."""
        score = self.opening.gather(1, first) + self.closing.gather(1, last)
        return score - self.log_partition()[:, None]

    def expected_iou(self, likely: Likely, windows: Tensor, valid: Tensor) -> Tensor:
        """Expected IoU of a segment of the pattern with the nearest window, with gradients, (B,) in [0, 1].

        Args:
            likely: what `likely()` gave; the expectation is over these segments.
            windows: (B, W, 2) (start, end) as shares of the duration; valid: (B, W) bool.
        """
        score = self.opening.gather(1, likely.first) + self.closing.gather(1, likely.last)
        weight = torch.softmax(score.masked_fill(likely.probability == 0, IMPOSSIBLE), 1).float()  # (B, K)
        spans = self.spans(likely.first, likely.last)  # again, for `likely` keeps no gradients
        iou = iou_of(spans[:, :, None], windows[:, None]).masked_fill(~valid[:, None], 0)  # (B, K, W)
        return (weight * iou.amax(-1)).sum(1)

    def spans(self, first: Tensor, last: Tensor) -> Tensor:
        """Of segments from clip `first` to clip `last`, (B, K) each: (B, K, 2) (start, end) shares of the duration."""
        return torch.stack((self.starts.gather(1, first), self.ends.gather(1, last)), -1)

    def locate(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """First and last clip (B, W) whose centres lie in windows (B, W, 2) given as (start, end) shares.

        A window between two centres gets the clip that follows its start.
        """
        centres = (self.edges[:, 1:] + self.edges[:, :-1]) / 2
        centres = centres.masked_fill(~self.mask, 2.0)  # beyond every window
        final = self.mask.sum(1, keepdim=True) - 1
        first = torch.searchsorted(centres, windows[..., 0].contiguous().float()).minimum(final)
        last = torch.searchsorted(centres, windows[..., 1].contiguous().float(), right=True).minimum(final + 1) - 1
        return first, torch.maximum(first, last)

    @torch.no_grad()
    def likely(self, count: int = LIKELY, marks: int = MARKS) -> Likely:
        """The `count` most probable segments among the pairs of the `marks` most probable starts and ends.

        Exact where a video has no more than `marks` clips; elsewhere only segments with an end of small marginal
        probability are missed, at a cost that stays linear in L.
        """
        key = (count, marks)
        if key not in self._likely:  # the decoder and the loss ask for the same ones
            self._likely[key] = self._most_likely(count, marks)
        return self._likely[key]

    def _most_likely(self, count: int, marks: int) -> Likely:
        starting = self.opening + self.closing.flip(1).logcumsumexp(1).flip(1)
        ending = self.closing + self.opening.logcumsumexp(1)
        marks = min(marks, starting.shape[1])
        starts, ends = starting.topk(marks, 1).indices, ending.topk(marks, 1).indices  # (B, M)
        score = self.opening.gather(1, starts)[:, :, None] + self.closing.gather(1, ends)[:, None]
        score = score.masked_fill(starts[:, :, None] > ends[:, None], IMPOSSIBLE).flatten(1)  # (B, M * M)
        best, order = score.topk(min(count, score.shape[1]), 1)
        first, last = starts.gather(1, order // marks), ends.gather(1, order % marks)
        # A short video has too few segments: the best one fills the places left, and weighs nothing there.
        possible = best > IMPOSSIBLE / 2
        probability = torch.where(possible, torch.softmax(best, 1), 0.0).float()
        first, last = (torch.where(possible, x, x[:, :1]) for x in (first, last))
        return Likely(first, last, self.spans(first, last), probability)

    @torch.no_grad()
    def seeds(self, likely: Likely, count: int, peaks: int = 4) -> Tensor:
        """Spans to look at: the best places of the pattern and the variants of the very best.

        The best segment of each peak is the one of highest expected IoU among those that avoid the peaks before it;
        three quarters of the spans are distinct variants around the whole pattern's best (`Likely.distinct`).

        Args:
            likely: what `likely()` gave.

        Returns:
            (B, count, 2) as (start, end) shares of the duration, the best first.
        """
        peaks = min(peaks, max(1, count // 4))
        found = [likely.distinct(count - peaks + 1)]
        units, best = self.units, found[0][:, :1]
        centres = (self.edges[:, 1:] + self.edges[:, :-1]) / 2
        for _ in range(peaks - 1):
            taken = (centres > best[..., 0]) & (centres < best[..., 1]) & self.mask
            # On top of what the clips say, which decides where all are taken: equal scores would leave it to the order
            # in which `topk` meets them, and so to the length that the batch is padded to.
            units = torch.where(taken[..., None], self.units + WALL, units)
            left = Segments(units, self.mask, self.edges, self.borders)
            best = left.likely(LIKELY // 4).distinct(1, among=LIKELY // 4)
            found.append(best)
        return torch.cat(found, 1)
