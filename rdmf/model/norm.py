"""Layer norm in training, in the types at hand, alone or within a sigmoid.

On the CPU a compiled kernel (`norm.c`) spares passes where the result is bfloat16 or a sigmoid follows. Else it is
PyTorch's own, which is as fast and takes less to call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rdmf.model import native
from rdmf.model.dropout import usable


def normed(layer: nn.LayerNorm, x: Tensor, *, rounded: bool = False) -> Tensor:
    """What the layer makes of x (..., d), to the same shape.

    Args:
        rounded: only matrix products look at the result. Under autocast it then has the type that they take, to which
            each of them would round it; else it has the type that PyTorch gives it.
    """
    kind = x.device.type
    cast = rounded and torch.is_autocast_enabled(kind)
    wanted = torch.get_autocast_dtype(kind) if cast else x.dtype
    if wanted != torch.bfloat16 or not _fits(layer, x, wanted):
        out: Tensor = layer(x)
        return out.to(wanted) if cast else out
    found: Tensor = _Normed.apply(x, layer.weight[None], layer.bias[None], layer.eps, False)
    return found


def concentration(layer: nn.LayerNorm, x: Tensor, gain: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """sigmoid(layer(x) * (1 + gain) + shift): what a field starts from, in (0, 1).

    Args:
        x: (B, L, d).
        gain, shift: (B, 1, d), both or neither.

    Returns:
        (B, L, d); float32 from the kernel, as the reaction takes it, else of the type that PyTorch gives it.
    """
    if not _fits(layer, x, torch.float32):
        level = layer(x)
        return torch.sigmoid(level if gain is None or shift is None else level * (1 + gain) + shift)
    weight, bias = layer.weight[None], layer.bias[None]
    if gain is not None and shift is not None:
        gain = 1 + gain.squeeze(1).float()
        weight, bias = weight * gain, bias * gain + shift.squeeze(1).float()  # (B, d)
    found: Tensor = _Normed.apply(x, weight, bias, layer.eps, True)
    return found


def _fits(layer: nn.LayerNorm, x: Tensor, wanted: torch.dtype) -> bool:
    there = layer.training and layer.elementwise_affine and layer.bias is not None and bool(x.numel())
    same = layer.normalized_shape == x.shape[-1:] and layer.weight.dtype == torch.float32
    return there and same and usable(x, given=native.RESULTS, wanted=wanted, dropped=0)


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, bent: bool) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        out, kept = native.norm_forward(x, weight, bias.contiguous(), eps, bent=bent)
        ctx.save_for_backward(x, weight, kept, *([out] if bent else []))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight, kept, *bent = ctx.saved_tensors
        return *native.norm_backward(x, weight, kept, bent[0] if bent else None, gradient), None, None
