"""The Gray-Scott reaction-diffusion system along time (paper 3.3, Eq. 5-8)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rdmf.model.cuts import Walls, inflow
from rdmf.model.diffusion import bounded, unbounded
from rdmf.model.fused import gray_scott_steps
from rdmf.model.kernels import chosen
from rdmf.model.split_steps import SplitSteps, split_steps
from rdmf.model.stable_set import StableSet
from rdmf.sections import FusionConfig

#: eta * D never exceeds this: explicit diffusion keeps the maximum principle and no mode alternates in sign.
DIFFUSION_LIMIT = 0.25
#: F and k never exceed this, so that with eta <= 2 the linear decay of a step stays below 1.
RATE_LIMIT = 0.25


@dataclass(frozen=True)
class Kinetics:
    """Rates of the system; each a tensor that broadcasts against (B, L, d). Diffusion is already multiplied by eta.

    Attributes:
        activator, substrate: eta * D of each species, in (0, 1/4).
        feed, kill: F and k, in (0, 1/4).
    """

    activator: Tensor
    substrate: Tensor
    feed: Tensor
    kill: Tensor


def spread(field: Tensor, mask: Tensor, scales: int) -> Tensor:
    """Laplacian with no-flux ends, channel group g of `scales` reaching 2^g clips to each side.

    A neighbour beyond the video's own ends gives no flux, as in `rdmf.model.diffusion.laplacian` (which this is for one
    scale). Coarser groups see the field on a sparser grid: their effective D is 4^g times larger at the same limit.
    """
    if scales == 1:
        return _reach(field, mask, 1)
    return torch.cat([_reach(part, mask, 2**g) for g, part in enumerate(field.chunk(scales, -1))], -1)


def _reach(field: Tensor, mask: Tensor, distance: int) -> Tensor:
    return inflow(field, mask[:, distance:] & mask[:, :-distance], distance)


def gray_scott(
    activator: Tensor,
    substrate: Tensor,
    mask: Tensor,
    rates: Kinetics,
    *,
    steps: int,
    step_size: float,
    scales: int = 1,
    integrator: str = "split",
    fused: bool = True,
    walls: Walls | None = None,
) -> tuple[Tensor, Tensor]:
    """N steps of a' = D_a lap(a) + a a s - (F + k) a,  s' = D_s lap(s) - a a s + F (1 - s).

    `euler` is the paper's forward Euler (Eq. 7-8). `split` diffuses first, then reacts with the consumption of the
    substrate taken implicitly, `s - s / (1 + eta a a)` (a Patankar step): of the same order, but s stays in [0, 1] and
    a non-negative and bounded by 1 / (eta (F + k)) whatever the rates, where Euler at a large step can overdraw the
    substrate and blow up.

    Args:
        activator, substrate: (B, L, d), at the start in [0, 1].
        mask: (B, L) bool.
        rates: see Kinetics.
        steps: N.
        step_size: eta.
        scales: see `spread`.
        integrator: "euler" or "split".
        fused: walk all N steps at once in a kernel (`rdmf.model.kernels` chooses), whose backward pass computes the
            states again; without kernels, the split integrator's own backward pass (`rdmf.model.split_steps`). Else the
            plain loop below, the definition, with autograd's graph.
        walls: what holds the flow back (`rdmf.model.cuts`); then by the plain loop.

    Returns:
        activator, substrate: (B, L, d) after N steps; padding keeps values that mean nothing.
    """
    a, s = activator, substrate
    decay = step_size * (rates.feed + rates.kill)
    feed = step_size * rates.feed
    given = (rates.activator, rates.substrate, feed, decay)
    constant = all(r.dim() < 2 or r.shape[-2] == 1 for r in given)  # along time
    if fused and walls is None and steps and constant:
        dtype = functools.reduce(torch.promote_types, (x.dtype for x in (a, s, *given)))
        kernel = chosen(a.device.type, dtype)
        across = [r.expand(a.shape[0], 1, a.shape[2]) for r in given]
        if kernel != "plain":
            euler = integrator == "euler"
            together = torch.stack(across).squeeze(2)  # (4, B, d)
            return gray_scott_steps(
                a, s, together, mask.sum(1), kernel, steps=steps, eta=step_size, scales=scales, euler=euler
            )
        if integrator == "split":
            wide = torch.promote_types(dtype, torch.float32)  # the state between steps loses nothing
            fields = [f.transpose(1, 2).to(wide).contiguous() for f in (a, s)]
            inputs = (*fields, *(r.transpose(1, 2).to(wide) for r in across), (mask, steps, step_size, scales))
            learning = torch.is_grad_enabled() and any(x.requires_grad for x in (a, s, *across))
            a, s = SplitSteps.apply(*inputs) if learning else split_steps(*inputs)
            return a.transpose(1, 2).to(dtype), s.transpose(1, 2).to(dtype)
    for _ in range(steps):
        if walls is None:
            spread_a, spread_s = spread(a, mask, scales), spread(s, mask, scales)
        else:
            spread_a, spread_s = walls.spread(torch.stack((a, s), -1), scales).unbind(-1)
        spread_a, spread_s = rates.activator * spread_a, rates.substrate * spread_s
        if integrator == "euler":
            reacted = step_size * a * a * s
            a, s = a + spread_a + reacted - decay * a, s + spread_s - reacted + feed * (1 - s)
        else:
            a, s = a + spread_a, s + spread_s
            reacted = s - s / (1 + step_size * a * a)
            a, s = a + reacted - decay * a, s - reacted + feed * (1 - s)
    return a, s


class Rates(nn.Module):
    """Kinetics kept inside their bounds by construction; constant, or shifted by the query.

    With `fusion.kinetics` stable or turing, F and k (and D) come out of `rdmf.model.stable_set`, which they cannot
    leave.

    Args:
        config: initial coefficients, step size, roles and the constraints on them.
        width: d, number of channels.
        query_width: width of the pooled query that sets the kinetics, or None for one learnt scalar per rate (the
            paper).
    """

    def __init__(self, config: FusionConfig, width: int, query_width: int | None) -> None:
        super().__init__()
        self.order, self.video = config.order, config.video
        eta = config.step_size
        self.stable = None if config.kinetics == "free" else StableSet.of(config, DIFFUSION_LIMIT)
        # Under a constraint the smaller coefficient is a share of the larger: its start is that share.
        d_video, d_text = eta * config.d_video, eta * config.d_text
        shares = {"video": d_video / DIFFUSION_LIMIT, "text": d_text / DIFFUSION_LIMIT}
        smaller = self._smaller()
        if smaller is not None:
            larger = max(d_text if smaller == "video" else d_video, 1e-9)
            shares[smaller] = (d_video if smaller == "video" else d_text) / min(larger, DIFFUSION_LIMIT)
        start = torch.tensor(
            [
                unbounded(shares["video"], 1.0),
                unbounded(shares["text"], 1.0),
                unbounded(config.feed, RATE_LIMIT),
                unbounded(config.kill, RATE_LIMIT),
            ]
        )
        if self.stable is not None:
            start = self.stable.start(config, start)
        self.raw = nn.Parameter(start[:, None].repeat(1, width if query_width is not None else 1))  # (4, 1 or d)
        self.shift = nn.Linear(query_width, 4 * width) if query_width is not None else None
        if self.shift is not None:
            nn.init.normal_(self.shift.weight, std=0.02)
            nn.init.zeros_(self.shift.bias)

    def forward(self, query: Tensor | None = None) -> Kinetics:
        """(B, query_width) or None to rates of shape (B, 1, d) or (1,)."""
        raw = self.raw
        if self.shift is not None and query is not None:
            raw = raw + self.shift(query).unflatten(-1, (4, -1))  # (B, 4, d)
            raw_video, raw_text, raw_feed, raw_kill = (r[:, None] for r in raw.unbind(1))  # each (B, 1, d)
        else:
            raw_video, raw_text, raw_feed, raw_kill = raw.unbind(0)
        if self.stable is None:
            feed, kill = bounded(raw_feed, RATE_LIMIT), bounded(raw_kill, RATE_LIMIT)
        else:
            feed, kill = self.stable.kinetics(raw_feed, raw_kill)
            if self.stable.turing:
                raw_a, raw_s = (raw_video, raw_text) if self.video == "activator" else (raw_text, raw_video)
                return Kinetics(*self.stable.diffusion(raw_a, raw_s, feed, kill), feed, kill)
        video, text = bounded(raw_video, DIFFUSION_LIMIT), bounded(raw_text, DIFFUSION_LIMIT)
        smaller = self._smaller()
        if smaller == "text":
            text = video * bounded(raw_text, 1.0)
        elif smaller == "video":
            video = text * bounded(raw_video, 1.0)
        activator, substrate = (video, text) if self.video == "activator" else (text, video)
        return Kinetics(activator, substrate, feed, kill)

    def _smaller(self) -> str | None:
        """The field whose coefficient is kept below the other's by construction, or None."""
        if self.order == "paper":
            return "text"
        if self.order == "turing":
            return "video" if self.video == "activator" else "text"
        return None
