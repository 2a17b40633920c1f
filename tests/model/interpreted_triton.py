"""The Triton kernels, interpreted on the CPU, against the definitions in float64.

Triton decides when it is imported whether kernels are compiled or interpreted, so `test_triton.py` runs this file in a
process of its own. Interpreting costs milliseconds an operation: the sizes are as small as they can be. The interpreter
cuts numbers off to bfloat16 where a GPU rounds to the nearest: hence a whole unit in the last place below.
"""

from __future__ import annotations

import functools
import os

import pytest
import torch
from torch import Tensor

assert os.environ.get("TRITON_INTERPRET") == "1", "this file is run by test_triton.py"
triton = pytest.importorskip("triton")
tl = triton.language

from scipy.optimize import linear_sum_assignment  # noqa: E402

from rdmf.model import kernels, triton_heat, triton_reaction  # noqa: E402
from rdmf.model.diffusion import diffuse, diffuse_by_steps  # noqa: E402
from rdmf.model.reaction import Kinetics, gray_scott  # noqa: E402
from rdmf.model.spans import suppress  # noqa: E402
from rdmf.train.assignment import by_launch  # noqa: E402


@triton.jit
def _count(count, out):
    for i in range(0, tl.where(count > 0, count, 0)):
        tl.store(out + i, 1)


try:
    _count[(1,)](2, torch.zeros(2, dtype=torch.int32))
except Exception as error:  # those of Triton 3.3 and 3.4 make integers in a way that NumPy 2.4 refuses
    pytest.skip(f"this Triton's interpreter does not work here: {error}", allow_module_level=True)


@pytest.fixture(autouse=True)
def _insist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, "triton")
    assert kernels.chosen("cpu", torch.float32) == "triton"


def devices(monkeypatch: pytest.MonkeyPatch, lanes: int) -> None:
    """Make the device as wide as that, so that lines fall into more segments; the shortest has 8 rows."""
    for module in (triton_heat, triton_reaction):
        monkeypatch.setattr(module, "lanes_wanted", lambda device, each: lanes)


