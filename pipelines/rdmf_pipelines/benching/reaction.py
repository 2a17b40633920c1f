"""The Gray-Scott steps: the plain loop, PyTorch with our own backward pass, the kernel."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping

import torch
from torch import Tensor

from rdmf.model import kernels
from rdmf.model.reaction import Kinetics, gray_scott
from rdmf_pipelines.benching.bench import Bench, has_kernel, refuse_difference, switch_kept
from rdmf_pipelines.benching.diffusion import traffic

N = 5
SCALES = 4
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
EULER_SIZES = SIZES[2::4]
TINY = ((2, 12, 8),)
LOOP = "plain loop"
#: {way: (the kernels' switch, whether the steps are fused)}
WAYS = {LOOP: ("plain", False), "own backward": ("plain", True), "kernel": ("auto", True)}
#: Fields that must be read or written at the least: both in and out; backward both, their gradients, and both again.
LEAST_FIELDS = {False: 4, True: 10}


def ways_for(integrator: str, *, kernel: bool) -> dict[str, tuple[str, bool]]:
    """The ways there are; the Euler integrator has no backward pass of its own."""
    ways = {name: way for name, way in WAYS.items() if kernel or name != "kernel"}
    if integrator == "euler":
        del ways["own backward"]
    return ways


def measure(bench: Bench) -> None:
    """A line a size, a table for both integrators and both directions."""
    kernel = has_kernel(bench.device)
    with switch_kept():
        for integrator, sizes in (("split", SIZES), ("euler", EULER_SIZES)):
            for size in TINY if bench.quick else sizes:
                _one(bench, size, integrator, ways_for(integrator, kernel=kernel))


def title(integrator: str, *, backward: bool) -> str:
    """The table's."""
    return f"reaction, {integrator} integrator, {'forward and backward' if backward else 'forward'}"


def _one(bench: Bench, size: tuple[int, int, int], integrator: str, ways: Mapping[str, tuple[str, bool]]) -> None:
    generator = torch.Generator().manual_seed(0)
    fields = [torch.rand(size, generator=generator) for _ in range(2)]
    # Own backward divides the gradient of a diffusion rate by the rate, to be multiplied by it again further back: near
    # to 0 what comes between has few right digits, and would be taken for another result.
    fields += [0.02 + 0.23 * torch.rand(size[0], 1, size[2], generator=generator) for _ in range(4)]
    fields = [x.to(bench.device) for x in fields]
    mask = torch.ones(size[:2], dtype=torch.bool, device=bench.device)
    case = " x ".join(map(str, size))
    right = run(fields, mask, integrator, ways[LOOP], backward=True)
    for name, way in ways.items():
        for ours, exact in zip(run(fields, mask, integrator, way, backward=True), right):
            refuse_difference(name, ours, exact, where=f"{title(integrator, backward=True)}, {case}")
    for backward in (True, False):
        group = title(integrator, backward=backward)
        which = "With all gradients." if backward else "Without gradients."
        bench.sheet.about[group] = (
            f"N = {N} steps of B videos x L clips x d channels, rates for every query and channel, {SCALES} time "
            f"scales. In brackets: how many times as fast as the plain loop. {which}"
        )
        least = 4 * fields[0].numel() * LEAST_FIELDS[backward]
        bench.compare(
            group,
            case,
            {
                name: functools.partial(run, fields, mask, integrator, way, backward=backward)
                for name, way in ways.items()
            },
            against=LOOP,
            more=functools.partial(traffic, bench, least),
        )


def run(fields: list[Tensor], mask: Tensor, integrator: str, way: tuple[str, bool], *, backward: bool) -> list[Tensor]:
    """One forward pass, and one backward: both fields, then the gradients of fields and rates."""
    os.environ[kernels.SWITCH], fused = way
    leaves = [x.detach().requires_grad_(backward) for x in fields]
    with torch.set_grad_enabled(backward):
        out = gray_scott(
            leaves[0],
            leaves[1],
            mask,
            Kinetics(*leaves[2:]),
            steps=N,
            step_size=1.0 if integrator == "split" else 0.2,
            scales=SCALES,
            integrator=integrator,
            fused=fused,
        )
        return [*out, *torch.autograd.grad(out, leaves, tuple(fields[:2]))] if backward else list(out)
