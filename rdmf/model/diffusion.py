"""Temporal diffusion of clip features (paper 3.2, Eq. 1-3)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from rdmf.model.cuts import Walls, inflow
from rdmf.model.fused import heat_steps
from rdmf.model.kernels import chosen
from rdmf.sections import DiffusionConfig


def laplacian(field: Tensor, mask: Tensor) -> Tensor:
    """1-D Laplacian with no-flux ends at each video's own first and last valid clip (Eq. 2).

    Args:
        field: (B, L, d).
        mask: (B, L) bool, True where valid, valid clips first.

    Returns:
        (B, L, d): the sum over valid neighbours of `field[j] - field[i]`; 0 in padding.
    """
    return inflow(field, mask[:, 1:] & mask[:, :-1], 1)


def diffuse_by_steps(field: Tensor, mask: Tensor, rate: Tensor, steps: int) -> Tensor:
    """`steps` explicit Euler steps of the heat equation (Eq. 3): the definition, against which the fast form is tested.

    Args:
        field: (B, L, d).
        mask: (B, L) bool.
        rate: eta * D, scalar or (d,), at most 1/2.
        steps: K.
    """
    for _ in range(steps):
        field = field + rate * laplacian(field, mask)
    return field


def step_kernel(rate: Tensor, steps: int) -> Tensor:
    """Coefficients of `(1 + r (z - 2 + 1/z))^K`, which K Euler steps are away from the ends.

    Args:
        rate: eta * D, (c,) with c = 1 or d.

    Returns:
        (c, 2K + 1), symmetric, each row summing to 1.
    """
    kernel = torch.ones_like(rate)[:, None]
    r = rate[:, None]
    for _ in range(steps):
        wide = nn.functional.pad(kernel, (1, 1))
        kernel = (1 - 2 * r) * wide + r * nn.functional.pad(kernel, (2, 0)) + r * nn.functional.pad(kernel, (0, 2))
    return kernel


def diffuse(field: Tensor, mask: Tensor, rate: Tensor, steps: int) -> Tensor:
    """The same map as `diffuse_by_steps`, exactly, for any K, in the fastest form measured for device and type.

    Where there is a kernel (`rdmf.model.kernels`), it: on the CPU it was faster at every size than the plain loop,
    products with a K-step matrix or a cosine basis, the FFT and a convolution (`rdmf bench --only diffusion`).
    Without one, `in_place` on the CPU, and `mirrored`, which launches least, elsewhere.

    Args and returns: see `diffuse_by_steps`; the result has the field's dtype, padding is carried along unchanged.
    """
    if steps == 0:
        return field
    kernel = chosen(field.device.type, torch.promote_types(field.dtype, rate.dtype))
    if kernel != "plain":
        return heat_steps(field, rate.reshape(-1), mask.sum(1), kernel, steps=steps)
    return (in_place if field.device.type == "cpu" else mirrored)(field, mask, rate.reshape(-1), steps)


def mirrored(field: Tensor, mask: Tensor, rate: Tensor, steps: int) -> Tensor:
    """`diffuse` as one convolution.

    No-flux ends are half-sample symmetric extension, so K steps are one convolution of width 2K + 1 over each video
    mirrored at its own ends (mirrored again and again where it is shorter than K clips).
    """
    batch, length, width = field.shape
    lengths = mask.sum(1).clamp_min(1)[:, None]  # (B, 1)
    place = torch.arange(-steps, length + steps, device=field.device)[None]  # (1, L + 2K)
    folded = torch.remainder(place, 2 * lengths)
    source = torch.where(folded < lengths, folded, 2 * lengths - 1 - folded).clamp(0, length - 1)
    extended = field.gather(1, source[..., None].expand(-1, -1, width))  # (B, L + 2K, d)
    # Powers are taken in float32 at least: bfloat16 would not even keep the rows' sum of 1.
    exact = torch.promote_types(rate.dtype, torch.float32)
    kernel = step_kernel(rate.to(exact), steps).to(field.dtype)  # (c, 2K + 1)
    if kernel.shape[0] == 1:
        lines = extended.transpose(1, 2).reshape(batch * width, 1, -1)
        out = nn.functional.conv1d(lines, kernel[:, None]).reshape(batch, width, length).transpose(1, 2)
    else:
        out = nn.functional.conv1d(extended.transpose(1, 2), kernel[:, None], groups=width).transpose(1, 2)
    return torch.where(mask[..., None], out, field)


def in_place(field: Tensor, mask: Tensor, rate: Tensor, steps: int) -> Tensor:
    """`diffuse` as the steps themselves, in place, with their own backward pass instead of autograd's graph of them."""
    wide = torch.promote_types(torch.promote_types(field.dtype, rate.dtype), torch.float32)
    out: Tensor = _Steps.apply(field.to(wide), mask, rate.to(wide), steps)
    return out.to(field.dtype)


