"""Fusing video and text (paper 3.3): the paper's literal form, text-driven blocks, and the cross-attention ablation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rdmf.model.attention import Attention
from rdmf.model.cuts import Walls
from rdmf.model.dropout import Dropout
from rdmf.model.layers import FeedForward, masked_mean
from rdmf.model.norm import concentration, normed
from rdmf.model.reaction import Kinetics, Rates, gray_scott
from rdmf.sections import FusionConfig, ModelConfig


class LiteralFusion(nn.Module):
    """The paper's words taken literally: one Gray-Scott run (Eq. 5-8).

    The video field starts as sigmoid(norm(V_K)), the text field as sigmoid(norm(W pool(T))) repeated along time;
    bounded concentrations, since raw features in a*a*s give NaN within an epoch. One scalar per rate.
    """

    def __init__(self, model: ModelConfig, config: FusionConfig) -> None:
        super().__init__()
        d = model.hidden
        self.config = config
        self.video_norm, self.text_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.text = nn.Linear(d, d)
        self.rates = Rates(config, d, None)
        self.out = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d))

    def start(self, video: Tensor, text: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor, Kinetics]:
        """What the run starts from: the video and the text field, (B, L, d) in (0, 1), and the rates."""
        v = torch.sigmoid(self.video_norm(video))
        pooled = self.text_norm(self.text(masked_mean(text, text_mask)))
        t = torch.sigmoid(pooled)[:, None].expand_as(v)
        return v, t, self.rates()

    def forward(
        self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor, walls: Walls | None = None
    ) -> Tensor:
        """video (B, L, d), text (B, M, d) with their masks, to fused features (B, L, d)."""
        v, t, rates = self.start(video, text, text_mask)
        fused, _ = react(self.config, rates, v, t, video_mask, scales=1, walls=walls)
        out: Tensor = self.out(fused)
        return video + out if self.config.residual else out


def react(
    config: FusionConfig,
    rates: Kinetics,
    video: Tensor,
    text: Tensor,
    mask: Tensor,
    *,
    scales: int,
    walls: Walls | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the system with each modality in its role; returns (video field, text field)."""
    video_first = config.video == "activator"
    a, s = gray_scott(
        video if video_first else text,
        text if video_first else video,
        mask,
        rates,
        steps=config.steps,
        step_size=config.step_size,
        scales=scales,
        integrator=config.integrator,
        walls=walls,
    )
    return (a, s) if video_first else (s, a)


class ReactionBlock(nn.Module):
    """One residual run whose fields are prepared from the features and whose kinetics the query sets.

    Differs from the paper: F, k and both D are per channel and depend on the pooled query, which also sets the gain and
    the level of the video field ("amplified when aligned"); the text field may vary in time (every clip attends to the
    tokens); channel groups diffuse at several time scales. Channels mix only outside the dynamics, in the MLP after it.
    """

    def __init__(self, model: ModelConfig, config: FusionConfig) -> None:
        super().__init__()
        d = model.hidden
        self.config = config
        self.norm = nn.LayerNorm(d)
        self.video, self.video_level = nn.Linear(d, d), nn.LayerNorm(d)
        self.text, self.text_level = nn.Linear(d, d), nn.LayerNorm(d)
        self.attend = Attention(d, config.heads) if config.text_field == "attention" else None
        self.align = nn.Linear(d, 2 * d)
        self.rates = Rates(config, d, d)
        self.out = nn.Sequential(nn.LayerNorm(2 * d), nn.Linear(2 * d, d), Dropout(model.dropout))
        self.mix = FeedForward(d, model.dropout, context=model.context)

    def start(self, video: Tensor, text: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor, Kinetics]:
        """What the run starts from: the video and the text field, (B, L, d) in (0, 1), and the rates."""
        x = normed(self.norm, video, rounded=True)
        pooled = masked_mean(text, text_mask)  # (B, d)
        level = self.text(pooled)[:, None]  # (B, 1, d)
        if self.attend is not None:
            level = level + self.attend(x, text, text, text_mask)  # (B, L, d)
        gain, shift = self.align(pooled)[:, None].chunk(2, -1)  # (B, 1, d) each
        v = concentration(self.video_level, self.video(x), gain, shift)
        t = concentration(self.text_level, level).expand_as(v)
        return v, t, self.rates(pooled)

    def forward(
        self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor, walls: Walls | None = None
    ) -> Tensor:
        """video (B, L, d), text (B, M, d) with their masks, to (B, L, d)."""
        v, t, rates = self.start(video, text, text_mask)
        v, t = react(self.config, rates, v, t, video_mask, scales=self.config.scales, walls=walls)
        norm, linear, drop = self.out
        assert isinstance(norm, nn.LayerNorm)
        assert isinstance(drop, Dropout)
        video = drop.add(video, linear(normed(norm, torch.cat((v, t), -1), rounded=True)))
        mixed: Tensor = self.mix(video, video_mask)
        return mixed


class CrossAttentionBlock(nn.Module):
    """The ablation "w/o RD": clips attend to tokens, then an MLP; no dynamics along time."""

    def __init__(self, model: ModelConfig, config: FusionConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(model.hidden)
        self.attend = Attention(model.hidden, config.heads)
        self.drop = Dropout(model.dropout)
        self.mix = FeedForward(model.hidden, model.dropout, context=model.context)

    def forward(
        self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor, walls: Walls | None = None
    ) -> Tensor:
        """video (B, L, d), text (B, M, d) with their masks, to (B, L, d)."""
        video = self.drop.add(video, self.attend(normed(self.norm, video, rounded=True), text, text, text_mask))
        mixed: Tensor = self.mix(video, video_mask)
        return mixed


class Fusion(nn.Module):
    """The fusion that `fusion.kind` names, closed by a norm."""

    def __init__(self, model: ModelConfig, config: FusionConfig) -> None:
        super().__init__()
        blocks: list[nn.Module]
        if config.kind == "literal":
            blocks = [LiteralFusion(model, config)]
        elif config.kind == "blocks":
            blocks = [ReactionBlock(model, config) for _ in range(config.blocks)]
        else:
            blocks = [CrossAttentionBlock(model, config) for _ in range(config.blocks)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(model.hidden)

    def forward(
        self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor, walls: Walls | None = None
    ) -> Tensor:
        """video (B, L, d), text (B, M, d) with their masks, to fused features (B, L, d)."""
        for block in self.blocks:
            video = block(video, video_mask, text, text_mask, walls)
        return normed(self.norm, video)
