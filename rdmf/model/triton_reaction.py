"""The Gray-Scott steps on a GPU: one launch forward and one backward, every field read once and written once.

`rdmf.model.lines` says how the work is divided. The backward pass computes the states again rather than reading
them: for N = 5 that moves 4 + 6 fields in all, where keeping every state moves 4 N + 6 = 26. Definition:
`rdmf.model.reaction`; imports triton, so it is itself imported only when a kernel is to run.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from rdmf.model.lines import (
    AHEAD,
    LANES,
    REACTION_BACKWARD_AHEAD,
    REACTION_BACKWARD_LANES,
    REACTION_LANES,
    TURN,
    geometry,
    segment_rows,
)
from rdmf.model.triton_lines import OPTIONS, SIZES, carry, folded, lanes_of, lanes_wanted, reciprocal, rows_ahead


@triton.jit
def _step(a_lo, a, a_hi, s_lo, s, s_hi, rate_a, rate_s, feed, decay, ETA: tl.constexpr, EULER: tl.constexpr):
    """One step of a row, in as few instructions as it takes: at these sizes they, not memory, are what is short."""
    if EULER:
        reacted = ETA * a * a * s
        a1 = (1.0 - 2.0 * rate_a - decay) * a + rate_a * (a_lo + a_hi)
        s1 = (1.0 - 2.0 * rate_s - feed) * s + rate_s * (s_lo + s_hi)
        return a1 + reacted, s1 + (feed - reacted)
    else:
        a1 = a + rate_a * ((a_lo + a_hi) - 2.0 * a)
        s1 = s + rate_s * ((s_lo + s_hi) - 2.0 * s)
        kept = reciprocal(1.0 + ETA * a1 * a1)
        return (1.0 - decay) * a1 + (s1 - s1 * kept), s1 * (kept - feed) + feed


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    a, s, rates, lengths, a_out, s_out, batch, length, width, rows,
    ETA: tl.constexpr, STEPS: tl.constexpr, EULER: tl.constexpr, GROUPS: tl.constexpr,
    LANES: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    """Fields (B, L, d), rates (4, B, d), lengths (B,); a program's lanes walk their segments."""
    video = tl.program_id(1)
    channel, residue, segment, reach, size, there, first, last = lanes_of(
        tl.program_id(0), length, width, rows, GROUPS, LANES
    )
    valid = tl.load(lengths + video).to(tl.int32)
    line = (valid - residue + reach - 1) // reach
    live, count, begin = there & (line > 0), tl.maximum(line, 1), segment * size
    end = tl.minimum(line, begin + size)
    rate = rates + video * width + channel
    rate_a = tl.load(rate, mask=there, other=0.0)
    rate_s = tl.load(rate + batch * width, mask=there, other=0.0)
    feed = tl.load(rate + 2 * batch * width, mask=there, other=0.0)
    decay = tl.load(rate + 3 * batch * width, mask=there, other=0.0)
    at = (video.to(tl.int64) * length + residue) * width + channel
    stride = reach * width

    place = folded(begin - STEPS, count, STEPS)
    next_a, next_s, place = rows_ahead(a + at, s + at, place, count, stride, live, AHEAD)
    none = tl.zeros((LANES,), tl.float32)
    lo_a, lo_s, mid_a, mid_s = (none,) * STEPS, (none,) * STEPS, (none,) * STEPS, (none,) * STEPS
    own = tl.minimum(tl.cdiv(valid, reach) - first * size, size)
    for i in range(0, tl.where(own > 0, own + 2 * STEPS, 0), AHEAD):
        now_a, now_s = next_a, next_s
        next_a, next_s, place = rows_ahead(a + at, s + at, place, count, stride, live, AHEAD)
        for j in tl.static_range(AHEAD):
            x, y = now_a[j], now_s[j]
            new_lo_a, new_lo_s, new_mid_a, new_mid_s = (), (), (), ()
            for t in tl.static_range(STEPS):
                new_lo_a, new_lo_s = new_lo_a + (mid_a[t],), new_lo_s + (mid_s[t],)
                new_mid_a, new_mid_s = new_mid_a + (x,), new_mid_s + (y,)
                x, y = _step(
                    lo_a[t], mid_a[t], x, lo_s[t], mid_s[t], y, rate_a, rate_s, feed, decay, ETA, EULER
                )  # fmt: skip
            lo_a, lo_s, mid_a, mid_s = new_lo_a, new_lo_s, new_mid_a, new_mid_s
            row = begin + (i + j - 2 * STEPS)
            wanted = live & (row >= begin) & (row < end)
            tl.store(a_out + at + row * stride, x.to(a_out.dtype.element_ty), mask=wanted)
            tl.store(s_out + at + row * stride, y.to(s_out.dtype.element_ty), mask=wanted)
    padded = (length - residue + reach - 1) // reach
    start = tl.maximum(valid // reach - last * size, 0)
    carry(a + at, a_out + at, begin, line, padded, start, size, stride, there, AHEAD)
    carry(s + at, s_out + at, begin, line, padded, start, size, stride, there, AHEAD)


@triton.jit(do_not_specialize=SIZES)
def backward_kernel(
    a, s, rates, lengths, x, y, to_a, to_s, to_rates, batch, length, width, rows, parts,
    ETA: tl.constexpr, STEPS: tl.constexpr, EULER: tl.constexpr, GROUPS: tl.constexpr,
    LANES: tl.constexpr, AHEAD: tl.constexpr, TURN: tl.constexpr,
):  # fmt: skip
    """x, y: (B, L, d), gradients of the result; to_rates: (4, B, parts, d), zero at the start.

    The state after step t - 1 is needed from its making until step t is undone, 2 (N - t) + 3 rows later: `kept_a` and
    `kept_s` hold these rows, newest first, one step after the other. A turn of the loop is TURN rows, of which AHEAD
    are read at a time: what stays from one turn to the next has to be moved to where the next one looks for it, so
    that long turns save instructions, and rows read far ahead cost registers.
    """
    video = tl.program_id(1)
    channel, residue, segment, reach, size, there, first, last = lanes_of(
        tl.program_id(0), length, width, rows, GROUPS, LANES
    )
    valid = tl.load(lengths + video).to(tl.int32)
    line = (valid - residue + reach - 1) // reach
    live, count, begin = there & (line > 0), tl.maximum(line, 1), segment * size
    end = tl.minimum(line, begin + size)
    rate = rates + video * width + channel
    rate_a = tl.load(rate, mask=there, other=0.0)
    rate_s = tl.load(rate + batch * width, mask=there, other=0.0)
    feed = tl.load(rate + 2 * batch * width, mask=there, other=0.0)
    decay = tl.load(rate + 3 * batch * width, mask=there, other=0.0)
    at = (video.to(tl.int64) * length + residue) * width + channel
    stride = reach * width

    place = folded(begin - 2 * STEPS, count, 2 * STEPS)
    place_x = folded(begin - 3 * STEPS, count, 2 * STEPS)
    next_a, next_s, place = rows_ahead(a + at, s + at, place, count, stride, live, AHEAD)
    next_x, next_y, place_x = rows_ahead(x + at, y + at, place_x, count, stride, live, AHEAD)
    none = tl.zeros((LANES,), tl.float32)
    kept_a, kept_s = (), ()
    for t in tl.static_range(STEPS):
        kept_a, kept_s = kept_a + ((none,) * (2 * (STEPS - t) + 1),), kept_s + ((none,) * (2 * (STEPS - t) + 1),)
    lo_x, lo_y, mid_x, mid_y = (none,) * STEPS, (none,) * STEPS, (none,) * STEPS, (none,) * STEPS
    to_rate_a, to_rate_s, to_feed, to_decay = none, none, none, none
    own = tl.minimum(tl.cdiv(valid, reach) - first * size, size)
    for turn in range(0, tl.where(own > 0, own + 4 * STEPS, 0), TURN):
        for i in tl.static_range(0, TURN, AHEAD):
            now_a, now_s, now_x, now_y = next_a, next_s, next_x, next_y
            next_a, next_s, place = rows_ahead(a + at, s + at, place, count, stride, live, AHEAD)
            next_x, next_y, place_x = rows_ahead(x + at, y + at, place_x, count, stride, live, AHEAD)
            for j in tl.static_range(AHEAD):
                p, q = now_a[j], now_s[j]
                new_a, new_s = (), ()
                for t in tl.static_range(STEPS):
                    old_a, old_s = kept_a[t], kept_s[t]
                    new_a, new_s = (
                        new_a + ((p,) + old_a[: 2 * (STEPS - t)],),
                        new_s + ((q,) + old_s[: 2 * (STEPS - t)],),
                    )
                    if t + 1 < STEPS:
                        p, q = _step(
                            old_a[1], old_a[0], p, old_s[1], old_s[0], q, rate_a, rate_s, feed, decay, ETA, EULER
                        )  # fmt: skip
                kept_a, kept_s = new_a, new_s
                # From here p and q are gradients: first of the result, then after step N - 1, N - 2, ...
                p, q = now_x[j], now_y[j]
                new_lo_x, new_lo_y, new_mid_x, new_mid_y = (), (), (), ()
                for back in tl.static_range(STEPS):
                    then_a, then_s = kept_a[STEPS - 1 - back], kept_s[STEPS - 1 - back]
                    new_lo_x, new_lo_y = new_lo_x + (mid_x[back],), new_lo_y + (mid_y[back],)
                    if EULER:
                        new_mid_x, new_mid_y = new_mid_x + (p,), new_mid_y + (q,)
                        a0, s0 = then_a[2 * back + 2], then_s[2 * back + 2]
                        g, h = mid_x[back], mid_y[back]
                        lap_g = (lo_x[back] + p) - 2.0 * g
                        lap_h = (lo_y[back] + q) - 2.0 * h
                        row = begin + (turn + i + j - 3 * STEPS - 1 - back)
                        counted = (row >= begin) & (row < end)
                        # The Laplacian is its own adjoint: summed along the line, g lap(a) = lap(g) a.
                        to_rate_a = tl.where(counted, to_rate_a + lap_g * a0, to_rate_a)
                        to_rate_s = tl.where(counted, to_rate_s + lap_h * s0, to_rate_s)
                        to_feed = tl.where(counted, to_feed + h * (1.0 - s0), to_feed)
                        to_decay = tl.where(counted, to_decay - g * a0, to_decay)
                        pull = ETA * a0 * (g - h)
                        p = g + rate_a * lap_g - decay * g + 2.0 * pull * s0
                        q = h + rate_s * lap_h - feed * h + pull * a0
                    else:
                        lap_a = (then_a[2 * back + 2] + then_a[2 * back]) - 2.0 * then_a[2 * back + 1]
                        lap_s = (then_s[2 * back + 2] + then_s[2 * back]) - 2.0 * then_s[2 * back + 1]
                        a1 = then_a[2 * back + 1] + rate_a * lap_a
                        s1 = then_s[2 * back + 1] + rate_s * lap_s
                        kept = reciprocal(1.0 + ETA * a1 * a1)
                        pull = (p - q) * kept
                        u = (1.0 - decay) * p + (2.0 * ETA) * (a1 * s1 * kept * pull)
                        v = p - feed * q - pull
                        row = begin + (turn + i + j - 3 * STEPS - back)
                        counted = (row >= begin) & (row < end)
                        to_rate_a = tl.where(counted, to_rate_a + u * lap_a, to_rate_a)
                        to_rate_s = tl.where(counted, to_rate_s + v * lap_s, to_rate_s)
                        to_feed = tl.where(counted, to_feed + q * (1.0 - s1), to_feed)
                        to_decay = tl.where(counted, to_decay - p * a1, to_decay)
                        new_mid_x, new_mid_y = new_mid_x + (u,), new_mid_y + (v,)
                        p = mid_x[back] + rate_a * ((lo_x[back] + u) - 2.0 * mid_x[back])
                        q = mid_y[back] + rate_s * ((lo_y[back] + v) - 2.0 * mid_y[back])
                lo_x, lo_y, mid_x, mid_y = new_lo_x, new_lo_y, new_mid_x, new_mid_y
                row = begin + (turn + i + j - 4 * STEPS)
                wanted = live & (row >= begin) & (row < end)
                tl.store(to_a + at + row * stride, p.to(to_a.dtype.element_ty), mask=wanted)
                tl.store(to_s + at + row * stride, q.to(to_s.dtype.element_ty), mask=wanted)
    first_sum = video.to(tl.int64)
    own_sums = (segment * reach + residue) * width + channel
    tl.store(to_rates + first_sum * parts * width + own_sums, to_rate_a, mask=live)
    tl.store(to_rates + (first_sum + batch) * parts * width + own_sums, to_rate_s, mask=live)
    tl.store(to_rates + (first_sum + 2 * batch) * parts * width + own_sums, to_feed, mask=live)
    tl.store(to_rates + (first_sum + 3 * batch) * parts * width + own_sums, to_decay, mask=live)
    padded = (length - residue + reach - 1) // reach
    start = tl.maximum(valid // reach - last * size, 0)
    carry(x + at, to_a + at, begin, line, padded, start, size, stride, there, AHEAD)
    carry(y + at, to_s + at, begin, line, padded, start, size, stride, there, AHEAD)


def forward(
    a: Tensor,
    s: Tensor,
    rates: Tensor,
    lengths: Tensor,
    steps: int,
    eta: float,
    scales: int,
    euler: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """At most `lines.REACTION_STEPS` steps: see `rdmf.model.fused.gray_scott_steps`, whose arguments these are."""
    batch, length, width = a.shape
    rows = segment_rows(batch, length, width, scales, 2 * steps, lanes_wanted(a.device, REACTION_LANES))
    programs, _ = geometry(length, width, scales, rows)
    out = [torch.empty(a.shape, dtype=dtype, device=a.device) for _ in range(2)]
    sizes = (batch, length, width, rows)
    constants = (eta, steps, euler, scales, LANES, AHEAD)
    with torch.cuda.device_of(a):
        forward_kernel[(programs, batch)](a, s, rates, lengths, *out, *sizes, *constants, **OPTIONS)
    return out[0], out[1]


def backward(
    a: Tensor,
    s: Tensor,
    rates: Tensor,
    lengths: Tensor,
    x: Tensor,
    y: Tensor,
    steps: int,
    eta: float,
    scales: int,
    euler: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of both fields and of the rates (4, B, d), from those of the result, x and y."""
    batch, length, width = a.shape
    rows = segment_rows(batch, length, width, scales, 4 * steps, lanes_wanted(a.device, REACTION_BACKWARD_LANES))
    programs, parts = geometry(length, width, scales, rows)
    to_a, to_s = torch.empty_like(a), torch.empty_like(s)
    # A sum for every lane and then over lanes in a fixed order: the same bits every time, which atomic adds are not.
    to_rates = torch.zeros((4, batch, parts, width), dtype=torch.float32, device=a.device)
    sizes = (batch, length, width, rows, parts)
    constants = (eta, steps, euler, scales, LANES, REACTION_BACKWARD_AHEAD, TURN)
    with torch.cuda.device_of(a):
        backward_kernel[(programs, batch)](
            a, s, rates, lengths, x, y, to_a, to_s, to_rates, *sizes, *constants, **OPTIONS
        )
    return to_a, to_s, to_rates.sum(2)
