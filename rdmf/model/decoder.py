"""The moment decoder (paper 3.5): queries started from the saliency pattern, refined, scored, with a predicted IoU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rdmf.model.attention import Attention
from rdmf.model.batch import Batch
from rdmf.model.dropout import Dropout
from rdmf.model.layers import FeedForward, mlp, sine
from rdmf.model.norm import normed
from rdmf.model.runs import best_runs
from rdmf.model.segments import Likely, Segments
from rdmf.model.spans import inverse_sigmoid, to_centre, to_edges
from rdmf.model.votes import Votes
from rdmf.sections import DecoderConfig, ModelConfig


@dataclass(frozen=True)
class Moments:
    """What one decoder layer says of Q moments.

    Attributes:
        spans: (B, Q, 2) (centre, width) as shares of the duration, each in (0, 1).
        labels: (B, Q) logit that the query is a moment.
        ious: (B, Q) logit of the predicted IoU.
        expected: (B, Q) expected IoU in [0, 1] under the distribution over the pattern's segments; None without one,
            and in training.
    """

    spans: Tensor
    labels: Tensor
    ious: Tensor
    expected: Tensor | None = None


#: Up to so many clips a span's mean is a product with every clip's share of it: the cost grows with L, but matrix
#: products are what machines do best. Beyond, cumulative sums, whose cost does not grow.
DENSE_CLIPS = 512


class Integral:
    """Means of clip-wise features over arbitrary spans, any number of them, for several features at once.

    Args:
        tables: features (B, L, d) each.
    """

    def __init__(self, batch: Batch, *tables: Tensor) -> None:
        self.edges = batch.edges.float().contiguous()
        self.mask, self.tables = batch.video_mask, tables
        self.dense = self.mask.shape[1] <= DENSE_CLIPS
        if not self.dense:
            size = (self.edges[:, 1:] - self.edges[:, :-1]) * self.mask  # (B, L)
            # Sums run in float64: a mean is a small difference of two of them.
            upto = [(x.double() * size[..., None]).cumsum(1) for x in tables]
            upto.append(size.double().cumsum(1)[..., None])
            self.upto = [nn.functional.pad(x, (0, 0, 1, 0)) for x in upto]  # (B, L + 1, d) each

    def means(self, start: Tensor, end: Tensor) -> list[Tensor]:
        """Mean features over [start, end), (B, Q) each, to (B, Q, d) each; zero where the span holds no video."""
        if not self.dense:
            *totals, covered = (self._at(x, end) - self._at(x, start) for x in self.upto)
            return [(x / covered.clamp_min(1e-4)).to(table.dtype) for x, table in zip(totals, self.tables)]
        with torch.autocast(start.device.type, enabled=False):
            share = self._shares(start, end)
            return [(share @ x.float()).to(x.dtype) for x in self.tables]

    def _shares(self, start: Tensor, end: Tensor) -> Tensor:
        """How much of each span's video lies in each clip: (B, Q) twice to (B, Q, L), summing to 1 over L."""
        first, last = self.edges[:, None, :-1], self.edges[:, None, 1:]
        inside = torch.minimum(last, end.float()[..., None]) - torch.maximum(first, start.float()[..., None])
        inside = inside.clamp_min(0) * self.mask[:, None]
        return inside / inside.sum(-1, keepdim=True).clamp_min(1e-4)

    def _at(self, table: Tensor, time: Tensor) -> Tensor:
        """Piecewise linear interpolation of a cumulative table at times (B, Q)."""
        time = torch.minimum(torch.maximum(time.float(), self.edges[:, :1]), self.edges[:, -1:]).contiguous()
        index = torch.searchsorted(self.edges, time, right=True).clamp(1, self.edges.shape[1] - 1) - 1
        low, high = self.edges.gather(1, index), self.edges.gather(1, index + 1)
        share = ((time - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)[..., None]
        width = table.shape[-1]
        below = table.gather(1, index[..., None].expand(-1, -1, width))
        above = table.gather(1, (index + 1)[..., None].expand(-1, -1, width))
        return below + share * (above - below)


#: How many numbers `Views.evidence` gives of the pattern.
EVIDENCE = 10


class Views:
    """What can be seen of a span: fused features and saliency pattern inside it and in margins of half its width."""

    def __init__(self, fused: Tensor, saliency: Tensor, batch: Batch, likely: Likely | None = None) -> None:
        """fused (B, L, d); saliency (B, L) logits, taken as they are: no gradient goes back through the pattern."""
        self.likely = likely
        pattern = saliency.detach().float()
        curves = torch.stack((torch.sigmoid(pattern), pattern.clamp(-8, 8) / 4), -1)
        self.parts = Integral(batch, fused, curves)
        start, end = torch.zeros_like(pattern[:, :1]), torch.ones_like(pattern[:, :1])
        self.whole = Integral(batch, curves).means(start, end)[0]  # (B, 1, 2)

    def of(self, spans: Tensor) -> tuple[Tensor, Tensor]:
        """Of spans (B, Q, 2) as (centre, width).

        Returns:
            fused features inside and on either side (B, Q, 3 d), and what the pattern says, (B, Q, EVIDENCE): its means
            there and overall, the width and the expected IoU.
        """
        start, end = to_edges(spans).unbind(-1)
        margin = (end - start) / 2
        bounds = ((start, start - margin, end), (end, start, end + margin))
        features, pattern = self.parts.means(*(torch.stack(b, -1).flatten(1) for b in bounds))  # (B, 3 Q, ...) each
        size, count = spans.shape[:2]
        width = torch.log(spans[..., 1:].float().clamp_min(1e-4)) / 4
        expected = torch.zeros_like(width) if self.likely is None else self.expected_iou(spans)[..., None]
        told = pattern.reshape(size, count, -1), self.whole.expand(-1, count, -1), width, expected
        return features.reshape(size, count, -1), torch.cat(told, -1)

    @torch.no_grad()
    def expected_iou(self, spans: Tensor) -> Tensor:
        """Of spans (B, Q, 2) as (centre, width), (B, Q); there must be a distribution."""
        assert self.likely is not None
        return self.likely.expected_iou(to_edges(spans))


def pattern_spans(saliency: Tensor, batch: Batch, levels: tuple[float, ...], runs: int) -> Tensor:
    """Spans read off a saliency pattern: the best maximum-sum runs of (logit - level) for every level.

    Args:
        saliency: (B, L) logits.
        levels, runs: see DecoderConfig.

    Returns:
        (B, len(levels) * runs, 2) (centre, width), level by level, best run first.
    """
    # All levels are one batch: on a GPU a launch costs the same for five times as many rows.
    size, count = saliency.shape[0], len(levels)
    scores = torch.stack([saliency - level for level in levels], 1).flatten(0, 1)  # (B * levels, L)
    first, last, _ = best_runs(scores, batch.video_mask.repeat_interleave(count, 0), runs)
    first, last = (x.view(size, -1) for x in (first, last))
    spans = torch.stack((batch.edges.gather(1, first), batch.edges.gather(1, last + 1)), -1)
    return to_centre(spans)


class DecoderLayer(nn.Module):
    """Look at what lies inside and beside the span, at the other queries, at the whole video; then move the span."""

    def __init__(self, model: ModelConfig, config: DecoderConfig) -> None:
        super().__init__()
        d = model.hidden
        self.refine = config.refine
        self.look = nn.Sequential(nn.LayerNorm(3 * d), nn.Linear(3 * d, d))
        self.weigh = mlp(EVIDENCE, d, d)
        self.self_norm, self.cross_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.self_attention = Attention(d, config.heads)
        self.cross_attention = Attention(d, config.heads)
        self.place = nn.Linear(2 * d, d)
        self.drop = Dropout(model.dropout)
        self.mix = FeedForward(d, model.dropout)
        self.move = mlp(d, d, 2)
        # The first prediction is the reference itself: what the pattern shows must not be unlearnt before it is used.
        nn.init.zeros_(self.move[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.move[-1].bias)  # type: ignore[arg-type]

    def forward(
        self, query: Tensor, spans: Tensor, views: Views, memory: Tensor, keys: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """query (B, Q, d) and spans (B, Q, 2) to the next ones; memory and keys (B, L, d), mask (B, L)."""
        seen, evidence = views.of(spans)
        norm, look = self.look
        assert isinstance(norm, nn.LayerNorm)
        query = query + look(normed(norm, seen, rounded=True)) + self.weigh(evidence)
        place = self.place(torch.cat([sine(x, query.shape[-1]) for x in spans.unbind(-1)], -1))
        x = normed(self.self_norm, query)
        query = self.drop.add(query, self.self_attention(x + place, x + place, x))
        query = self.drop.add(query, self.cross_attention(normed(self.cross_norm, query) + place, keys, memory, mask))
        query = self.mix(query)
        return query, torch.sigmoid(inverse_sigmoid(spans) + self.move(query)) if self.refine else spans


class Decoder(nn.Module):
    """100 moment queries (paper): the first start from the pattern's most probable segments, the next from runs of its
    saliency, the others from learnt spans."""

    def __init__(self, model: ModelConfig, config: DecoderConfig) -> None:
        super().__init__()
        d = model.hidden
        self.config = config
        self.seeds = config.segments + config.runs * len(config.levels)
        self.content = nn.Parameter(torch.randn(config.queries, d) * 0.02)
        learnt = config.queries - self.seeds
        # Learnt references start spread over centres and widths rather than all in one place.
        grid = torch.stack((torch.rand(learnt), torch.rand(learnt) ** 2 * 0.9 + 0.05), -1)
        self.reference = nn.Parameter(inverse_sigmoid(grid))
        self.text = nn.Linear(d, d)
        self.layers = nn.ModuleList(DecoderLayer(model, config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(d)
        self.label, self.iou = nn.Linear(d, 1), mlp(d, d, 1)

    def forward(
        self,
        fused: Tensor,
        text: Tensor,
        saliency: Tensor,
        batch: Batch,
        segments: Segments | None = None,
        votes: Votes | None = None,
    ) -> list[Moments]:
        """fused (B, L, d), pooled text (B, d), saliency logits (B, L), the distributions over segments and votes where
        `decoder.segments` and `decoder.votes` ask for them, to the moments after each layer, in order."""
        size, _, width = fused.shape
        spans = torch.sigmoid(self.reference)[None].expand(size, -1, -1)
        if self.config.runs:
            read = pattern_spans(saliency.detach().float(), batch, self.config.levels, self.config.runs)
            spans = torch.cat((read.to(spans.dtype), spans), 1)
        likely = None if segments is None else segments.likely()
        if likely is not None and votes is not None:
            likely = votes.mixed(likely, self.config.votes)
        if segments is not None and likely is not None:
            first = to_centre(segments.seeds(likely, self.config.segments))
            spans = torch.cat((first.to(spans.dtype), spans), 1)
        query = (self.content[None] + self.text(text)[:, None]).expand(size, -1, -1)
        # The moment losses shape the fused features only by this share: the pattern is learnt from every clip's
        # saliency, and a few spans a query would drown that signal.
        share = self.config.gradient
        if share < 1:
            fused = share * fused + (1 - share) * fused.detach() if share else fused.detach()
        views = Views(fused, saliency, batch, likely)
        keys = fused + sine(batch.centres, width).to(fused.dtype)
        out = []
        for layer in self.layers:
            query, spans = layer(query, spans, views, fused, keys, batch.video_mask)
            told = normed(self.norm, query, rounded=True)
            label, iou = self.label(told)[..., 0].float(), self.iou(told)[..., 0].float()
            # No loss asks for it, and the next layer finds out for itself.
            expected = None if likely is None or self.training else views.expected_iou(spans)
            out.append(Moments(spans.float(), label, iou, expected))
            spans = spans.detach()
        return out
