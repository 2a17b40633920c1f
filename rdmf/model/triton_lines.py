"""What the Triton kernels share: which lane owns which line, reading it mirrored at its ends, padding carried along.

`rdmf.model.lines` says how the work is divided. At a video's own ends the rows are mirrored, which is what no flux
means for the diffusion, and the reaction, being the same at every clip, keeps the mirror image: the ends need no case
of their own. Imports triton: load lazily.
"""

from __future__ import annotations

import os

import torch
import triton
import triton.language as tl

from rdmf.model.lines import LANES

#: Kernels' arguments that change with the batch: a kernel is not compiled again where one is 1 or a multiple of 16.
SIZES = ["batch", "length", "width", "rows", "parts"]
OPTIONS = {"num_warps": LANES // 32, "enable_fp_fusion": True}


def lanes_wanted(device: torch.device, each: int) -> int:
    """Lanes that keep the device busy, `each` a multiprocessor; one where the interpreter runs them."""
    if device.type != "cuda":
        return 1
    return each * int(torch.cuda.get_device_properties(device).multi_processor_count)


@triton.jit
def lanes_of(program, length, width, rows, GROUPS: tl.constexpr, LANES: tl.constexpr):
    """What the lanes of a program own: see `rdmf.model.lines`.

    Returns: channel (LANES,), residue (LANES,), segment (LANES,), the group's reach, rows of its segments, which lanes
    there are (LANES,), and the first and last segment of the program.
    """
    group = tl.cdiv(width, GROUPS)
    first, before = 0, 0
    reach, channels, begin, parts, size = 1, group, 0, 1, rows
    for g in tl.static_range(GROUPS):
        here = tl.maximum(tl.minimum(group, width - g * group), 0)
        line = tl.cdiv(length, 1 << g)
        segments = tl.cdiv(line, rows)
        programs = tl.cdiv(segments * (1 << g) * here, LANES)
        inside = (program >= before) & (program < before + programs)
        reach = tl.where(inside, 1 << g, reach)
        channels = tl.where(inside, here, channels)
        begin = tl.where(inside, g * group, begin)
        parts = tl.where(inside, segments * (1 << g), parts)
        size = tl.where(inside, tl.cdiv(line, segments), size)
        first = tl.where(inside, before, first)
        before = before + programs
    start = (program - first) * LANES
    lane = start + tl.arange(0, LANES)
    part = lane // channels
    last = tl.minimum((start + LANES - 1) // channels, parts - 1) // reach
    return (
        begin + lane % channels,
        part % reach,
        part // reach,
        reach,
        size,
        part < parts,
        start // channels // reach,
        last,
    )


#: The interpreter cannot run a GPU's own instructions.
_INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def reciprocal(x):
    """1 / x to one unit in the last place, by the one instruction that a GPU has for it: a division takes six."""
    if _INTERPRETED:
        return 1.0 / x
    else:
        return tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def precise_division(x, y):
    """x / y rounded as PyTorch rounds it, which Triton's own division of float32 is not."""
    return tl.div_rn(x, y)


@triton.jit
def folded(place, count, TURNS: tl.constexpr):
    """Where a mirrored line stands at `place` >= -TURNS: a counter in [0, 2 count) that `rows_ahead` moves on."""
    return (place + 2 * count * TURNS) % (2 * count)


@triton.jit
def rows_ahead(field, other, place, count, stride, live, AHEAD: tl.constexpr):
    """The next rows of a mirrored line in two fields, in float32, and where it stands after them."""
    rows, others = (), ()
    for _ in tl.static_range(AHEAD):
        row = tl.minimum(place, 2 * count - 1 - place) * stride
        rows = rows + (tl.load(field + row, mask=live, other=0.0).to(tl.float32),)
        others = others + (tl.load(other + row, mask=live, other=0.0).to(tl.float32),)
        place = tl.where(place + 1 == 2 * count, 0, place + 1)
    return rows, others, place


@triton.jit
def carry(source, target, begin, end, padded, start, size, stride, there, AHEAD: tl.constexpr):
    """Copy the rows of each lane's segment that lie beyond its video: from `end` to `padded`, its line's length."""
    for i in range(start, size, AHEAD):
        for j in tl.static_range(AHEAD):
            row = begin + i + j
            beyond = there & (row >= end) & (row < padded) & (row < begin + size)
            value = tl.load(source + row * stride, mask=beyond, other=0.0)
            tl.store(target + row * stride, value.to(target.dtype.element_ty), mask=beyond)
