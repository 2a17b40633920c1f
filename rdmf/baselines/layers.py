"""Layers that the published models share: attention, encoder, text-to-video and decoder layers, projections, positions.

Batch first throughout: features (B, N, d), masks (B, N) bool, True where valid. All layers are post-normed, as in
every published configuration. Weights start as theirs do: Xavier-uniform, attention's with queries, keys and values
counted as one matrix.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from rdmf.model.batch import Batch
from rdmf.model.dropout import Dropout
from rdmf.model.dropout import dropout as drop


def prepare(batch: Batch, *, normalize: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the authors' data loaders make of features: rows of unit length, then each clip's start and end as shares.

    Args:
        normalize: divide each row by its Euclidean norm plus 1e-5; else leave it as it is.

    Returns:
        video (B, L, d_v + 2), its mask (B, L), text (B, M, d_t), its mask (B, M); zeros in padding.
    """
    video, text = batch.video.float(), batch.text.float()
    if normalize:
        video, text = (x / (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + 1e-5) for x in (video, text))
    ends = torch.stack((batch.edges[:, :-1], batch.edges[:, 1:]), -1)
    video = torch.cat((video, ends), -1) * batch.video_mask[..., None]
    return video, batch.video_mask, text * batch.text_mask[..., None], batch.text_mask


def sine_position(mask: Tensor, width: int) -> Tensor:
    """Place of each position among the valid ones, as interleaved sines and cosines: (B, N) to (B, N, width).

    Positions run from 1/n to 1 of a full turn whatever n is; wavelengths grow to 10000 turns.
    """
    count = mask.cumsum(1, dtype=torch.float32)
    return _waves(count / (count[:, -1:] + 1e-6), width)


