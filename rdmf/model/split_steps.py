"""The split integrator's steps with their own backward pass: no graph of small operations, states recomputed.

`rdmf.model.reaction.gray_scott` holds the definition; tests compare this with it, values and gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

TINY = 1e-12


def neighbour_masks(mask: Tensor, scales: int, dtype: torch.dtype) -> list[Tensor | None]:
    """For each distance 2^g: (B, 1, L - 2^g), 1 where both ends are valid; None where the distance reaches L."""
    out: list[Tensor | None] = []
    for g in range(scales):
        reach = 2**g
        out.append((mask[:, reach:] & mask[:, :-reach])[:, None].to(dtype) if reach < mask.shape[1] else None)
    return out


def add_spread(out: Tensor, field: Tensor, rate: Tensor, masks: list[Tensor | None]) -> Tensor:
    """out += rate * spread(field), in place: (B, d, L), rate (B, d, 1); out must not share memory with field."""
    for g, (into, part, r) in enumerate(
        zip(out.chunk(len(masks), 1), field.chunk(len(masks), 1), rate.chunk(len(masks), 1))
    ):
        mask = masks[g]
        if mask is not None:
            reach = 2**g
            flux = (part[..., reach:] - part[..., :-reach]).mul_(mask).mul_(r)
            into[..., :-reach] += flux
            into[..., reach:] -= flux
    return out


def _plus(total: Tensor | None, more: Tensor) -> Tensor:
    return more if total is None else total.add_(more)


def split_steps(*inputs: Any) -> tuple[Tensor, Tensor]:
    """The steps of `SplitSteps`, whose arguments these are, where no gradient is wanted: no state is kept."""
    a, s, rate_a, rate_s, feed, decay, (mask, steps, eta, scales) = inputs
    masks = neighbour_masks(mask, scales, a.dtype)
    for _ in range(steps):
        a, s, _ = _step(a, s, rate_a, rate_s, feed, decay, eta, masks)[3:]
    return a, s


class SplitSteps(torch.autograd.Function):
    """N split steps; see `gray_scott`. Saves the state before each step and recomputes the rest."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, s: Tensor, rate_a: Tensor, rate_s: Tensor, feed: Tensor, decay: Tensor, extra: Any
    ) -> tuple[Tensor, Tensor]:
        """Fields (B, d, L), time last so that neighbours lie side by side; rates (B, d, 1): eta * D of each species,
        eta * F, eta * (F + k); extra: (mask (B, L), steps, eta, scales)."""
        mask, steps, eta, scales = extra
        masks = neighbour_masks(mask, scales, a.dtype)
        states = []
        for _ in range(steps):
            states += [a, s]
            a, s, _ = _step(a, s, rate_a, rate_s, feed, decay, eta, masks)[3:]
        ctx.save_for_backward(rate_a, rate_s, feed, decay, mask, *states)
        ctx.eta, ctx.scales = eta, scales
        return a, s

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Adjoint of every step, last first; the spread operator is its own adjoint."""
        rate_a, rate_s, feed, decay, mask, *states = ctx.saved_tensors
        masks = neighbour_masks(mask, ctx.scales, rate_a.dtype)
        ga, gs = gradients
        to_rate_a = to_rate_s = to_feed = to_decay = None
        for a, s in zip(states[-2::-2], states[-1::-2]):
            a1, s1, kept, _, _, slope = _step(a, s, rate_a, rate_s, feed, decay, ctx.eta, masks, backward=True)
            # Rates are constant along time, so their gradients are sums over clips of one product each.
            to_decay = _plus(to_decay, (ga * a1).sum(2, keepdim=True).neg_())
            to_feed = _plus(to_feed, (gs * (1 - s1)).sum(2, keepdim=True))
            difference = ga - gs
            ga1 = (ga * (1 - decay)).addcmul_(difference, slope)
            gs1 = (ga - feed * gs).addcmul_(kept, difference, value=-1)
            # rate * lap(a) is what the diffusion added; dividing by the rate is harmless, for the gradient of the
            # parameter behind it is multiplied by the rate again.
            to_rate_a = _plus(to_rate_a, (ga1 * (a1 - a)).sum(2, keepdim=True).div_(rate_a.clamp_min(TINY)))
            to_rate_s = _plus(to_rate_s, (gs1 * (s1 - s)).sum(2, keepdim=True).div_(rate_s.clamp_min(TINY)))
            ga = add_spread(ga1.clone(), ga1, rate_a, masks)
            gs = add_spread(gs1.clone(), gs1, rate_s, masks)
        return ga, gs, to_rate_a, to_rate_s, to_feed, to_decay, None


def _step(
    a: Tensor,
    s: Tensor,
    rate_a: Tensor,
    rate_s: Tensor,
    feed: Tensor,
    decay: Tensor,
    eta: float,
    masks: list[Tensor | None],
    *,
    backward: bool = False,
) -> tuple[Tensor, ...]:
    """(a1, s1, kept, a2, s2, slope): diffused states, 1 / (1 + eta a1^2), next states, and 2 eta a1 s1 kept^2.

    Forward needs the next states only, backward the others; what is not needed is not computed.
    """
    a1 = add_spread(a.clone(), a, rate_a, masks)
    s1 = add_spread(s.clone(), s, rate_s, masks)
    kept = (a1 * a1).mul_(eta).add_(1).reciprocal_()
    left = s1 * kept  # the substrate that is not consumed
    if backward:
        return a1, s1, kept, a1, s1, (a1 * left).mul_(kept).mul_(2 * eta)
    a2 = a1.addcmul_(a1, decay, value=-1).add_(s1).sub_(left)
    s2 = left.add_(feed * (1 - s1))
    return a1, s1, kept, a2, s2, kept
