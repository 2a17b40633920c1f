"""Moment queries that are spans: the decoder of DAB-DETR, which QD-DETR and CG-DETR use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rdmf.baselines.layers import MLP, FeedForward, attend, branch_dropout, inverse_sigmoid, span_position, xavier


class AnchorDecoderLayer(nn.Module):
    """A decoder layer whose queries look by content and by place apart (DAB-DETR). Arguments as EncoderLayer's.

    In the attention to the memory half of each head's channels compare contents, the other half places.

    Args:
        first: whether it is the first layer, the only one that adds the places to the contents as well.
    """

    def __init__(
        self, width: int, heads: int, inner: int, dropout: float, *, first: bool, drop_path: float | None = None
    ) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout

        def linear() -> nn.Linear:
            return nn.Linear(width, width)

        self.self_query, self.self_query_place = linear(), linear()
        self.self_key, self.self_key_place = linear(), linear()
        self.self_value, self.self_out = linear(), linear()
        self.query, self.key, self.value, self.out = linear(), linear(), linear(), linear()
        self.query_place = linear() if first else None
        self.key_place, self.query_waves = linear(), linear()
        self.mlp = FeedForward(width, inner, dropout, "prelu")
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.drop = branch_dropout(dropout, drop_path)
        xavier(self)
        for layer in (self.self_out, self.out):
            nn.init.zeros_(layer.bias)

    def forward(
        self, x: Tensor, place: Tensor, waves: Tensor, memory: Tensor, mask: Tensor, position: Tensor
    ) -> Tensor:
        """x, place and waves (B, Q, d): what the queries hold, and their span embedded with and without an MLP.

        memory and its position (B, N, d), mask (B, N).
        """
        dropout = self.dropout if self.training else 0.0
        query, key = self.self_query(x) + self.self_query_place(place), self.self_key(x) + self.self_key_place(place)
        mixed = self.self_out(attend(query, key, self.self_value(x), self.heads, None, dropout))
        x = self.norm1(x + self.drop(mixed))
        query, key, key_place = self.query(x), self.key(memory), self.key_place(position)
        if self.query_place is not None:
            query, key = query + self.query_place(place), key + key_place
        query, key = self._joined(query, self.query_waves(waves)), self._joined(key, key_place)
        mixed = self.out(attend(query, key, self.value(memory), self.heads, mask[:, None, None], dropout))
        x = self.norm2(x + self.drop(mixed))
        out: Tensor = self.norm3(x + self.drop(self.mlp(x)))
        return out

    def _joined(self, content: Tensor, place: Tensor) -> Tensor:
        """Both (B, N, d) as (B, N, 2 d), each head's share of the one beside its share of the other."""
        parts = [part.unflatten(-1, (self.heads, -1)) for part in (content, place)]
        return torch.cat(parts, -1).flatten(2)


class AnchorDecoder(nn.Module):
    """Moment queries that are spans, moved by every layer (DAB-DETR, as QD-DETR and CG-DETR use it).

    Args:
        layers, queries: how many of each. The rest as EncoderLayer's.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        dropout: float,
        *,
        layers: int,
        queries: int,
        drop_path: float | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            AnchorDecoderLayer(width, heads, inner, dropout, first=i == 0, drop_path=drop_path) for i in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.place = MLP(width, width, width)
        self.scale = MLP(width, width, width)
        self.width = MLP(width, width, 1)
        self.step = MLP(width, width, width, 2)
        for part in (self.place, self.scale, self.width, self.step):
            xavier(part)
        nn.init.zeros_(self.step.layers[-1].bias)  # type: ignore[arg-type]
        self.anchors = nn.Embedding(queries, 2)  # logits of (centre, width)

    def forward(self, memory: Tensor, mask: Tensor, position: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """memory and its position (B, N, d), mask (B, N).

        Returns:
            after each layer the queries (B, Q, d), normed; and for each layer the spans (B, Q, 2), in (0, 1), that it
            was given.
        """
        size, width = len(memory), memory.shape[-1]
        anchor = self.anchors.weight.sigmoid().expand(size, -1, -1)
        x = memory.new_zeros(size, anchor.shape[1], width)
        states, anchors = [], [anchor]
        for i, layer in enumerate(self.layers):
            waves = span_position(anchor, width)
            place = self.place(waves)
            if i:
                waves = waves * self.scale(x)
            # The narrower the span, the narrower the queries look: the published width modulation.
            waves = waves * (self.width(x).sigmoid() / anchor[..., 1:])
            x = layer(x, place, waves, memory, mask, position)
            states.append(self.norm(x))
            if i + 1 < len(self.layers):
                moved = (self.step(x) + inverse_sigmoid(anchor)).sigmoid()
                anchors.append(moved)
                anchor = moved.detach()
        return states, anchors
