"""What a training step does to rows of numbers between its matrix products: PyTorch's operations, and the kernels."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from rdmf.model import kernels
from rdmf.model.dropout import add_dropped, dropped_gelu
from rdmf.model.norm import concentration
from rdmf.model.rows import Rows, prepared
from rdmf_pipelines.benching.bench import Bench, has_kernel, refuse_difference, switch_kept

GROUP = "layers between products"
PYTORCH, KERNEL = "PyTorch's operations", "kernel"
#: (B, L, d, width of the features): like 50 Salads in two-second clips, and what the published models are trained on.
SIZES = ((8, 275, 64, 18), (32, 75, 256, 2816))
TINY = ((2, 9, 16, 10),)
RATE = 0.1
ABOUT = (
    f"B videos x L clips x d channels in float32, dropout of {RATE:g}, forward and backward with all gradients. "
    "Features are gathered from float16 and have no gradient. In brackets: how many times as fast as PyTorch."
)
#: What is done to leaves, in PyTorch's operations and by a kernel, with a rate of dropout.
Way = Callable[[float, list[Tensor]], Tensor]


def measure(bench: Bench) -> None:
    """A line a layer and size; nothing where there are no compiled kernels."""
    bench.sheet.about[GROUP] = ABOUT
    if bench.on_gpu or not has_kernel(bench.device):
        bench.sheet.notes[GROUP] = "Not measured: compiled kernels for these are the CPU's (`rdmf doctor`)."
        return
    with switch_kept():
        os.environ[kernels.SWITCH] = "auto"
        for size in TINY if bench.quick else SIZES:
            _size(bench, *size)


def _size(bench: Bench, batch: int, length: int, width: int, features: int) -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    x, wide = drawn(batch, length, width), drawn(batch, length, 4 * width)
    sides = [drawn(batch, 1, width) / 4 for _ in range(2)]
    norm = nn.LayerNorm(width)
    table, index = drawn(2 * length, features).half(), torch.arange(batch * length) % (2 * length)
    rows = Rows(table, index.view(batch, length))
    plain = nn.functional
    cases: dict[str, tuple[list[Tensor], Way, Way]] = {
        "norm within a sigmoid": (
            [x, *sides],
            lambda _, given: torch.sigmoid(norm(given[0]) * (1 + given[1]) + given[2]),
            lambda _, given: concentration(norm, *given),
        ),
        "GELU, dropout": (
            [wide],
            lambda rate, given: plain.dropout(plain.gelu(given[0]), rate),
            lambda rate, given: dropped_gelu(given[0], rate, training=True),
        ),
        "sum with dropout": (
            [x, drawn(*x.shape)],
            lambda rate, given: given[0] + plain.dropout(given[1], rate),
            lambda rate, given: add_dropped(given[0], given[1], rate, training=True),
        ),
        "features to the first product": (
            [],
            lambda rate, _: plain.dropout(plain.layer_norm(rows.gathered(), (features,)), rate),
            lambda rate, _: prepared(rows, eps=1e-5, rate=rate, training=True),
        ),
    }
    for what, (leaves, pytorch, kernel) in cases.items():
        last = leaves[0].shape[-1] if leaves else features
        case = f"{what}, {batch} x {length} x {last}"
        gradient = drawn(batch, length, last)
        ways = {PYTORCH: pytorch, KERNEL: kernel}
        # Each draws its own zeros, so that they are compared without.
        for ours, exact in zip(*(run(way, 0.0, leaves, gradient) for way in (kernel, pytorch))):
            refuse_difference(KERNEL, ours, exact, where=f"{GROUP}, {case}")
        timed = {name: partial(run, way, RATE, leaves, gradient) for name, way in ways.items()}
        bench.compare(GROUP, case, timed, against=PYTORCH, share=0.5)


def run(way: Way, rate: float, leaves: list[Tensor], gradient: Tensor) -> list[Tensor]:
    """The result and the gradients of the leaves."""
    fresh = [leaf.detach().requires_grad_() for leaf in leaves]
    out = way(rate, fresh)
    return [out, *torch.autograd.grad(out, fresh, gradient)] if fresh else [out]
