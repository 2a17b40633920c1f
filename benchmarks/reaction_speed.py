"""How fast the reaction runs on this CPU: the plain loop, our own backward pass, the compiled kernel.

    OMP_NUM_THREADS=1 python benchmarks/reaction_speed.py

Forward and backward of N = 5 steps on B x L x d fields with rates for every query and channel. The ways take turns; the
medians' ratios to the plain loop are what to look at.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from rdmf.model import native, reaction

SIZES = ((16, 165, 64), (16, 330, 64), (32, 75, 256), (4, 2000, 256))
TURNS = 7


def once(fields: list[Tensor], mask: Tensor, *, fused: bool) -> float:
    """Seconds of one forward and backward pass."""
    leaves = [x.clone().requires_grad_() for x in fields]
    begun = time.perf_counter()
    a, s = reaction.gray_scott(
        leaves[0], leaves[1], mask, reaction.Kinetics(*leaves[2:]), steps=5, step_size=1.0, scales=4, fused=fused
    )
    torch.autograd.backward((a, s), (torch.ones_like(a), torch.ones_like(s)))
    return time.perf_counter() - begun


def without_kernel(fields: list[Tensor], mask: Tensor) -> float:
    """The same by `rdmf.model.split_steps`, as where there is no compiler."""
    usable, reaction.usable = reaction.usable, lambda *_: False
    try:
        return once(fields, mask, fused=True)
    finally:
        reaction.usable = usable


def main() -> None:
    """A line a size."""
    torch.manual_seed(0)
    print(f"{torch.get_num_threads()} thread(s); kernel: {'yes' if native.library() is not None else 'no compiler'}")
    print(f"{'B x L x d':<16} {'plain loop':>12} {'own backward':>20} {'kernel':>20}")
    for size in SIZES:
        fields = [torch.rand(size), torch.rand(size), *(torch.rand(size[0], 1, size[2]) / 4 for _ in range(4))]
        mask = torch.ones(size[:2], dtype=torch.bool)
        ways: list[Callable[[], float]] = [
            lambda f=fields, m=mask: once(f, m, fused=False),
            lambda f=fields, m=mask: without_kernel(f, m),
            lambda f=fields, m=mask: once(f, m, fused=True),
        ]
        taken = [[way() for way in ways] for _ in range(TURNS + 1)][1:]
        plain, own, kernel = (statistics.median(turn[i] for turn in taken) for i in range(3))
        told = [f"{1e3 * t:.1f} ms ({plain / t:.1f}x)" for t in (own, kernel)]
        print(f"{' x '.join(map(str, size)):<16} {1e3 * plain:>9.1f} ms {told[0]:>20} {told[1]:>20}", flush=True)


if __name__ == "__main__":
    main()
