"""The kernels as differentiable operations: Gray-Scott steps and heat steps, on whatever `kernels.chosen` names.

Eager code goes through `torch.autograd.Function`, whose own cost is half that of an operator known to the dispatcher;
code that `torch.compile` traces goes through such an operator (`torch.ops.rdmf.*`), which it takes whole into its
graph. Both save their inputs alone: the backward kernels compute what lies between again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rdmf.model import native
from rdmf.model.lines import HEAT_STEPS, REACTION_STEPS, pieces


def gray_scott_steps(
    a: Tensor,
    s: Tensor,
    rates: Tensor,
    lengths: Tensor,
    kernel: str,
    *,
    steps: int,
    eta: float,
    scales: int,
    euler: bool,
) -> tuple[Tensor, Tensor]:
    """N steps of `rdmf.model.reaction.gray_scott`, whose definition they follow.

    Args:
        a, s: (B, L, d), float32, bfloat16 or float16.
        rates: (4, B, d): eta * D of each species, eta * F, eta * (F + k).
        lengths: (B,) int64, valid clips of each video, which come first.
        kernel: "native" or "triton".
        steps, eta, scales: as there.
        euler: forward Euler rather than the split integrator.

    Returns:
        Both fields after the steps, in the dtype that fields and rates promote to; clips beyond a video's own are
        carried along unchanged.
    """
    dtype = torch.promote_types(torch.promote_types(a.dtype, s.dtype), rates.dtype)
    lengths, rates = lengths.contiguous(), rates.float().contiguous()
    apply = torch.ops.rdmf.gray_scott if torch.compiler.is_compiling() else _GrayScott.apply
    if kernel == "native":
        a, s = a.float(), s.float()
    for piece in pieces(steps, native.MOST_STEPS if kernel == "native" else REACTION_STEPS):
        steps -= piece
        # Between launches the state stays in float32.
        into = dtype if steps == 0 and kernel == "triton" else torch.float32
        a, s = apply(a.contiguous(), s.contiguous(), rates, lengths, kernel, piece, eta, scales, euler, into)
    return a.to(dtype), s.to(dtype)


def heat_steps(field: Tensor, rate: Tensor, lengths: Tensor, kernel: str, *, steps: int) -> Tensor:
    """K steps of `rdmf.model.diffusion.diffuse_by_steps`, in float32 whatever the field's dtype.

    Args:
        field: (B, L, d), float32, bfloat16 or float16.
        rate: eta * D, (1,) or (d,).
        lengths: (B,) int64, valid clips of each video, which come first.
        kernel: "native" or "triton".
        steps: K.

    Returns:
        (B, L, d) in the field's dtype; clips beyond a video's own are carried along unchanged.
    """
    dtype, lengths = field.dtype, lengths.contiguous()
    across = rate.float().expand(field.shape[2]).contiguous()
    apply = torch.ops.rdmf.heat if torch.compiler.is_compiling() else _Heat.apply
    launches = [steps] if kernel == "native" else pieces(steps, HEAT_STEPS)
    if kernel == "native" or len(launches) > 1:
        field = field.float()
    for piece in launches:
        field = apply(field.contiguous(), across, lengths, kernel, piece)
    return field.to(dtype)


def _gray_scott_forward(
    a: Tensor,
    s: Tensor,
    rates: Tensor,
    lengths: Tensor,
    kernel: str,
    steps: int,
    eta: float,
    scales: int,
    euler: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    if kernel == "native":
        return native.gray_scott_forward(a, s, rates, lengths, steps, eta, scales, euler)
    from rdmf.model import triton_reaction

    return triton_reaction.forward(a, s, rates, lengths, steps, eta, scales, euler, dtype)


def _gray_scott_backward(
    a: Tensor,
    s: Tensor,
    rates: Tensor,
    lengths: Tensor,
    x: Tensor,
    y: Tensor,
    kernel: str,
    steps: int,
    eta: float,
    scales: int,
    euler: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    x, y = x.contiguous(), y.contiguous()
    if kernel == "native":
        return native.gray_scott_backward(a, s, rates, lengths, x, y, steps, eta, scales, euler)
    from rdmf.model import triton_reaction

    return triton_reaction.backward(a, s, rates, lengths, x, y, steps, eta, scales, euler)


def _heat_forward(field: Tensor, rate: Tensor, lengths: Tensor, kernel: str, steps: int) -> Tensor:
    if kernel == "native":
        return native.heat_forward(field, rate, lengths, steps)
    from rdmf.model import triton_heat

    return triton_heat.forward(field, rate, lengths, steps)


def _heat_backward(
    field: Tensor, rate: Tensor, lengths: Tensor, gradient: Tensor, kernel: str, steps: int
) -> tuple[Tensor, Tensor]:
    gradient = gradient.contiguous()
    if kernel == "native":
        return native.heat_backward(field, rate, lengths, gradient, steps)
    from rdmf.model import triton_heat

    return triton_heat.backward(field, rate, lengths, gradient, steps)


class _GrayScott(torch.autograd.Function):
    """The arguments are those of `_gray_scott_forward`."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        _keep_reaction(ctx, inputs, None)
        return _gray_scott_forward(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, x: Tensor, y: Tensor) -> Any:
        a, s, rates, lengths = ctx.saved_tensors
        return *_gray_scott_backward(a, s, rates, lengths, x, y, *ctx.rest), *[None] * 7


