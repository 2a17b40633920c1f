"""The whole model (paper 3): features in, saliency and moments out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rdmf.config import Config
from rdmf.model.base import Grounder
from rdmf.model.batch import Batch
from rdmf.model.cuts import FAR, Cuts, Walls
from rdmf.model.decoder import Decoder, Moments
from rdmf.model.diffusion import TemporalDiffusion
from rdmf.model.fusion import Fusion
from rdmf.model.layers import Near, Projection, masked_mean, sine
from rdmf.model.rows import Rows
from rdmf.model.segments import Segments
from rdmf.model.votes import VoteHead, Votes

if TYPE_CHECKING:
    from rdmf.train.losses import Targets


@dataclass(frozen=True)
class Output:
    """Attributes:
    saliency: (B, L) logits (Eq. 12 before the sigmoid); padding holds values that mean nothing.
    layers: moments after each decoder layer; the last is the prediction.
    segments: the distribution over segments of the pattern; None where `decoder.segments` is 0.
    votes: the distribution over what clips vote for; None where `decoder.votes` is 0 or there are no segments.
    """

    saliency: Tensor
    layers: list[Moments]
    segments: Segments | None = None
    votes: Votes | None = None

    @property
    def moments(self) -> Moments:
        """The prediction: the last layer's moments."""
        return self.layers[-1]


class RDMF(Grounder):
    """Temporal diffusion, reaction-diffusion fusion, saliency head and DETR head with an IoU branch.

    Args:
        config: all settings.
        video_dim, text_dim: widths of the features, as the cache says.
    """

    def __init__(self, config: Config, video_dim: int, text_dim: int) -> None:
        super().__init__(config, video_dim, text_dim)
        model = config.model
        self.centred = Projection(video_dim, model.hidden, model.input_dropout) if model.centred else None
        self.video = Projection(video_dim, model.hidden, model.input_dropout)
        self.text = Projection(text_dim, model.hidden, model.input_dropout)
        self.cuts = Cuts(model.cuts) if model.cuts else None
        self.shots = nn.Linear(2 * FAR, model.hidden) if model.cuts and model.shots else None
        self.diffusion = TemporalDiffusion(config.diffusion, model.hidden)
        self.fusion = Fusion(model, config.fusion)
        self.saliency = nn.Linear(model.hidden, 1)  # Eq. 12: a single linear layer
        self.units = nn.Linear(model.hidden, 3) if config.decoder.segments else None
        if self.units is not None:
            nn.init.normal_(self.units.weight, std=0.3 / model.hidden**0.5)
            # A clip is outside unless something speaks for it: moments start short.
            self.units.bias.data = torch.tensor([-0.5, 0.0, 0.0])
        # Whether a moment reaches into the clip beside it shows in that clip: a kernel of three.
        self.borders = Near(model.hidden, 2) if self.units is not None and config.decoder.borders else None
        if self.borders is not None:
            nn.init.zeros_(self.borders.weight)
            nn.init.zeros_(self.borders.bias)  # type: ignore[arg-type]
        # How much sooner a moment starts or ends at a cut, and how much less likely it runs on across one.
        cutting = self.cuts is not None and self.units is not None and config.decoder.turns
        self.turns = nn.Parameter(torch.ones(3)) if cutting else None
        self.votes = VoteHead(model.hidden) if self.units is not None and config.decoder.votes else None
        self.decoder = Decoder(model, config.decoder)

    def forward(self, batch: Batch) -> Output:
        """Raises InputError where the features' widths are not those the model was built for."""
        self.check_widths(batch)
        given_video, given_text = batch.stored
        if self.config.data.normalize:
            given_video, given_text = (nn.functional.normalize(x, dim=-1) for x in (batch.video, batch.text))
        # Rows that nothing but the projection looks at go there straight from the cache.
        centred = None
        if self.centred is not None:
            given_video = batch.video if isinstance(given_video, Rows) else given_video
            centred = self.centred(from_mean(given_video, batch.video_mask))
        video, text = self.video(given_video), self.text(given_text)
        if centred is not None:
            video = video + centred
        if self.config.model.position:
            video = video + sine(batch.centres, video.shape[-1]).to(video.dtype)
        # Whatever lies in padding is wiped here once; the layers below keep it from leaking back.
        video = video * batch.video_mask[..., None]
        walls = None if self.cuts is None else self.cuts(batch.video, batch.video_mask)
        video = self.diffusion(video, batch.video_mask, walls)
        if walls is not None and self.shots is not None:
            video = video + self.shots(walls.openness())
        fused = self.fusion(video, batch.video_mask, text, batch.text_mask, walls)
        saliency = self.saliency(fused)[..., 0]
        pooled = masked_mean(text, batch.text_mask)
        segments = self.segments(fused, batch, walls)
        votes = None if self.votes is None else self.votes(fused, batch.video_mask, batch.edges)
        layers = self.decoder(fused, pooled, saliency, batch, segments, votes)
        return Output(saliency.float(), layers, segments, votes)

    def segments(self, fused: Tensor, batch: Batch, walls: Walls | None = None) -> Segments | None:
        """The distribution over segments of the fused pattern (B, L, d); None where the decoder has none."""
        if self.units is None:
            return None
        borders = None
        if self.borders is not None:
            borders = self.borders(fused * batch.video_mask[..., None])
        units = self.units(fused)
        if walls is not None and self.turns is not None:
            starts, ends = walls.changes().unbind(-1)
            start, end, across = self.turns.unbind()
            units = units + torch.stack((-across * starts, (start + across) * starts, end * ends), -1)
        return Segments(units, batch.video_mask, batch.edges, borders)

    def loss(self, output: Output, batch: Batch, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 17, in `rdmf.train.losses`."""
        from rdmf.train.losses import total_loss  # which reads this module's Output

        return total_loss(output, targets, self.config)

    def candidates(self, output: Output) -> tuple[Tensor, Tensor]:
        """The last layer's moments, scored by Eq. 13 and by the pattern."""
        score = self.config.score
        return output.moments.spans, moment_scores(output.moments, score.balance, score.combine, score.pattern)


def from_mean(video: Tensor, mask: Tensor) -> Tensor:
    """What sets each clip apart from its video: features (B, L, d_v) less their mean over the valid clips, (B, L).

    Scenes differ from video to video far more than moments from the rest of one, and less of that difference is left
    to overfit. Not in the paper.
    """
    return video - masked_mean(video, mask)[:, None]


def moment_scores(moments: Moments, balance: float, combine: str, pattern: float = 0.0) -> Tensor:
    """The final score: class probability and predicted IoU (Eq. 13), and where the pattern gives a distribution over
    segments, the expected IoU under it, (B, Q) in [0, 1].

    Args:
        balance: weight of the class probability against the predicted IoU.
        combine: "sum" for weighted sums, "geometric" for weighted geometric means.
        pattern: weight of the expected IoU against the two together.
    """

    def mix(first: Tensor, second: Tensor, weight: float) -> Tensor:
        if combine == "sum":
            return weight * first + (1 - weight) * second
        return first**weight * second ** (1 - weight)

    score = mix(torch.sigmoid(moments.labels), torch.sigmoid(moments.ious), balance)
    if moments.expected is None or pattern == 0:
        return score
    return mix(moments.expected.clamp(1e-6, 1), score, pattern)
