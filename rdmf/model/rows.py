"""Features that still lie in their table, and what the widest layers want of them: gathered, normalised, dropped out.

On the CPU a compiled kernel (`rows.c`) makes them ready in one pass: a row is read once as it is stored and written
once as the matrix product takes it. PyTorch's operations do the same elsewhere, one pass after the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rdmf.model import native
from rdmf.model.dropout import check_rate, dropout, share_of, usable


@dataclass(frozen=True)
class Rows:
    """Rows of a table that stand for a tensor (B, L, d), float32, not gathered yet.

    Attributes:
        table: (N, d) as stored: float32, float16 or bfloat16.
        index: (B, L) int64, a row of the table each; -1 where there is nothing, which reads as zeros.
    """

    table: Tensor
    index: Tensor

    @property
    def shape(self) -> torch.Size:
        """(B, L, d)."""
        return torch.Size((*self.index.shape, self.table.shape[-1]))

    @property
    def device(self) -> torch.device:
        """Where table and index lie."""
        return self.table.device

    def dim(self) -> int:
        """Dimensions of the tensor these rows stand for."""
        return self.index.dim() + 1

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Tensor:
        """Gathered where they lie, for a table is not moved for a batch; then on the device."""
        return self.gathered().to(device, non_blocking=non_blocking)

    def split(self, size: int, dim: int) -> list[Rows]:
        """Pieces of at most `size` along dimension `dim`, which is not the last."""
        return [Rows(self.table, piece) for piece in self.index.split(size, dim)]

    def gathered(self) -> Tensor:
        """(B, L, d) float32."""
        return self.table[self.index.clamp_min(0)].float().mul_((self.index >= 0)[..., None])


def prepared(x: Tensor | Rows, *, eps: float, rate: float, training: bool, dtype: torch.dtype | None = None) -> Tensor:
    """Rows normalised to mean 0 and variance 1, some numbers of each dropped out in training, rounded.

    Args:
        x: (..., d), a tensor or rows of a table.
        eps: what is added to the variance.
        rate: the probability that a number becomes zero, as `rdmf.model.dropout.dropout` has it.
        dtype: of the result; None: that of x.

    Returns:
        (..., d); zeros where x is zero throughout.

    Raises:
        ValueError: a rate outside [0, 1].
    """
    check_rate(rate)
    given = torch.float32 if isinstance(x, Rows) else x.dtype
    wanted, dropped = dtype or given, share_of(rate) if training else 0
    needs = isinstance(x, Tensor) and x.requires_grad and torch.is_grad_enabled()
    table = x.table if isinstance(x, Rows) else x
    if not needs and x.shape.numel() and usable(table, given=native.KINDS, wanted=wanted, dropped=dropped):
        index = x.index if isinstance(x, Rows) else None
        rows = table.reshape(-1, table.shape[-1]) if index is None else table
        return native.prepare_rows(rows, index, eps, dropped, wanted).view(x.shape)
    whole = x.gathered() if isinstance(x, Rows) else x
    # Rounded before dropout, which then moves half as much.
    normal = nn.functional.layer_norm(whole, whole.shape[-1:], eps=eps).to(wanted)
    return dropout(normal, rate, training=training)
