"""Small layers that the fusion and the decoder share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rdmf.model.dropout import Dropout
from rdmf.model.norm import normed
from rdmf.model.rows import Rows, prepared


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid positions: (B, N, d) and (B, N) bool to (B, d); zero where nothing is valid (Eq. 4)."""
    weight = mask[..., None].to(values.dtype)
    return (values * weight).sum(1) / weight.sum(1).clamp_min(1)


def sine(position: Tensor, width: int, *, periods: float = 64.0) -> Tensor:
    """Sinusoidal encoding of a position in [0, 1]: (...,) to (..., width), wavelengths from 2 down to 2 / periods."""
    half = width // 2
    steps = torch.arange(half, device=position.device, dtype=torch.float32) / max(half - 1, 1)
    angle = position.float()[..., None] * math.pi * periods**steps
    return nn.functional.pad(torch.cat((angle.sin(), angle.cos()), -1), (0, width - 2 * half))


#: Clips that a layer of single clips works on at once where no gradient is kept.
PIECE = 4096


def in_pieces(layer: Callable[[Any], Tensor], x: Tensor | Rows) -> Tensor:
    """layer(x) of a layer that treats every clip by itself, (B, L, ...) to (B, L, ...).

    Hours of video in pieces: what lies between the layer's input and its output, wider than both, then stays in the
    processor's caches and does not grow with the video.
    """
    if torch.is_grad_enabled() or x.dim() < 3 or x.shape[1] <= PIECE:
        return layer(x)
    return torch.cat([layer(piece) for piece in x.split(PIECE, 1)], 1)


class FeedForward(nn.Module):
    """Pre-normed residual MLP, with a depthwise convolution over neighbouring clips where `context` > 0."""

    def __init__(self, width: int, dropout: float, *, context: int = 0, expand: int = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into, self.out = nn.Linear(width, expand * width), nn.Linear(expand * width, width)
        self.near = (
            nn.Conv1d(expand * width, expand * width, 2 * context + 1, padding=context, groups=expand * width)
            if context
            else None
        )
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, L, d) to (B, L, d); the mask (B, L) keeps padding out of the convolution."""
        if self.near is None or mask is None:
            return in_pieces(self._alone, x)
        hidden = self.into(normed(self.norm, x, rounded=True)) * mask[..., None]
        hidden = hidden + self.near(hidden.transpose(1, 2)).transpose(1, 2)
        return self.drop.add(x, self.out(self.drop.gelu(hidden)))

    def _alone(self, x: Tensor) -> Tensor:
        """Each clip by itself."""
        return self.drop.add(x, self.out(self.drop.gelu(self.into(normed(self.norm, x, rounded=True)))))


class Projection(nn.Module):
    """Features of any width into the model: norm, dropout, linear, GELU, linear, norm.

    The first norm's scale g and shift s are taken into the first linear layer: y = (W g) drop(x^) + (b + W s). Features
    need no gradient, and so neither does x^: of the three matrix products of the widest layer one falls away. The shift
    is not dropped out with the features, which is all that differs from the layers one after the other.
    """

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(inputs),
            Dropout(dropout),
            nn.Linear(inputs, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.LayerNorm(width),
        )

    def forward(self, x: Tensor | Rows) -> Tensor:
        """(..., inputs), a tensor or rows of a table, to (..., width)."""
        return in_pieces(self._forward, x)

    def _forward(self, x: Tensor | Rows) -> Tensor:
        norm, drop, first, *rest = self.layers
        assert isinstance(norm, nn.LayerNorm)
        assert isinstance(drop, Dropout)
        assert isinstance(first, nn.Linear)
        kind = x.device.type
        takes = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None  # what the product takes
        ready = prepared(x, eps=norm.eps, rate=drop.rate, training=drop.training, dtype=takes)
        out = nn.functional.linear(ready, first.weight * norm.weight, first.bias + first.weight @ norm.bias)
        for layer in rest:
            out = normed(layer, out) if isinstance(layer, nn.LayerNorm) else layer(out)
        return out


class Near(nn.Conv1d):
    """A convolution over each clip and its two neighbours, as one matrix product and two shifts.

    Faster than `conv1d` on the CPU, the more so the fewer the outputs. Parameters are those of
    `nn.Conv1d(inputs, outputs, 3, padding=1)`.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, inputs), zero in padding, to (B, L, outputs)."""
        weight = self.weight.permute(2, 0, 1).flatten(0, 1)  # (3 outputs, inputs): what the clip before sees, ...
        before, here, after = nn.functional.linear(x, weight).chunk(3, -1)
        out = here + nn.functional.pad(before[:, :-1], (0, 0, 1, 0)) + nn.functional.pad(after[:, 1:], (0, 0, 0, 1))
        return out if self.bias is None else out + self.bias


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers with GELU."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, outputs)
    )
