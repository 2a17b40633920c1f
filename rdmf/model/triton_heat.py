"""The heat equation's steps on a GPU: one launch forward and one backward, every field read once and written once.

`rdmf.model.lines` says how the work is divided; there is one line a channel here. All K steps are under way at
once in registers, which costs no more arithmetic than the 2K + 1 coefficients of the K-step map and reads a row once
rather than 2K + 1 times. Definition: `rdmf.model.diffusion`; imports triton, so it is itself imported only when a
kernel is to run.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from rdmf.model.lines import AHEAD, HEAT_LANES, LANES, geometry, segment_rows
from rdmf.model.triton_lines import OPTIONS, SIZES, carry, folded, lanes_of, lanes_wanted, rows_ahead


@triton.jit
def _steps(value, lo, mid, rate, STEPS: tl.constexpr):
    """One more row into STEPS running steps: the last step's row, STEPS rows behind, and the rows kept."""
    new_lo, new_mid = (), ()
    for t in tl.static_range(STEPS):
        new_lo, new_mid = new_lo + (mid[t],), new_mid + (value,)
        value = mid[t] + rate * ((lo[t] + value) - 2.0 * mid[t])
    return value, new_lo, new_mid


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    field, rate, lengths, out, batch, length, width, rows,
    STEPS: tl.constexpr, LANES: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    """field, out: (B, L, d); rate: (d,); lengths: (B,)."""
    video = tl.program_id(1)
    channel, _, segment, _, size, there, first, last = lanes_of(tl.program_id(0), length, width, rows, 1, LANES)
    valid = tl.load(lengths + video).to(tl.int32)
    count, begin = tl.maximum(valid, 1), segment * size
    end = tl.minimum(valid, begin + size)
    r = tl.load(rate + channel, mask=there, other=0.0)
    at = video.to(tl.int64) * length * width + channel
    place = folded(begin - STEPS, count, STEPS)
    ahead, _, place = rows_ahead(field + at, field + at, place, count, width, there, AHEAD)
    none = tl.zeros((LANES,), tl.float32)
    lo, mid = (none,) * STEPS, (none,) * STEPS
    own = tl.minimum(valid - first * size, size)
    for i in range(0, tl.where(own > 0, own + 2 * STEPS, 0), AHEAD):
        now = ahead
        ahead, _, place = rows_ahead(field + at, field + at, place, count, width, there, AHEAD)
        for j in tl.static_range(AHEAD):
            value, lo, mid = _steps(now[j], lo, mid, r, STEPS)
            row = begin + (i + j - 2 * STEPS)
            wanted = there & (row >= begin) & (row < end)
            tl.store(out + at + row * width, value.to(out.dtype.element_ty), mask=wanted)
    start = tl.maximum(valid - last * size, 0)
    carry(field + at, out + at, begin, valid, length, start, size, width, there, AHEAD)


@triton.jit(do_not_specialize=SIZES)
def backward_kernel(
    field, rate, lengths, gradient, to_field, to_rate, batch, length, width, rows, parts,
    STEPS: tl.constexpr, LANES: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    """gradient: (B, L, d), of the result; to_rate: (B, parts, d), zero at the start.

    The map is its own adjoint. With z = K - 1 steps of the gradient, the field's gradient is the K-th step,
    z + rate * lap(z), and the rate's is K * sum(field * lap(z)): one walk gives both.
    """
    video = tl.program_id(1)
    channel, _, segment, _, size, there, first, last = lanes_of(tl.program_id(0), length, width, rows, 1, LANES)
    valid = tl.load(lengths + video).to(tl.int32)
    count, begin = tl.maximum(valid, 1), segment * size
    end = tl.minimum(valid, begin + size)
    r = tl.load(rate + channel, mask=there, other=0.0)
    at = video.to(tl.int64) * length * width + channel
    place = folded(begin - STEPS, count, STEPS)
    ahead, _, place = rows_ahead(gradient + at, gradient + at, place, count, width, there, AHEAD)
    none = tl.zeros((LANES,), tl.float32)
    lo, mid, total = (none,) * (STEPS - 1), (none,) * (STEPS - 1), none
    z_lo, z_mid = none, none
    own = tl.minimum(valid - first * size, size)
    for i in range(0, tl.where(own > 0, own + 2 * STEPS, 0), AHEAD):
        now = ahead
        ahead, _, place = rows_ahead(gradient + at, gradient + at, place, count, width, there, AHEAD)
        was = ()
        for j in tl.static_range(AHEAD):
            row = begin + (i + j - 2 * STEPS)
            wanted = there & (row >= begin) & (row < end)
            was = was + (tl.load(field + at + row * width, mask=wanted, other=0.0).to(tl.float32),)
        for j in tl.static_range(AHEAD):
            z, lo, mid = _steps(now[j], lo, mid, r, STEPS - 1)
            lap = (z_lo + z) - 2.0 * z_mid
            row = begin + (i + j - 2 * STEPS)
            wanted = there & (row >= begin) & (row < end)
            total = tl.where(wanted, total + lap * was[j], total)
            value = z_mid + r * lap
            tl.store(to_field + at + row * width, value.to(to_field.dtype.element_ty), mask=wanted)
            z_lo, z_mid = z_mid, z
    tl.store(to_rate + (video.to(tl.int64) * parts + segment) * width + channel, STEPS * total, mask=there)
    start = tl.maximum(valid - last * size, 0)
    carry(gradient + at, to_field + at, begin, valid, length, start, size, width, there, AHEAD)


def forward(field: Tensor, rate: Tensor, lengths: Tensor, steps: int) -> Tensor:
    """At most `lines.HEAT_STEPS` steps: see `rdmf.model.fused.heat_steps`, whose arguments these are."""
    batch, length, width = field.shape
    rows = segment_rows(batch, length, width, 1, 2 * steps, lanes_wanted(field.device, HEAT_LANES))
    programs, _ = geometry(length, width, 1, rows)
    out = torch.empty_like(field)
    sizes = (batch, length, width, rows)
    with torch.cuda.device_of(field):
        forward_kernel[(programs, batch)](field, rate, lengths, out, *sizes, steps, LANES, AHEAD, **OPTIONS)
    return out


def backward(field: Tensor, rate: Tensor, lengths: Tensor, gradient: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The gradients of the field and of the rate (d,), from that of the result."""
    batch, length, width = field.shape
    rows = segment_rows(batch, length, width, 1, 2 * steps, lanes_wanted(field.device, HEAT_LANES))
    programs, parts = geometry(length, width, 1, rows)
    to_field = torch.empty_like(field)
    # A sum for every lane and then over lanes in a fixed order: the same bits every time, which atomic adds are not.
    to_rate = torch.zeros((batch, parts, width), dtype=torch.float32, device=field.device)
    sizes = (batch, length, width, rows, parts)
    constants = (steps, LANES, AHEAD)
    with torch.cuda.device_of(field):
        backward_kernel[(programs, batch)](
            field, rate, lengths, gradient, to_field, to_rate, *sizes, *constants, **OPTIONS
        )
    return to_field, to_rate.sum((0, 1))
