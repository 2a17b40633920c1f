"""Greedy non-maximum suppression on a GPU: one launch, where tensor code needs a few operations for every candidate.

A program holds one sample's candidates, best first, and goes through them in that order; which of them are kept stays
on chip. Definition: `rdmf.model.spans.suppress`. Imports triton: load lazily.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from rdmf.model.triton_lines import precise_division


@triton.jit(do_not_specialize=["count"])
def keep_kernel(spans, keep, count, limit, BLOCK: tl.constexpr):
    """spans: (B, Q, 2) as (start, end), best first; keep: (B, Q) int8."""
    sample = tl.program_id(0)
    place = tl.arange(0, BLOCK)
    there = place < count
    mine = spans + sample * count * 2
    start = tl.load(mine + 2 * place, mask=there, other=0.0)
    end = tl.load(mine + 2 * place + 1, mask=there, other=0.0)
    size = tl.maximum(end - start, 0.0)
    kept = tl.full((BLOCK,), 1, tl.int32)
    for i in range(count - 1):
        first = tl.load(mine + 2 * i)
        last = tl.load(mine + 2 * i + 1)
        inter = tl.maximum(tl.minimum(last, end) - tl.maximum(first, start), 0.0)
        union = tl.maximum(last - first, 0.0) + size - inter
        over = precise_division(inter, tl.maximum(union, 1.1920928955078125e-07)) > limit
        alive = tl.sum(tl.where(place == i, kept, 0), 0)
        kept = tl.where(over & (place > i) & (alive > 0), 0, kept)
    tl.store(keep + sample * count + place, kept.to(tl.int8), mask=there)


def keep(ranked: Tensor, limit: float) -> Tensor:
    """Which of the candidates (B, Q, 2), float32 as (start, end), best first, are kept: (B, Q) bool."""
    batch, count = ranked.shape[:2]
    out = torch.empty((batch, count), dtype=torch.int8, device=ranked.device)
    block = triton.next_power_of_2(max(count, 1))
    with torch.cuda.device_of(ranked):
        keep_kernel[(batch,)](ranked.contiguous(), out, count, limit, block, num_warps=min(8, max(1, block // 64)))
    return out.bool()
