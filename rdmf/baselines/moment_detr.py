"""Moment-DETR (Lei, Berg, Bansal, NeurIPS 2021): clips and tokens in one encoder, moment queries in a DETR decoder.

The authors' code is github.com/jayleicn/moment_detr. Its one oddity, an embedding of token positions that is built and
never used, is left out; the label loss that is not a weighted mean stands in `rdmf.baselines.detr.moment_losses`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rdmf.baselines.detr import DETRGrounder, Moments, draw_pairs, margin_loss
from rdmf.baselines.layers import MLP, DecoderLayer, EncoderLayer, InputProjection, prepare, sine_position
from rdmf.baselines.settings import MomentDETRConfig
from rdmf.config import Config
from rdmf.model.batch import Batch
from rdmf.train.losses import Targets


@dataclass(frozen=True)
class Answers:
    """Attributes:
    saliency: (B, L), unbounded. layers: moments after each decoder layer.
    """

    saliency: Tensor
    layers: list[Moments]


class Network(nn.Module):
    """The published network.

    Args:
        video_dim: width of the clip features with their two endpoint features. text_dim: of the token features.
    """

    def __init__(self, config: Config, video_dim: int, text_dim: int) -> None:
        super().__init__()
        model, own = config.model, config.moment_detr
        width, sizes = model.hidden, (model.hidden, own.heads, own.feedforward, model.dropout)
        self.video = InputProjection(video_dim, width, model.input_dropout, own.projections)
        self.text = InputProjection(text_dim, width, model.input_dropout, own.projections)
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(own.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in range(own.decoder_layers))
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Embedding(own.queries, width)
        self.span = MLP(width, width, width, 2)
        self.label = nn.Linear(width, 2)
        self.saliency = nn.Linear(width, 1)

    def forward(self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor) -> Answers:
        """video (B, L, d_v + 2), text (B, M, d_t), their masks bool, True where valid."""
        video, text = self.video(video), self.text(text)
        mask = torch.cat((video_mask, text_mask), 1)
        place = torch.cat((sine_position(video_mask, video.shape[-1]), torch.zeros_like(text)), 1)  # tokens have none
        memory = torch.cat((video, text), 1)
        for layer in self.encoder:
            memory = layer(memory, mask, place)
        x = torch.zeros_like(self.queries.weight).expand(len(memory), -1, -1)
        layers = []
        for layer in self.decoder:
            x = layer(x, self.queries.weight, memory, mask, place)
            state = self.norm(x)
            layers.append(Moments(self.span(state).float().sigmoid(), self.label(state).float()))
        saliency = self.saliency(memory[:, : video.shape[1]])[..., 0]
        return Answers(saliency.float(), layers)


class MomentDETR(DETRGrounder):
    """Moment-DETR in the harness."""

    def __init__(self, config: Config, video_dim: int, text_dim: int) -> None:
        super().__init__(config, video_dim, text_dim)
        self.network = Network(config, video_dim + 2, text_dim)

    @property
    def own(self) -> MomentDETRConfig:
        """Section `moment_detr`."""
        return self.config.moment_detr

    def forward(self, batch: Batch) -> Answers:
        """Raises InputError where the features' widths are not those the model was built for."""
        self.check_widths(batch)
        answers: Answers = self.network(*prepare(batch, normalize=self.own.normalize))
        return answers

    def saliency_loss(self, output: Answers, batch: Batch, targets: Targets) -> Tensor:
        """A margin between clips of drawn pairs."""
        return margin_loss(output.saliency, draw_pairs(targets), self.own.margin)