class _Heat(torch.autograd.Function):
    """The arguments are those of `_heat_forward`."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        _keep_heat(ctx, inputs, None)
        return _heat_forward(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        field, rate, lengths = ctx.saved_tensors
        return *_heat_backward(field, rate, lengths, gradient, *ctx.rest), *[None] * 3


def _keep_reaction(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.rest = inputs[4:9]


def _keep_heat(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.rest = inputs[3:]


# The same for torch.compile: operators whose shapes it knows and whose insides it does not look at.


def _operator(name: str, schema: str, function: Any, shapes: Any) -> Any:
    made = torch.library.custom_op(f"rdmf::{name}", function, mutates_args=(), schema=schema)
    made.register_fake(shapes)
    return made


_FIELDS = "Tensor a, Tensor s, Tensor rates, Tensor lengths"
_HOW = "str kernel, int steps, float eta, int scales, bool euler"
_reaction = _operator(
    "gray_scott",
    f"({_FIELDS}, {_HOW}, ScalarType dtype) -> (Tensor, Tensor)",
    _gray_scott_forward,
    lambda *x: (torch.empty_like(x[0], dtype=x[-1]), torch.empty_like(x[1], dtype=x[-1])),
)
_reaction_back = _operator(
    "gray_scott_backward",
    f"({_FIELDS}, Tensor x, Tensor y, {_HOW}) -> (Tensor, Tensor, Tensor)",
    _gray_scott_backward,
    lambda *x: tuple(torch.empty_like(like) for like in x[:3]),
)
_reaction.register_autograd(
    lambda ctx, x, y: (*_reaction_back(*ctx.saved_tensors, x, y, *ctx.rest), *[None] * 7), setup_context=_keep_reaction
)
_heat = _operator(
    "heat",
    "(Tensor field, Tensor rate, Tensor lengths, str kernel, int steps) -> Tensor",
    _heat_forward,
    lambda *x: torch.empty_like(x[0]),
)
_heat_back = _operator(
    "heat_backward",
    "(Tensor field, Tensor rate, Tensor lengths, Tensor gradient, str kernel, int steps) -> (Tensor, Tensor)",
    _heat_backward,
    lambda *x: tuple(torch.empty_like(like) for like in x[:2]),
)
_heat.register_autograd(
    lambda ctx, gradient: (*_heat_back(*ctx.saved_tensors, gradient, *ctx.rest), *[None] * 3), setup_context=_keep_heat
)
