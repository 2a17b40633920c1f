"""How near the GPU kernels come to what memory allows: each alone, on fields far larger than the caches.

A launch takes longer to ask for than a kernel of the usual size takes to run, so that timing calls says nothing of the
kernel. Here a graph of many launches is replayed, over several sets of fields in turn, and the device's own events are
read. `rdmf bench --only reaction` times the calls.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rdmf_pipelines.benching.bench import Bench, has_kernel
from rdmf_pipelines.benching.sheet import entry

GROUP = "kernels against memory"
TRAFFIC = "times the least traffic"
N, K, SCALES, ETA = 5, 10, 4, 0.3
SIZES = ((512, 75, 256), (64, 500, 256), (32, 2000, 256), (4, 20000, 256))
TINY = ((8, 75, 64),)
#: Launches in a graph, and replays of it.
LAUNCHES, REPLAYS = 12, 7
#: Fields that must be read or written at the least.
LEAST = {"reaction": 4, "reaction, backward": 6, "diffusion": 2, "diffusion, backward": 3}
ABOUT = (
    f"Seconds a launch: N = {N} reaction steps on {SCALES} time scales or on one, K = {K} diffusion steps, on fields "
    "of B videos x L clips x d channels, every rate for every channel. *Times the least traffic*: against reading "
    "every field that goes in once and writing every one that comes out once, at the speed at which this device "
    "copies ({speed:.2f} TB/s, read and written)."
)

Work = Callable[[int], object]


def measure(bench: Bench) -> None:
    """A line a size and type; nothing where there is no GPU."""
    if not (bench.on_gpu and has_kernel(bench.device)):
        return
    speed = bench.copy_bandwidth
    bench.sheet.about[GROUP] = ABOUT.format(speed=speed / 1e12)
    for dtype in (torch.float32, torch.bfloat16):
        for size in TINY if bench.quick else SIZES:
            case = f"{' x '.join(map(str, size))}, {str(dtype).removeprefix('torch.')}"
            bench.tell(f"{GROUP}: {case}")
            for name, work in ways(size, dtype, bench.device).items():
                told = entry(GROUP, case, name, launches(work))
                fields = LEAST[name.split(", one scale")[0].removesuffix(" (Euler)")]
                least = fields * math.prod(size) * dtype.itemsize
                bench.add(replace(told, more={TRAFFIC: told.seconds * speed / least}))


def ways(size: tuple[int, int, int], dtype: torch.dtype, device: torch.device) -> dict[str, Work]:
    """Launches by name, each on the set of fields with a number."""
    from rdmf.model import triton_heat, triton_reaction

    batch, length, width = size
    generator = torch.Generator(device).manual_seed(0)

    def fields(count: int) -> list[list[Tensor]]:
        """Sets that together are too large for any cache."""
        room = 2**30 // (2 * batch * length * width * dtype.itemsize)
        make = functools.partial(torch.rand, size, generator=generator, device=device)
        return [[make().to(dtype) for _ in range(count)] for _ in range(max(2, min(6, room)))]

    states, gradients = fields(2), fields(2)
    lengths = torch.full((batch,), length, device=device)
    rates = 0.02 + 0.2 * torch.rand(4, batch, width, generator=generator, device=device)

    def forward(i: int, scales: int, euler: bool) -> object:
        a, s = states[i % len(states)]
        return triton_reaction.forward(a, s, rates, lengths, N, ETA, scales, euler, dtype)

    def backward(i: int, scales: int, euler: bool) -> object:
        (a, s), (x, y) = states[i % len(states)], gradients[i % len(gradients)]
        return triton_reaction.backward(a, s, rates, lengths, x, y, N, ETA, scales, euler)

    def heat(i: int) -> object:
        return triton_heat.forward(states[i % len(states)][0], rates[0, 0], lengths, K)

    def heat_back(i: int) -> object:
        given = states[i % len(states)][0], gradients[i % len(gradients)][0]
        return triton_heat.backward(given[0], rates[0, 0], lengths, given[1], K)

    found: dict[str, Work] = {}
    for said, scales, euler in (("", SCALES, False), (", one scale", 1, False), (" (Euler)", SCALES, True)):
        found[f"reaction{said}"] = functools.partial(forward, scales=scales, euler=euler)
        found[f"reaction, backward{said}"] = functools.partial(backward, scales=scales, euler=euler)
    return {
        **found,
        "diffusion": heat,
        "diffusion, backward": heat_back,
    }


def launches(work: Work) -> Sequence[float]:
    """Seconds a launch in each replay of a graph of them, by the device's events."""
    work(0)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(LAUNCHES):
            work(i)
    taken = []
    for _ in range(REPLAYS + 1):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        taken.append(begin.elapsed_time(end) / 1000 / LAUNCHES)
    return taken[1:]
