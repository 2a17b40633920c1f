"""How fast the reaction runs on this CPU: the plain loop, PyTorch with our own backward pass, the compiled kernel.

    OMP_NUM_THREADS=1 python benchmarks/reaction_speed.py

N = 5 steps on B x L x d fields with rates for every query and channel, four time scales. Forward and backward, then
forward alone without gradients. Milliseconds: median, half the distance between the quartiles, ratio to the plain loop.
"""

from __future__ import annotations

import os

import torch
from timing import in_turns, told
from torch import Tensor

from rdmf.model import kernels, native
from rdmf.model.reaction import Kinetics, gray_scott

SIZES = (
    (16, 165, 64),
    (1, 75, 256),
    (32, 75, 256),
    (8, 200, 256),
    (8, 500, 256),
    (4, 1000, 256),
    (4, 2000, 256),
    (1, 20000, 64),
)
WAYS = {"plain loop": ("plain", False), "own backward": ("plain", True), "kernel": ("auto", True)}


def run(fields: list[Tensor], mask: Tensor, integrator: str, word: str, *, fused: bool, backward: bool) -> None:
    """One forward pass, and one backward."""
    os.environ[kernels.SWITCH] = word
    leaves = [x.detach().requires_grad_(backward) for x in fields]
    with torch.set_grad_enabled(backward):
        out = gray_scott(
            leaves[0],
            leaves[1],
            mask,
            Kinetics(*leaves[2:]),
            steps=5,
            step_size=1.0 if integrator == "split" else 0.2,
            scales=4,
            integrator=integrator,
            fused=fused,
        )
        if backward:
            torch.autograd.grad(out, leaves, tuple(fields[:2]))


def main() -> None:
    """A line a size, a table for both integrators and both directions."""
    print(f"{torch.get_num_threads()} thread(s); kernel: {'yes' if native.library() is not None else 'no compiler'}")
    for integrator in ("split", "euler"):
        for backward in (True, False):
            print(f"\n{integrator}, {'forward and backward' if backward else 'forward alone, no gradient'}")
            print(f"{'B x L x d':<16}" + "".join(f"{name:>25}" for name in WAYS))
            for size in SIZES if integrator == "split" else SIZES[2::4]:
                torch.manual_seed(0)
                fields = [torch.rand(size), torch.rand(size), *(torch.rand(size[0], 1, size[2]) / 4 for _ in range(4))]
                mask = torch.ones(size[:2], dtype=torch.bool)
                times = in_turns(
                    {
                        name: lambda f=fields, m=mask, w=word, u=fused, i=integrator, b=backward: run(
                            f, m, i, w, fused=u, backward=b
                        )
                        for name, (word, fused) in WAYS.items()
                    }
                )
                line = "".join(f"{told(t, times['plain loop']):>25}" for t in times.values())
                print(f"{' x '.join(map(str, size)):<16}{line}", flush=True)


if __name__ == "__main__":
    main()