class _Steps(torch.autograd.Function):
    """The map is its own adjoint. With z = K - 1 steps of the result's gradient, the field's gradient is the K-th step,
    z + rate * lap(z), and the rate's is K * sum(field * lap(z))."""

    @staticmethod
    def forward(ctx: Any, field: Tensor, mask: Tensor, rate: Tensor, steps: int) -> Tensor:
        ctx.save_for_backward(field, mask, rate)
        ctx.steps = steps
        return _walk(field, mask, rate, steps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        field, mask, rate = ctx.saved_tensors
        z = _walk(gradient, mask, rate, ctx.steps - 1)
        lap = laplacian(z, mask)
        # Junk in padding must not reach the sum, not even times 0.
        to_rate = (torch.where(mask[..., None], field, 0) * lap).sum((0, 1)).mul_(ctx.steps)
        return z.addcmul_(lap, rate), None, to_rate if len(rate) > 1 else to_rate.sum(0, keepdim=True), None


def _walk(field: Tensor, mask: Tensor, rate: Tensor, steps: int) -> Tensor:
    field = field.clone()
    through = (mask[:, 1:] & mask[:, :-1])[..., None] * rate  # (B, L - 1, 1 or d)
    flux = torch.empty_like(field[:, 1:])
    for _ in range(steps):
        torch.sub(field[:, 1:], field[:, :-1], out=flux)
        flux.mul_(through)
        field[:, :-1] += flux
        field[:, 1:] -= flux
    return field


#: A sigmoid reaches 0 and 1 in floating point; this share of the range is kept free at either end.
MARGIN = 1e-6


def bounded(raw: Tensor, limit: float) -> Tensor:
    """A positive rate below `limit` for every real number an optimiser may reach."""
    return limit * (MARGIN + (1 - 2 * MARGIN) * torch.sigmoid(raw))


def unbounded(value: float, limit: float) -> float:
    """The number that `bounded` turns into `value`; values at or beyond the ends are pulled just inside."""
    share = min(max(value / limit, 1e-3), 1 - 1e-3)
    return math.log(share / (1 - share))


class TemporalDiffusion(nn.Module):
    """K steps of heat flow along time with a learnt coefficient (Eq. 1-3).

    eta * D = limit * sigmoid(raw), so no optimiser step can leave the stable range: with limit 1/2 the maximum
    principle holds, with 1/4 no mode alternates in sign.
    """

    def __init__(self, config: DiffusionConfig, width: int) -> None:
        super().__init__()
        self.steps, self.limit = config.steps, config.limit
        start = unbounded(config.step_size * config.coefficient, config.limit)
        self.raw = nn.Parameter(torch.full((width if config.per_channel else 1,), start))

    def rate(self) -> Tensor:
        """eta * D, (1,) or (d,), in (0, limit)."""
        return bounded(self.raw, self.limit)

    def forward(self, video: Tensor, mask: Tensor, walls: Walls | None = None) -> Tensor:
        """(B, L, d) and its (B, L) mask to the diffused (B, L, d); through walls where there are any."""
        if walls is None:
            return diffuse(video, mask, self.rate(), self.steps)
        rate = self.rate()
        for _ in range(self.steps):
            video = video + rate * walls.spread(video)
        return video
