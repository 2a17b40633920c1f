"""Every exact way of K = 10 diffusion steps that was thought of, on this CPU: which one `diffuse` should take.

    OMP_NUM_THREADS=1 python benchmarks/diffusion_speed.py [seconds for a way, default 0.2]

Lengths in a batch differ (from L / 2 to L). Forward without gradients, then forward and backward with the gradients of
field and rate. Milliseconds: median, half the distance between the quartiles, ratio to the plain loop; every way is
compared with the plain loop first. Ways:

    loop      `diffuse_by_steps`, the definition, with autograd's graph
    kernel    `heat.c`: 2K + 1 coefficients row by row, own backward pass
    in place  the steps in place, own backward pass: `diffuse` without a compiler
    mirrored  gather and depthwise conv1d: `diffuse` on a GPU without Triton
    banded    tiles of 32 clips times one (32, 32 + 2K) matrix; one rate for all channels only
    dense     one (L, L) matrix for every video; one rate for all channels only
    cosine    DCT-II as a product with a cosine basis, eigenvalues to the K-th power, and back
    fft       the FFT of the mirrored video, likewise
"""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable

import torch
from timing import in_turns, told
from torch import Tensor, nn

from rdmf.model import kernels, native
from rdmf.model.diffusion import diffuse, diffuse_by_steps, in_place, mirrored, step_kernel

K = 10
#: (L, batches) for each width; B * L * d stays near two million.
SIZES = {64: ((75, (1, 32)), (200, (1, 32)), (500, (1, 32)), (2000, (1, 16)), (20000, (1,))),
         256: ((75, (1, 32)), (200, (1, 32)), (500, (1, 16)), (2000, (1, 4)), (20000, (1,)))}  # fmt: skip
Way = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def kernel(field: Tensor, mask: Tensor, rate: Tensor, steps: int) -> Tensor:
    """`diffuse` as it is where there is a compiler."""
    return diffuse(field, mask, rate, steps)


