"""Small layers that the fusion and the decoder share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rdmf.model.dropout import Dropout


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


class Attention(nn.Module):
    """Multi-head attention over a masked memory.

    Args:
        width: d, divisible by heads.
        heads: number of heads.

    There is no dropout on the attention weights: it forbids the fused kernels and costs more than the attention itself.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """query (B, N, d), key and value (B, S, d), mask (B, S) bool, True where valid; returns (B, N, d)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N or S, d / heads)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        allowed = None if mask is None else mask[:, None, None]
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


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
        hidden = self.into(self.norm(x))
        if self.near is not None and mask is not None:
            hidden = hidden * mask[..., None]
            hidden = hidden + self.near(hidden.transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.drop(self.out(self.drop(nn.functional.gelu(hidden))))
        return out


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

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., width)."""
        norm, drop, first, *rest = self.layers
        assert isinstance(norm, nn.LayerNorm)
        assert isinstance(first, nn.Linear)
        x = drop(nn.functional.layer_norm(x, norm.normalized_shape, eps=norm.eps))
        x = nn.functional.linear(x, first.weight * norm.weight, first.bias + first.weight @ norm.bias)
        for layer in rest:
            x = layer(x)
        return x


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
