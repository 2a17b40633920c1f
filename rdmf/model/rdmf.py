"""The whole model (paper 3): features in, saliency and moments out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rdmf.config import Config
from rdmf.model.batch import Batch
from rdmf.model.decoder import Decoder, Moments
from rdmf.model.diffusion import TemporalDiffusion
from rdmf.model.fusion import Fusion
from rdmf.model.layers import Projection, masked_mean, sine
from rdmf.store import InputError


@dataclass(frozen=True)
class Output:
    """Attributes:
    saliency: (B, L) logits (Eq. 12 before the sigmoid); padding holds values that mean nothing.
    layers: moments after each decoder layer; the last is the prediction.
    """

    saliency: Tensor
    layers: list[Moments]

    @property
    def moments(self) -> Moments:
        """The prediction: the last layer's moments."""
        return self.layers[-1]


class RDMF(nn.Module):
    """Temporal diffusion, reaction-diffusion fusion, saliency head and DETR head with an IoU branch.

    Args:
        config: all settings.
        video_dim, text_dim: widths of the features, as the cache says.
    """

    def __init__(self, config: Config, video_dim: int, text_dim: int) -> None:
        super().__init__()
        model = config.model
        self.config, self.video_dim, self.text_dim = config, video_dim, text_dim
        self.video = Projection(video_dim, model.hidden, model.input_dropout)
        self.text = Projection(text_dim, model.hidden, model.input_dropout)
        self.diffusion = TemporalDiffusion(config.diffusion, model.hidden)
        self.fusion = Fusion(model, config.fusion)
        self.saliency = nn.Linear(model.hidden, 1)  # Eq. 12: a single linear layer
        self.decoder = Decoder(model, config.decoder)

    def forward(self, batch: Batch) -> Output:
        """Raises InputError where the features' widths are not those the model was built for."""
        if batch.video.shape[-1] != self.video_dim or batch.text.shape[-1] != self.text_dim:
            raise InputError(
                f"this model takes {self.video_dim}-d video and {self.text_dim}-d text features, "
                f"the cache has {batch.video.shape[-1]} and {batch.text.shape[-1]}"
            )
        video, text = batch.video, batch.text
        if self.config.data.normalize:
            video, text = nn.functional.normalize(video, dim=-1), nn.functional.normalize(text, dim=-1)
        video, text = self.video(video), self.text(text)
        if self.config.model.position:
            video = video + sine(batch.centres, video.shape[-1]).to(video.dtype)
        # Whatever lies in padding is wiped here once; the layers below keep it from leaking back.
        video = video * batch.video_mask[..., None]
        video = self.diffusion(video, batch.video_mask)
        fused = self.fusion(video, batch.video_mask, text, batch.text_mask)
        saliency = self.saliency(fused)[..., 0]
        pooled = masked_mean(text, batch.text_mask)
        return Output(saliency.float(), self.decoder(fused, pooled, saliency, batch))


def describe(model: nn.Module) -> str:
    """Number of trainable parameters, for people."""
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"{count / 1e6:.2f} M parameters" if count >= 1e5 else f"{count} parameters"


def moment_scores(moments: Moments, balance: float, combine: str) -> Tensor:
    """The final score (Eq. 13): class probability and predicted IoU, (B, Q) in [0, 1].

    Args:
        balance: weight of the class probability.
        combine: "sum" for the weighted sum, "geometric" for the weighted geometric mean.
    """
    label, iou = torch.sigmoid(moments.labels), torch.sigmoid(moments.ious)
    if combine == "sum":
        return balance * label + (1 - balance) * iou
    return label**balance * iou ** (1 - balance)
