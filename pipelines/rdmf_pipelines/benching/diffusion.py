"""K = 10 diffusion steps, every exact way that was thought of: which one `diffuse` should take."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping

import torch
from torch import Tensor

from rdmf.model import kernels
from rdmf_pipelines.benching.bench import Bench, has_kernel, refuse_difference, switch_kept
from rdmf_pipelines.benching.diffusion_ways import LOOP, Way, ways_for

K = 10
#: {d: ((L, batches), ...)}; B * L * d stays near two million.
SIZES = {64: ((75, (1, 32)), (200, (1, 32)), (500, (1, 32)), (2000, (1, 16)), (20000, (1,))),
         256: ((75, (1, 32)), (200, (1, 32)), (500, (1, 16)), (2000, (1, 4)), (20000, (1,)))}  # fmt: skip
TINY = {8: ((20, (1, 3)),)}
FORWARD, BOTH = "diffusion, forward", "diffusion, forward and backward"
#: Fields that must be read or written at the least: in and out; backward the field, its result's gradient, its own.
LEAST_FIELDS = {FORWARD: 2, BOTH: 5}
ABOUT = (
    f"K = {K} steps along time of B videos x L clips x d channels (videos have L / 2 to L), with one rate for all "
    "channels or a rate for each. In brackets: how many times as fast as the plain loop. {which}"
)


def measure(bench: Bench) -> None:
    """A line a size, for both directions."""
    bench.sheet.about[FORWARD] = ABOUT.format(which="Without gradients.")
    bench.sheet.about[BOTH] = ABOUT.format(which="With the gradients of field and rate.")
    kernel = has_kernel(bench.device)
    if not kernel:
        bench.sheet.notes[BOTH] = "No kernel: `rdmf doctor` says what is missing here."
    with switch_kept():
        os.environ[kernels.SWITCH] = "auto"
        for width, lengths in (TINY if bench.quick else SIZES).items():
            for length, batch, channels in ((n, b, c) for n, batches in lengths for b in batches for c in (1, width)):
                _one(bench, (batch, length, width), channels, ways_for(length, channels, kernel=kernel))


def _one(bench: Bench, size: tuple[int, int, int], channels: int, ways: Mapping[str, Way]) -> None:
    batch, length, width = size
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(length // 2, length + 1, (batch,), generator=generator)
    counts[0] = length
    mask = torch.arange(length)[None] < counts[:, None]
    field = torch.randn(batch, length, width, generator=generator) * mask[..., None]
    rate = torch.rand(channels, generator=generator) / 4
    weight = torch.randn(field.shape, generator=generator) * mask[..., None]
    field, mask, rate, weight = (x.to(bench.device) for x in (field, mask, rate, weight))
    case = f"{batch} x {length} x {width}, {'one rate' if channels == 1 else 'a rate a channel'}"
    right = run(ways[LOOP], field, mask, rate, weight)
    for name, way in ways.items():
        for ours, exact in zip(run(way, field, mask, rate, weight), right):
            inside = mask[..., None] if exact.dim() == 3 else None
            refuse_difference(name, ours, exact, where=f"diffusion, {case}", mask=inside)
    for group, gradient in ((FORWARD, None), (BOTH, weight)):
        least = 4 * field.numel() * LEAST_FIELDS[group]
        bench.compare(
            group,
            case,
            {name: functools.partial(run, way, field, mask, rate, gradient) for name, way in ways.items()},
            against=LOOP,
            share=0.25,
            more=functools.partial(traffic, bench, least),
        )


def traffic(bench: Bench, least: int, name: str, seconds: float) -> dict[str, float]:
    """On a GPU, how many times as long the kernel takes as copying the fewest bytes that it must move."""
    if not bench.on_gpu or name != "kernel":
        return {}
    return {"times the least traffic": seconds * bench.copy_bandwidth / least}


def run(way: Way, field: Tensor, mask: Tensor, rate: Tensor, weight: Tensor | None) -> list[Tensor]:
    """The result and, given a gradient of it, those of field and rate."""
    with torch.set_grad_enabled(weight is not None):
        leaves = [x.detach().requires_grad_(weight is not None) for x in (field, rate)]
        out = way(leaves[0], mask, leaves[1], K)
        return [out] if weight is None else [out, *torch.autograd.grad(out, leaves, weight)]
