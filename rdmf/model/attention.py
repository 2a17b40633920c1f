"""Multi-head attention with as little arithmetic as the sizes allow."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention over a masked memory.

    A score is q_h . k_h with q = W_q x + b_q and k = W_k y + b_k. Where there are many queries and few keys (clips that
    look at words), W_q is applied to the keys instead, head by head, and queries are used as they come: x . (W_q^T k).
    Where there are few queries (moments that look at clips), W_k is applied to them. The weights of values and outputs
    are treated alike. So both products with a d x d matrix for each row of the longer side fall away, and the attention
    itself becomes two products of whole width. The result is the same to rounding.

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
        count, size, width = query.shape[1], key.shape[1], query.shape[2]
        if query.device.type == "cpu" and (self.heads - 1) * count * size < abs(count - size) * width:
            folded = self._few_keys if size < count else self._few_queries
            return folded(query, key, value, mask)
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N or S, d / heads)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        allowed = None if mask is None else mask[:, None, None]
        if q.dtype == torch.bfloat16 and q.device.type == "cpu":
            # PyTorch's backward pass in bfloat16 takes four times as long there as that in float32.
            with torch.autocast("cpu", enabled=False):
                mixed = nn.functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=allowed)
        else:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _few_keys(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        batch, size, heads = len(key), key.shape[1], self.heads
        told = self.key(key) * self._scale()
        keys = self._each_head(told, self.query.weight)  # (B, heads * S, d)
        level = (told * self.query.bias).unflatten(-1, (heads, -1)).sum(-1).transpose(1, 2)  # (B, heads, S)
        scores = _exact(torch.bmm(query.to(keys.dtype), keys.transpose(1, 2)))  # (B, N, heads * S)
        scores = scores.view(batch, -1, heads, size) + _where_allowed(_exact(level), mask)[:, None]
        weight = torch.softmax(scores, -1).flatten(2)
        values = self._each_head(self.value(value), self.out.weight.t())  # (B, heads * S, d)
        return torch.bmm(weight.to(values.dtype), values) + self.out.bias.to(values.dtype)

    def _few_queries(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        batch, count, heads = len(query), query.shape[1], self.heads
        asked = self.query(query) * self._scale()
        queries = self._each_head(asked, self.key.weight)  # (B, heads * N, d)
        level = (asked * self.key.bias).unflatten(-1, (heads, -1)).sum(-1).transpose(1, 2).flatten(1)
        scores = _exact(torch.bmm(queries, key.to(queries.dtype).transpose(1, 2))) + _exact(level)[..., None]
        weight = torch.softmax(_where_allowed(scores, mask), -1)  # (B, heads * N, S)
        mixed = torch.bmm(weight.to(queries.dtype), value.to(queries.dtype))  # (B, heads * N, d)
        by_head = mixed.view(batch, heads, count, -1).transpose(0, 1).flatten(1, 2)  # (heads, B * N, d)
        narrow = torch.bmm(by_head, self._by_head(self.value.weight, by_head.dtype).transpose(1, 2))
        seen = narrow.view(heads, batch, count, -1).permute(1, 2, 0, 3).flatten(2) + self.value.bias.to(narrow.dtype)
        out: Tensor = self.out(seen)
        return out

    def _scale(self) -> float:
        return (self.query.out_features // self.heads) ** -0.5

    def _by_head(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """A matrix (d, d) by the heads of its rows, (heads, d / heads, d)."""
        return weight.to(dtype).unflatten(0, (self.heads, -1))

    def _each_head(self, x: Tensor, weight: Tensor) -> Tensor:
        """Each head's share of x (B, S, d) times that head's rows of a matrix (d, d): (B, heads * S, d)."""
        batch, size = x.shape[:2]
        shares = x.view(batch * size, self.heads, -1).transpose(0, 1)  # (heads, B * S, d / heads)
        wide = torch.bmm(shares, self._by_head(weight, x.dtype))  # (heads, B * S, d)
        return wide.view(self.heads, batch, size, -1).transpose(0, 1).flatten(1, 2)


def _exact(x: Tensor) -> Tensor:
    """In float32 at least: a softmax in less loses small weights."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _where_allowed(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Scores (B, ..., S) for a mask (B, S): what is not allowed gets no weight, and nothing becomes NaN."""
    return scores if mask is None else scores.masked_fill(~mask[:, None], torch.finfo(scores.dtype).min)