def banded(field: Tensor, mask: Tensor, rate: Tensor, steps: int, tile: int = 32) -> Tensor:
    """Tiles of the mirrored field, each `tile` + 2K rows, times one banded matrix."""
    batch, length, width = field.shape
    lengths, tiles = mask.sum(1)[:, None], -(-length // tile)
    place = torch.remainder(torch.arange(-steps, tiles * tile + steps)[None], 2 * lengths)
    rows = torch.where(place < lengths, place, 2 * lengths - 1 - place) + length * torch.arange(batch)[:, None]
    extended = field.reshape(-1, width).index_select(0, rows.reshape(-1)).reshape(batch, -1, width)
    seen = extended.as_strided(
        (batch, tiles, tile + 2 * steps, width), (extended.stride(0), tile * width, width, 1)
    )  # fmt: skip
    offset = torch.arange(tile + 2 * steps)[None] - torch.arange(tile)[:, None]
    coefficients = step_kernel(rate, steps)[0][offset.clamp(0, 2 * steps)]
    matrix = torch.where((offset >= 0) & (offset <= 2 * steps), coefficients, 0.0)
    out = torch.matmul(matrix, seen).reshape(batch, tiles * tile, width)[:, :length]
    return torch.where(mask[..., None], out, field)


def dense(field: Tensor, mask: Tensor, rate: Tensor, steps: int) -> Tensor:
    """The map as a matrix for each video: what it makes of the unit vectors."""
    unit = torch.eye(field.shape[1]).expand(len(field), -1, -1)
    return torch.bmm(in_place(unit, mask, rate, steps), field)


@functools.lru_cache(32)
def _cosines(length: int) -> tuple[Tensor, Tensor]:
    mode = torch.arange(length, dtype=torch.float64)
    basis = torch.cos(math.pi * mode[:, None] * (mode[None] + 0.5) / length) * math.sqrt(2 / length)
    basis[0] /= math.sqrt(2)
    return basis.float(), (4 * torch.sin(math.pi * mode / (2 * length)) ** 2).float()


def cosine(field: Tensor, mask: Tensor, rate: Tensor, steps: int) -> Tensor:
    """Each video by the basis of its own length."""
    out = []
    for x, n in zip(field, mask.sum(1).tolist()):
        basis, mu = _cosines(n)
        y = basis.T @ ((1 - rate * mu[:, None]) ** steps * (basis @ x[:n]))
        out.append(nn.functional.pad(y, (0, 0, 0, len(x) - n)))
    return torch.stack(out)


def fft(field: Tensor, mask: Tensor, rate: Tensor, steps: int) -> Tensor:
    """Each video mirrored once: a period of 2 n."""
    out = []
    for x, n in zip(field, mask.sum(1).tolist()):
        waves = torch.fft.rfft(torch.cat((x[:n], x[:n].flip(0))), dim=0)
        mu = 4 * torch.sin(math.pi * torch.arange(n + 1) / (2 * n)) ** 2
        y = torch.fft.irfft(waves * (1 - rate * mu[:, None]) ** steps, n=2 * n, dim=0)[:n]
        out.append(nn.functional.pad(y, (0, 0, 0, len(x) - n)))
    return torch.stack(out)


def ways_for(length: int, channels: int) -> dict[str, Way]:
    """What can be done at that size at all."""
    ways: dict[str, Way] = {"loop": diffuse_by_steps, "kernel": kernel, "in place": in_place, "mirrored": mirrored}
    if channels == 1:
        ways["banded"] = banded
    if length <= 2000:
        ways |= {"dense": dense} if channels == 1 else {}
        ways["cosine"] = cosine
    return ways | {"fft": fft}


def run(way: Way, field: Tensor, mask: Tensor, rate: Tensor, weight: Tensor | None) -> list[Tensor]:
    """The result without padding and, given a gradient of it, those of field and rate."""
    with torch.set_grad_enabled(weight is not None):
        leaves = [x.detach().requires_grad_(weight is not None) for x in (field, rate)]
        out = way(leaves[0], mask, leaves[1], K)
        return [out] if weight is None else [out, *torch.autograd.grad(out, leaves, weight)]


def main() -> None:
    """A table a size; the best way of each is marked."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.2
    os.environ.setdefault(kernels.SWITCH, "auto")
    print(
        f"{torch.get_num_threads()} thread(s), K = {K}; "
        f"kernel: {'yes' if native.library() is not None else 'no compiler'}"
    )
    for width, lengths in SIZES.items():
        for length, batch, channels in ((n, b, c) for n, batches in lengths for b in batches for c in (1, width)):
            generator = torch.Generator().manual_seed(0)
            counts = torch.randint(length // 2, length + 1, (batch,), generator=generator)
            counts[0] = length
            mask = torch.arange(length)[None] < counts[:, None]
            field = torch.randn(batch, length, width, generator=generator) * mask[..., None]
            rate = torch.rand(channels, generator=generator) / 4
            weight = torch.randn(field.shape, generator=generator) * mask[..., None]
            ways = ways_for(length, channels)
            right = run(ways["loop"], field, mask, rate, weight)
            for name, way in ways.items():
                for ours, exact in zip(run(way, field, mask, rate, weight), right):
                    where = mask[..., None] if exact.dim() == 3 else torch.ones(1)
                    assert ((ours - exact) * where).abs().max() < 1e-3 * exact.abs().max(), name
            tables = [
                in_turns(
                    {name: functools.partial(run, way, field, mask, rate, gradient) for name, way in ways.items()},
                    seconds=seconds,
                )
                for gradient in (None, weight)
            ]
            print(f"\nB {batch}, L {length}, d {width}, {'one rate' if channels == 1 else 'a rate a channel'}")
            best = [min(table, key=lambda name, t=table: t[name][len(t[name]) // 2]) for table in tables]
            for name in ways:
                cells = [
                    f"{told(table[name], table['loop'])}{' *' if name == top else '  '}"
                    for table, top in zip(tables, best)
                ]
                print(f"  {name:<10}{cells[0]:>28}{cells[1]:>28}", flush=True)


if __name__ == "__main__":
    main()
