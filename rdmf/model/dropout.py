"""Dropout, alone and together with what stands beside it, by draws that cost next to nothing on the CPU.

PyTorch makes a random number of 53 bits an element there, 23 ns of one core, more than the arithmetic of a small
transformer layer. Here element i of a tensor keeps its value if the i-th of a sequence of 16-bit draws is large enough,
and that draw is a function of i and of one 64-bit seed (`draws`, `numbers.h`), taken from torch's generator. The
backward pass draws again, so that no mask is kept. A compiled kernel (`pointwise.c`) does each function here in one
pass; PyTorch's operations give the same where there is none. On a GPU PyTorch's own dropout is used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rdmf.model import native
from rdmf.model.kernels import compiled_for

_DRAWS = 2**16
#: Multipliers of the three rounds: those of numbers.h, as signed numbers.
_MULTIPLIERS = (0xED5AD4BB - 2**32, 0xAC4C1B51 - 2**32, 0x31848BAB)


def check_rate(rate: float) -> None:
    """Raises ValueError for a rate outside [0, 1]."""
    if not 0 <= rate <= 1:
        raise ValueError(f"a dropout rate lies in [0, 1], not {rate}")


def share_of(rate: float) -> int:
    """How many of 65536 draws drop their element."""
    return round(rate * _DRAWS)


def draws(seed: Tensor, count: int) -> Tensor:
    """The first draws of `numbers.h` by PyTorch's operations: (count,) int16, every value equally likely.

    Args:
        seed: (1,) int64.
    """
    first, second = seed.view(torch.int32)
    h = torch.arange(-(-count // 2), device=seed.device).to(torch.int32) ^ first
    h = (h ^ (h >> 17 & 0x7FFF)) * _MULTIPLIERS[0]  # a shift keeps the sign, so its copies are wiped
    h = (h ^ (h >> 11 & 0x1FFFFF)) * _MULTIPLIERS[1] + second
    h = (h ^ (h >> 15 & 0x1FFFF)) * _MULTIPLIERS[2]
    h = h ^ (h >> 14 & 0x3FFFF)
    return h.view(torch.int16)[:count]


def usable(*tensors: Tensor, given: dict[torch.dtype, int], wanted: torch.dtype, dropped: int) -> bool:
    """Whether a compiled kernel takes tensors of these types and gives the wanted one."""
    types = wanted in native.RESULTS and all(x.dtype in given for x in tensors)
    return types and dropped < _DRAWS and compiled_for(*tensors)


def dropout(x: Tensor, rate: float, *, training: bool) -> Tensor:
    """Zero each element with probability `rate`, rounded to 1 / 65536, and scale up the others so that the mean stays.

    Args:
        x: (..., d), any type of floating point.

    Raises:
        ValueError: a rate outside [0, 1].
    """
    check_rate(rate)
    if not training or rate == 0:
        return x
    dropped = share_of(rate)
    if x.device.type != "cpu" or dropped == _DRAWS:
        return nn.functional.dropout(x, rate, training=True)
    seed = native.fresh_seed()
    if usable(x, given=native.RESULTS, wanted=x.dtype, dropped=dropped):
        out: Tensor = _Dropped.apply(x, seed, dropped)
        return out
    kept = (draws(seed, x.numel()).view(x.shape) >= dropped - _DRAWS // 2).to(x.dtype)
    return x * kept.mul_(_DRAWS / (_DRAWS - dropped))


def dropped_gelu(x: Tensor, rate: float, *, training: bool) -> Tensor:
    """`dropout(gelu(x))`, any shape to the same; in evaluation PyTorch's own GELU."""
    check_rate(rate)
    dropped = share_of(rate)
    if not training or not usable(x, given=native.RESULTS, wanted=x.dtype, dropped=dropped):
        return dropout(nn.functional.gelu(x), rate, training=training)
    out: Tensor = _DroppedGelu.apply(x, native.fresh_seed(), dropped)
    return out


def add_dropped(x: Tensor, branch: Tensor, rate: float, *, training: bool) -> Tensor:
    """`x + dropout(branch)`, both of one shape, as residual layers want it; the sum has the wider of the two types."""
    check_rate(rate)
    dropped = share_of(rate)
    fits = x.dtype == torch.promote_types(x.dtype, branch.dtype) and x.shape == branch.shape
    if not training or not fits or not usable(x, branch, given=native.RESULTS, wanted=x.dtype, dropped=dropped):
        return x + dropout(branch, rate, training=training)
    out: Tensor = _AddDropped.apply(x, branch, native.fresh_seed(), dropped)
    return out


class Dropout(nn.Module):
    """`dropout` as a layer.

    Args:
        rate: the probability of a zero, in [0, 1].
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return dropout(x, self.rate, training=self.training)

    def gelu(self, x: Tensor) -> Tensor:
        """`dropped_gelu`."""
        return dropped_gelu(x, self.rate, training=self.training)

    def add(self, x: Tensor, branch: Tensor) -> Tensor:
        """`add_dropped`."""
        return add_dropped(x, branch, self.rate, training=self.training)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"rate={self.rate}"


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: Tensor, dropped: int) -> Tensor:
        ctx.seed, ctx.dropped = seed, dropped
        return native.pointwise("drop", x, None, x.dtype, seed, dropped)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return native.pointwise("drop", gradient, None, gradient.dtype, ctx.seed, ctx.dropped), None, None


class _DroppedGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: Tensor, dropped: int) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x)
        ctx.seed, ctx.dropped = seed, dropped
        return native.pointwise("gelu", x, None, x.dtype, seed, dropped)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return native.pointwise("gelu back", x, gradient, x.dtype, ctx.seed, ctx.dropped), None, None


class _AddDropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, branch: Tensor, seed: Tensor, dropped: int) -> Tensor:
        ctx.seed, ctx.dropped, ctx.dtype = seed, dropped, branch.dtype
        return native.pointwise("add", branch, x, x.dtype, seed, dropped)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient, native.pointwise("drop", gradient, None, ctx.dtype, ctx.seed, ctx.dropped), None, None