def case(counts: list[int], width: int) -> tuple[Tensor, Tensor, Tensor, list[Tensor], Tensor]:
    """Fields, mask, rates and the gradient of the result, float64; junk in padding."""
    generator = torch.Generator().manual_seed(0)
    size = (len(counts), max(counts), width)
    a, s = (torch.rand(size, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.arange(size[1])[None] < torch.tensor(counts)[:, None]
    a[~mask], s[~mask] = 7.0, -3.0
    rates = [torch.rand((len(counts), 1, width), generator=generator, dtype=torch.float64) / 4 for _ in range(4)]
    weight = torch.randn((2, *size), generator=generator, dtype=torch.float64) * mask[..., None]
    return a, s, mask, rates, weight


def close(found: list[Tensor], exact: list[Tensor], mask: Tensor, tolerance: float = 1e-5) -> None:
    for ours, right in zip(found, exact):
        where = (
            mask[..., None] if right.shape[:2] == mask.shape and right.shape[1] > 1 else torch.ones(1, dtype=torch.bool)
        )
        worst = ((ours.double() - right).abs() * where).max() / right.abs().max().clamp_min(1)
        assert worst < tolerance, float(worst)


@pytest.mark.parametrize("integrator", ["split", "euler"])
@pytest.mark.parametrize(
    ("counts", "width", "steps", "scales", "lanes"),
    [
        ([5, 2], 3, 5, 1, 1),  # as many steps as one launch takes; a video shorter than they reach
        ([9, 3], 4, 1, 4, 1),  # groups that reach 1, 2, 4, 8 clips: as far as the videos are long and farther
        ([20, 7], 3, 2, 2, 999),  # several segments a line; groups of unequal width
    ],
)
def test_reaction(
    integrator: str, counts: list[int], width: int, steps: int, scales: int, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices(monkeypatch, lanes)
    a, s, mask, rates, weight = case(counts, width)
    eta = 0.5
    results = []
    for fused, dtype in ((True, torch.float32), (False, torch.float64)):
        leaves = [x.detach().clone().to(dtype).requires_grad_() for x in (a, s, *rates)]
        out = gray_scott(
            leaves[0], leaves[1], mask, Kinetics(*leaves[2:]),
            steps=steps, step_size=eta, scales=scales, integrator=integrator, fused=fused,
        )  # fmt: skip
        gradients = torch.autograd.grad(out, leaves, tuple(weight.to(dtype)))
        results.append([*(x.detach() for x in out), *gradients])
        if fused:
            assert torch.equal(out[0][~mask], leaves[0][~mask]), "padding is carried along"
    close(*results, mask)


def test_reaction_in_several_launches_with_half_precision_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """6 steps are two launches with a float32 state between them: only the result is rounded."""
    devices(monkeypatch, 1)
    a, s, mask, rates, _ = case([6, 4], 2)
    a, s, rates = a.bfloat16(), s.bfloat16(), [r.bfloat16() for r in rates]
    options = {"steps": 6, "step_size": 1.0}
    found = gray_scott(a, s, mask, Kinetics(*rates), **options)  # type: ignore[arg-type]
    feed, decay = rates[2], rates[2] + rates[3]  # eta = 1: rounded as the kernel is given them
    rounded = Kinetics(*(r.double() for r in (rates[0], rates[1], feed)), decay.double() - feed.double())
    exact = gray_scott(a.double(), s.double(), mask, rounded, fused=False, **options)  # type: ignore[arg-type]
    for ours, right in zip(found, exact):
        assert ours.dtype == torch.bfloat16
        assert ((ours.double() - right).abs() <= 1.004 * 2**-7 * right.abs().clamp_min(1e-3))[mask].all()


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(
    ("counts", "steps", "lanes"),
    [([6, 2], 10, 1), ([4, 1], 1, 1), ([20, 11], 3, 99), ([3], 17, 1)],
)
def test_diffusion(
    per_channel: bool, counts: list[int], steps: int, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices(monkeypatch, lanes)
    field, _, mask, rates, weight = case(counts, 2)
    rate = rates[0][0, 0, : 2 if per_channel else 1]
    results = []
    for form, dtype in ((diffuse, torch.float32), (diffuse_by_steps, torch.float64)):
        leaves = [x.detach().clone().to(dtype).requires_grad_() for x in (field, rate)]
        out = form(leaves[0], mask, leaves[1], steps)
        results.append([out.detach(), *torch.autograd.grad(out, leaves, weight[0].to(dtype))])
        if form is diffuse:
            assert torch.equal(out[~mask], leaves[0][~mask]), "padding is carried along"
    close(*results, mask)


def test_diffusion_of_half_precision_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    devices(monkeypatch, 1)
    field, _, mask, _, _ = case([7, 3], 2)
    rate = torch.tensor([0.2])
    found = diffuse(field.bfloat16(), mask, rate, 5)
    exact = diffuse_by_steps(field.bfloat16().double(), mask, rate.double(), 5)
    assert found.dtype == torch.bfloat16
    assert ((found.double() - exact).abs() <= 1.004 * 2**-7 * exact.abs().clamp_min(1e-3))[mask].all()


def test_the_definitions_are_not_what_was_compared() -> None:
    """The kernels did run: each of the four has been launched by now, or is by this."""
    ran: list[str] = []

    def noted(name: str, launch: functools.partial[object]) -> object:
        ran.append(name)
        return launch()

    field, mask = torch.rand(1, 2, 1, requires_grad=True), torch.ones(1, 2, dtype=torch.bool)
    with pytest.MonkeyPatch.context() as patch:
        for module in (triton_heat, triton_reaction):
            for way in ("forward", "backward"):
                run, name = getattr(module, way), f"{module.__name__}.{way}"
                patch.setattr(module, way, lambda *x, run=run, name=name: noted(name, functools.partial(run, *x)))
        rates = Kinetics(*(torch.tensor([0.1]) for _ in range(4)))
        out = gray_scott(diffuse(field, mask, rates.activator, 1), field, mask, rates, steps=1, step_size=1.0)
        out[0].sum().backward()
    assert len(set(ran)) == 4


@pytest.mark.parametrize(("rows", "columns"), [(2, 5), (5, 5), (4, 3), (7, 12), (3, 1)])
@pytest.mark.parametrize("ties", [False, True])
def test_assignment_costs_what_scipy_finds(rows: int, columns: int, ties: bool) -> None:
    generator = torch.Generator().manual_seed(rows * columns)
    cost = torch.randn(3, rows, columns, generator=generator) * 10
    if ties:
        cost = cost.sign() + torch.randint(0, 3, cost.shape, generator=generator)
    counts = torch.tensor([rows, 0, max(1, rows // 2)])
    valid = torch.arange(rows)[None] < counts[:, None]
    cost[~valid] = -1e9  # padding is tempting
    chosen = by_launch(cost, valid)
    assert (chosen[~valid] == -1).all()
    for b in range(3):
        values, taken = cost[b, valid[b]].double().numpy(), chosen[b, valid[b]].numpy()
        served = taken >= 0
        assert served.sum() == min(values.shape) == len(set(taken[served]))
        assert values[served, taken[served]].sum() == pytest.approx(values[linear_sum_assignment(values)].sum())


@pytest.mark.parametrize("count", [1, 2, 17])
@pytest.mark.parametrize("limit", [0.0, 0.5, 1.0])
def test_suppression_is_that_of_tensor_code(count: int, limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(count)
    spans = torch.rand(2, count, 2, generator=generator).sort(-1).values
    spans[:, -1] = spans[:, 0]  # equals, and an empty one
    spans[1, 0, 1] = spans[1, 0, 0]
    scores = torch.randint(0, 5, (2, count), generator=generator).float()
    launched = suppress(spans, scores, limit)
    monkeypatch.setenv(kernels.SWITCH, "plain")
    assert launched.equal(suppress(spans, scores, limit))