def span_position(spans: Tensor, width: int) -> Tensor:
    """Centre and width of spans (..., 2) in [0, 1] to (..., width): half the channels for each."""
    return torch.cat([_waves(part, width // 2) for part in spans.unbind(-1)], -1)


def _waves(share: Tensor, width: int) -> Tensor:
    """(...,) shares of a full turn to (..., width)."""
    place = torch.arange(width, dtype=torch.float32, device=share.device)
    angle = share[..., None] * 2 * math.pi / 10000 ** (2 * (place // 2) / width)
    return torch.where(place % 2 == 0, angle.sin(), angle.cos())


def inverse_sigmoid(x: Tensor, eps: float = 1e-3) -> Tensor:
    """Logit of x in [0, 1]; numerator and denominator are kept above eps each, as published."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp_min(eps) / (1 - x).clamp_min(eps))


class InputProjection(nn.Module):
    """Features of any width into the model: norm, dropout, linear, so many times, with a ReLU between two.

    Args:
        inputs: width of the features. width: of the model. layers: how many times.
    """

    def __init__(self, inputs: int, width: int, dropout: float, layers: int) -> None:
        super().__init__()
        sizes = [inputs, *[width] * (layers - 1)]
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in sizes)
        self.linears = nn.ModuleList(nn.Linear(size, width) for size in sizes)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., width)."""
        for i, (norm, linear) in enumerate(zip(self.norms, self.linears)):
            x = linear(self.dropout(norm(x if i == 0 else x.relu())))
        return x


class MLP(nn.Module):
    """Linear layers with a ReLU between two.

    Args:
        sizes: widths from input to output.
    """

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """(..., sizes[0]) to (..., sizes[-1])."""
        for i, layer in enumerate(self.layers):
            x = layer(x if i == 0 else x.relu())
        return x


def attend(
    query: Tensor, key: Tensor, value: Tensor, heads: int, allowed: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """Multi-head attention without projections.

    Args:
        query: (B, N, c). key: (B, S, c). value: (B, S, e); c and e divisible by heads.
        allowed: bool, broadcast to (B, heads, N, S), True where a query may look. dropout: of the weights.

    Returns:
        (B, N, e).
    """
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    if dropout and q.device.type == "cpu":
        # The weights are wanted anyway, and PyTorch's own path spends more on their mask than on the products.
        weights = drop(attention_scores(q, k, allowed).softmax(-1), dropout, training=True)
        mixed = weights @ v
    else:
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=dropout)
    return mixed.transpose(1, 2).flatten(2)


def attention_weights(query: Tensor, key: Tensor, heads: int, allowed: Tensor | None = None) -> Tensor:
    """The weights that `attend` would mix values with, (B, heads, N, S)."""
    q, k = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key))
    return attention_scores(q, k, allowed).softmax(-1)


def attention_scores(q: Tensor, k: Tensor, allowed: Tensor | None) -> Tensor:
    """Scaled products of q (B, heads, N, c) and k (B, heads, S, c): (B, heads, N, S), minus infinity where not
    allowed."""
    scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)
    return scores if allowed is None else scores.masked_fill(~allowed, -math.inf)


class Attention(nn.Module):
    """Multi-head attention with its four projections.

    Args:
        width: d, divisible by heads. dropout: of the attention weights.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        for layer in (self.query, self.key, self.value, self.out):
            # The authors keep queries, keys and values in one (3 d, d) matrix, whose Xavier bound is smaller.
            nn.init.xavier_uniform_(layer.weight, gain=1.0 if layer is self.out else math.sqrt(0.5))
            nn.init.zeros_(layer.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None) -> Tensor:
        """query (B, N, d), key and value (B, S, d).

        Args:
            allowed: bool, (B, S) for a mask of the memory, or broadcast to (B, heads, N, S).
        """
        allowed = allowed[:, None, None] if allowed is not None and allowed.ndim == 2 else allowed
        dropout = self.dropout if self.training else 0.0
        mixed = attend(self.query(query), self.key(key), self.value(value), self.heads, allowed, dropout)
        out: Tensor = self.out(mixed)
        return out

    def weights(self, query: Tensor, key: Tensor, allowed: Tensor | None = None) -> Tensor:
        """The attention weights (B, heads, N, S) of the same arguments, without dropout."""
        allowed = allowed[:, None, None] if allowed is not None and allowed.ndim == 2 else allowed
        return attention_weights(self.query(query), self.key(key), self.heads, allowed)


class FeedForward(nn.Module):
    """The MLP inside a transformer layer.

    Args:
        inner: its width between the two linears. activation: "relu", "gelu" or "prelu" (one learnt slope, 0.25 at
            first).
    """

    def __init__(self, width: int, inner: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(width, inner), nn.Linear(inner, width)
        self.activation: nn.Module = {"relu": nn.ReLU, "gelu": nn.GELU, "prelu": nn.PReLU}[activation]()
        self.dropout = Dropout(dropout)
        xavier(self)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        out: Tensor = self.out(self.dropout(self.activation(self.into(x))))
        return out


class DropPath(nn.Module):
    """Leaves a residual branch out, for a whole sample at a time, and scales it up where it stays."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) to the same."""
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand((len(x), *[1] * (x.ndim - 1)), device=x.device) >= self.rate
        return x * keep / (1 - self.rate)


def branch_dropout(dropout: float, drop_path: float | None) -> nn.Module:
    """What stands on a residual branch: DropPath where there is a rate for it, else ordinary dropout."""
    return Dropout(dropout) if drop_path is None else DropPath(drop_path)


class EncoderLayer(nn.Module):
    """Self-attention, then an MLP, each added and normed.

    Args:
        heads, inner: attention heads and the MLP's inner width. activation: see FeedForward.
        drop_path: share of samples for which a branch is left out in training; it takes the place of the dropout there.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        dropout: float,
        *,
        activation: str = "relu",
        drop_path: float | None = None,
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.mlp = FeedForward(width, inner, dropout, activation)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop = branch_dropout(dropout, drop_path)

    def forward(self, x: Tensor, mask: Tensor | None, position: Tensor) -> Tensor:
        """x and its position (B, N, d), mask (B, N); positions go to queries and keys, not to values."""
        place = x + position
        x = self.norm1(x + self.drop(self.attention(place, place, x, mask)))
        out: Tensor = self.norm2(x + self.drop(self.mlp(x)))
        return out


class TextToVideoLayer(nn.Module):
    """Clips attend to tokens (QD-DETR 3.2): the text enters the video before the encoder.

    As published the MLP reads the normed sum and is added to the sum before the norm. Arguments as EncoderLayer's.

    Args:
        mask_layout: "head-major": as published, the mask of a padded clip on a padded token is laid out head by head
            where the attention reads it sample by sample, so that head h of sample b takes the mask of sample
            (b * heads + h) mod B; "batch-major": each sample its own, which then hides nothing that the mask of the
            tokens does not.
    """

    def __init__(
        self, width: int, heads: int, inner: int, dropout: float, *, mask_layout: str, activation: str = "prelu"
    ) -> None:
        super().__init__()
        self.mask_layout = mask_layout
        self.attention = Attention(width, heads, dropout)
        self.mlp = FeedForward(width, inner, dropout, activation)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop = Dropout(dropout)

    def forward(self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor, position: Tensor) -> Tensor:
        """video and its position (B, L, d), text (B, M, d), their masks (B, L) and (B, M); the new video (B, L, d)."""
        allowed = text_to_video_mask(video_mask, text_mask, self.attention.heads, self.mask_layout)
        x = video + self.drop(self.attention(video + position, text, text, allowed))
        out: Tensor = self.norm2(x + self.drop(self.mlp(self.norm1(x))))
        return out


def text_to_video_mask(video_mask: Tensor, text_mask: Tensor, heads: int, layout: str) -> Tensor:
    """Where clips may look, (B, heads, L, M) or broadcastable to it: see TextToVideoLayer."""
    allowed = text_mask[:, None, None]
    if layout == "batch-major":
        return allowed
    size = len(video_mask)
    other = (torch.arange(size * heads, device=video_mask.device) % size).view(size, heads)
    both_padding = ~video_mask[other][..., None] & ~text_mask[other][:, :, None]
    return allowed & ~both_padding


class DecoderLayer(nn.Module):
    """Moment queries attend to each other, then to the memory, then an MLP (DETR). Arguments as EncoderLayer's."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.among = Attention(width, heads, dropout)
        self.across = Attention(width, heads, dropout)
        self.mlp = FeedForward(width, inner, dropout, "relu")
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, query: Tensor, memory: Tensor, mask: Tensor, position: Tensor) -> Tensor:
        """x (B, Q, d), the queries' embedding (Q, d), memory and its position (B, N, d), mask (B, N)."""
        place = x + query
        x = self.norm1(x + self.drop(self.among(place, place, x)))
        x = self.norm2(x + self.drop(self.across(x + query, memory + position, memory, mask)))
        out: Tensor = self.norm3(x + self.drop(self.mlp(x)))
        return out


def xavier(part: nn.Module) -> None:
    """Xavier-uniform matrices for every linear layer of a part; biases stay."""
    for layer in part.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
