"""QD-DETR (Moon et al., CVPR 2023): the text enters the video by cross-attention; a pair of video and foreign sentence
must score low; a token that has seen the whole video judges saliency; moment queries are spans.

The authors' code is github.com/wjun0830/QD-DETR. What is odd in it:

- `qd_detr.mask_layout`, `qd_detr.rank_divisor`: settings, as published by default; their help says what they do.
- The text-to-video layer's MLP reads the normed sum and is added to the sum itself: see `TextToVideoLayer`.
- The foreign sentence is the next one of the batch. Where the batch holds one sample only, that is its own, which
  would teach it that nothing is salient; such a batch has no negative pair here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rdmf.baselines.anchors import AnchorDecoder
from rdmf.baselines.detr import DETRGrounder, Moments, Pairs, draw_pairs, levels, margin_loss, rank_loss
from rdmf.baselines.layers import (
    MLP,
    EncoderLayer,
    InputProjection,
    TextToVideoLayer,
    inverse_sigmoid,
    prepare,
    sine_position,
)
from rdmf.baselines.settings import QDDETRConfig
from rdmf.config import Config
from rdmf.model.batch import Batch
from rdmf.train.losses import Targets


@dataclass(frozen=True)
class Answers:
    """Attributes:
    saliency: (B, L), unbounded. layers: moments after each decoder layer.
    foreign: (B, L) saliency of each video for the next sentence of the batch; None where nobody asked.
    """

    saliency: Tensor
    layers: list[Moments]
    foreign: Tensor | None


class Network(nn.Module):
    """The published network.

    Args:
        video_dim: width of the clip features with their two endpoint features. text_dim: of the token features.
    """

    def __init__(self, config: Config, video_dim: int, text_dim: int) -> None:
        super().__init__()
        model, own = config.model, config.qd_detr
        width, sizes = model.hidden, (model.hidden, own.heads, own.feedforward, model.dropout)
        self.video = InputProjection(video_dim, width, model.input_dropout, own.projections)
        self.text = InputProjection(text_dim, width, model.input_dropout, own.projections)
        self.text_to_video = nn.ModuleList(
            TextToVideoLayer(*sizes, mask_layout=own.mask_layout) for _ in range(own.text_layers)
        )
        self.encoder = nn.ModuleList(EncoderLayer(*sizes, activation="prelu") for _ in range(own.encoder_layers))
        self.decoder = AnchorDecoder(*sizes, layers=own.decoder_layers, queries=own.queries)
        self.span = MLP(width, width, width, 2)
        self.label = nn.Linear(width, 2)
        self.token, self.token_place = (nn.Parameter(torch.randn(width)) for _ in range(2))
        self.clip_saliency, self.token_saliency = nn.Linear(width, width), nn.Linear(width, width)

    def forward(
        self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor, *, foreign: bool = False
    ) -> Answers:
        """video (B, L, d_v + 2), text (B, M, d_t), their masks bool, True where valid.

        Args:
            foreign: also judge each video by the next sentence of the batch.
        """
        video, text = self.video(video), self.text(text)
        place = sine_position(video_mask, video.shape[-1])
        memory, saliency = self._read(video, video_mask, text, text_mask, place)
        states, anchors = self.decoder(memory, video_mask, place)
        layers = [
            Moments((self.span(state) + inverse_sigmoid(anchor)).float().sigmoid(), self.label(state).float())
            for state, anchor in zip(states, anchors)
        ]
        other = None
        if foreign:
            other = self._read(video, video_mask, text.roll(-1, 0), text_mask.roll(-1, 0), place)[1].float()
        return Answers(saliency.float(), layers, other)

    def _read(
        self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor, place: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The video as the text colours it, (B, L, d), and its saliency (B, L)."""
        for layer in self.text_to_video:
            video = layer(video, video_mask, text, text_mask, place)
        size, width = len(video), video.shape[-1]
        both = torch.cat((self.token.expand(size, 1, -1), video), 1)
        places = torch.cat((self.token_place.expand(size, 1, -1), place), 1)
        mask = nn.functional.pad(video_mask, (1, 0), value=True)
        for layer in self.encoder:
            both = layer(both, mask, places)
        whole, clips = both[:, :1], both[:, 1:]
        saliency = (self.clip_saliency(clips) * self.token_saliency(whole)).sum(-1) / math.sqrt(width)
        return clips, saliency


def saliency_losses(answers: Answers, mask: Tensor, pairs: Pairs, level: Tensor, own: QDDETRConfig) -> Tensor:
    """The sum of what QD-DETR learns of saliency: margins, ranks, and foreign sentences.

    Args:
        mask: (B, L) bool, valid clips. level: (B, L), see `rdmf.baselines.detr.levels`.
    """
    loss = margin_loss(answers.saliency, pairs, own.margin)
    saliency, foreign = answers.saliency, answers.foreign
    if foreign is not None:
        # -log(1 - sigmoid(x)), summed over the clips: a long video weighs more, as published.
        loss = loss + own.foreign * (nn.functional.softplus(foreign) * mask).sum(1).mean()
        saliency = torch.cat((saliency, foreign), 1)
        level, mask = torch.cat((level, torch.zeros_like(level)), 1), torch.cat((mask, mask), 1)
    return loss + rank_loss(saliency, level, mask, temperature=own.rank_temperature, divisor=own.rank_divisor)


class QDDETR(DETRGrounder):
    """QD-DETR in the harness."""

    def __init__(self, config: Config, video_dim: int, text_dim: int) -> None:
        super().__init__(config, video_dim, text_dim)
        self.network = Network(config, video_dim + 2, text_dim)

    @property
    def own(self) -> QDDETRConfig:
        """Section `qd_detr`."""
        return self.config.qd_detr

    def forward(self, batch: Batch) -> Answers:
        """Foreign sentences are judged in training only.

        Raises InputError where the features' widths are not those the model was built for.
        """
        self.check_widths(batch)
        foreign = self.training and self.own.foreign > 0 and len(batch.video) > 1
        answers: Answers = self.network(*prepare(batch, normalize=self.own.normalize), foreign=foreign)
        return answers

    def saliency_loss(self, output: Answers, batch: Batch, targets: Targets) -> Tensor:
        """See `saliency_losses`; pairs are drawn with torch's generator."""
        level = levels(targets, self.own.window_level)
        return saliency_losses(output, batch.video_mask, draw_pairs(targets), level, self.own)
