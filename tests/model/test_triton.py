"""The Triton kernels: right by the interpreter, and compiled for real GPUs, without one, by NVIDIA's own assembler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton", reason="this PyTorch comes without Triton: no GPU kernels here")
from rdmf.model import kernels  # noqa: E402
from rdmf.model.diffusion import diffuse, diffuse_by_steps  # noqa: E402
from rdmf.model.reaction import Kinetics, gray_scott  # noqa: E402
from rdmf.model.spans import suppress  # noqa: E402
from rdmf.train.assignment import assign, by_shortest_paths  # noqa: E402

version = tuple(int(part) for part in triton.__version__.split(".")[:2])
needs_triton = pytest.mark.skipif(version < kernels.OLDEST_TRITON, reason="Triton is too old: no GPU kernels here")


@needs_triton
@pytest.mark.long
def test_interpreted() -> None:
    """See interpreted_triton.py for what is tested."""
    file = Path(__file__).with_name("interpreted_triton.py")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-m", "", str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 5 and "interpreter does not work here" in done.stdout:
        pytest.skip(done.stdout.strip().splitlines()[-2])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


@needs_triton
@pytest.mark.long
def test_launches_bind_and_changing_sizes_compile_nothing_again() -> None:
    """See launched_triton.py for what is tested."""
    command = [sys.executable, str(Path(__file__).with_name("launched_triton.py"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def check(name: str, steps: int, euler: bool, dtype: str, capability: int) -> None:
    """It compiles, and no register is spilled."""
    from rdmf.model.triton_build import Kernel, build

    made = build(Kernel(name, steps, euler, 4, dtype), capability)
    assert made.size > 1000
    if made.resources is not None:
        registers, stack, local = made.resources
        assert registers <= 255
        assert stack + local <= 64  # a few registers put aside between loops, none within


@needs_triton
@pytest.mark.parametrize(
    ("name", "steps", "euler", "dtype"),
    [
        ("gray_scott_forward", 5, False, "fp32"),
        ("gray_scott_backward", 5, False, "fp32"),
        ("gray_scott_backward", 5, True, "bf16"),
        ("heat_forward", 10, False, "bf16"),
        ("heat_backward", 10, False, "fp32"),
    ],
)
def test_compiled_for_an_h100(name: str, steps: int, euler: bool, dtype: str) -> None:
    check(name, steps, euler, dtype, 90)


@needs_triton
@pytest.mark.long
def test_every_configuration_compiles_for_an_h100_and_spills_nothing() -> None:
    """Of half precision the largest only; `benchmarks/kernel_registers.py` makes and shows them all."""
    from rdmf.model.lines import HEAT_STEPS, REACTION_STEPS
    from rdmf.model.triton_build import every_kernel

    for kernel in every_kernel():
        if kernel.dtype == "fp32" or kernel.steps in {REACTION_STEPS, HEAT_STEPS}:
            check(kernel.name, kernel.steps, kernel.euler, kernel.dtype, 90)


@needs_triton
@pytest.mark.long
@pytest.mark.parametrize("capability", [75, 80, 86, 89, 100, 120])
def test_other_gpus_too(capability: int) -> None:
    for name in ("gray_scott_forward", "gray_scott_backward"):
        check(name, 5, False, "fp32", capability)
    check("heat_backward", 16, False, "fp32", capability)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: the kernels are not run")


@needs_gpu
@pytest.mark.parametrize("integrator", ["split", "euler"])
@pytest.mark.parametrize(
    ("counts", "width", "steps", "scales"),
    [([75, 40, 3], 256, 5, 4), ([1], 8, 5, 3), ([2000, 1999], 64, 5, 4), ([500, 77], 30, 12, 3), ([20000], 16, 1, 1)],
)
def test_reaction_on_a_gpu(
    integrator: str, counts: list[int], width: int, steps: int, scales: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(kernels.SWITCH, "triton")
    torch.manual_seed(0)
    size = (len(counts), max(counts), width)
    mask = (torch.arange(size[1])[None] < torch.tensor(counts)[:, None]).cuda()
    given = [*torch.rand(2, *size).cuda(), *(torch.rand(4, len(counts), 1, width) / 4).cuda()]
    weight = torch.randn(2, *size).cuda() * mask[..., None]
    results = []
    for fused, dtype in ((True, torch.float32), (False, torch.float64)):
        leaves = [x.detach().clone().to(dtype).requires_grad_() for x in given]
        out = gray_scott(
            leaves[0], leaves[1], mask, Kinetics(*leaves[2:]),
            steps=steps, step_size=0.3, scales=scales, integrator=integrator, fused=fused,
        )  # fmt: skip
        gradients = torch.autograd.grad(out, leaves, tuple(weight.to(dtype)))
        kept = [x * mask[..., None] for x in (*out, *gradients[:2])]
        results.append([*(x.detach() for x in kept), *gradients[2:]])
    for ours, right in zip(*results):
        assert (ours.double() - right).abs().max() < 1e-4 * right.abs().max().clamp_min(1)


@needs_gpu
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("counts", "steps"), [([75, 3], 10), ([1], 10), ([2000, 1500], 10), ([20000], 40)])
def test_diffusion_on_a_gpu(per_channel: bool, counts: list[int], steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, "triton")
    torch.manual_seed(0)
    mask = (torch.arange(max(counts))[None] < torch.tensor(counts)[:, None]).cuda()
    field, weight = (torch.randn(*mask.shape, 48).cuda() * mask[..., None] for _ in range(2))
    rate = torch.rand(48 if per_channel else 1).cuda() / 2
    results = []
    for form, dtype in ((diffuse, torch.float32), (diffuse_by_steps, torch.float64)):
        leaves = [x.detach().clone().to(dtype).requires_grad_() for x in (field, rate)]
        out = form(leaves[0], mask, leaves[1], steps) * mask[..., None]
        results.append([out.detach(), *torch.autograd.grad(out, leaves, weight.to(dtype))])
    for ours, right in zip(*results):
        assert (ours.double() - right).abs().max() < 1e-4 * right.abs().max().clamp_min(1)


@needs_gpu
def test_suppression_and_assignment_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, "triton")
    generator = torch.Generator().manual_seed(0)
    for rows, columns in ((2, 10), (5, 100), (24, 100), (20, 7)):
        cost = torch.randn(16, rows, columns, generator=generator)
        valid = torch.arange(rows)[None] < torch.randint(1, rows + 1, (16, 1), generator=generator)
        found = assign(cost.cuda(), valid.cuda()).cpu()
        right = by_shortest_paths(cost, valid)
        served = [(c >= 0) for c in (found, right)]
        assert served[0].sum(1).equal(served[1].sum(1))
        sums = [
            torch.where(c >= 0, cost.gather(2, c.clamp_min(0)[..., None])[..., 0], 0).sum(1) for c in (found, right)
        ]
        torch.testing.assert_close(*sums)
        spans, scores = torch.rand(16, columns, 2, generator=generator).sort(-1).values, torch.rand(16, columns)
        assert suppress(spans.cuda(), scores.cuda(), 0.5).cpu().equal(suppress(spans, scores, 0.5))
