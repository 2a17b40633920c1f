"""Which kernel runs is chosen by device, type and one switch; without any, PyTorch's operations give the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from rdmf.model import kernels, native
from rdmf.model.diffusion import diffuse, diffuse_by_steps, in_place, mirrored
from rdmf.model.reaction import Kinetics, gray_scott

needs_kernel = pytest.mark.skipif(native.library() is None, reason="no C compiler here: the kernels are not in use")


def fields(batch: int = 2, length: int = 9, width: int = 4) -> tuple[Tensor, Tensor, Tensor, Kinetics]:
    generator = torch.Generator().manual_seed(0)
    a, s = (torch.rand(batch, length, width, generator=generator) for _ in range(2))
    mask = torch.arange(length)[None] < torch.tensor([length, 3][:batch])[:, None]
    return a, s, mask, Kinetics(*(torch.tensor([v]) for v in (0.2, 0.1, 0.04, 0.06)))


@needs_kernel
@pytest.mark.parametrize("word", ["", "auto", "native", "triton"])
def test_cpu_tensors_take_the_compiled_kernel(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, word)
    for dtype in kernels.DTYPES:
        assert kernels.chosen("cpu", dtype) == "native"
    assert kernels.chosen("cpu", torch.float64) == "plain"
    assert kernels.chosen("mps", torch.float32) == "plain"


@pytest.mark.parametrize(("name", "word"), [(kernels.SWITCH, "plain"), (native.SWITCH, "off")])
def test_both_switches_lead_to_plain_operations(name: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    a, s, mask, rates = fields()
    rate = torch.tensor([0.2])
    before = gray_scott(a, s, mask, rates, steps=5, step_size=1.0)[0], diffuse(a, mask, rate, 10)
    monkeypatch.setenv(name, word)
    assert kernels.chosen("cpu", torch.float32) == "plain"
    after = gray_scott(a, s, mask, rates, steps=5, step_size=1.0)[0], diffuse(a, mask, rate, 10)
    for x, y in zip(before, after):
        torch.testing.assert_close(x[mask], y[mask], rtol=1e-5, atol=1e-6)


def test_what_cannot_be_had_is_an_error_only_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.SWITCH, "off")
    monkeypatch.setenv(kernels.SWITCH, "native")
    with pytest.raises(RuntimeError, match=r"RDMF_KERNELS=native.*C compiler"):
        kernels.chosen("cpu", torch.float32)
    monkeypatch.setattr(kernels, "triton_fault", lambda: "no such thing")
    assert kernels.chosen("cuda", torch.float32) == "plain"
    monkeypatch.setenv(kernels.SWITCH, "triton")
    with pytest.raises(RuntimeError, match=r"RDMF_KERNELS=triton.*no such thing"):
        kernels.chosen("cuda", torch.float32)
    monkeypatch.setenv(kernels.SWITCH, "auto")
    kernels._tell.cache_clear()
    with pytest.warns(RuntimeWarning, match="no such thing"):
        assert kernels.chosen("cuda", torch.float32) == "plain"
    monkeypatch.setattr(kernels, "triton_fault", lambda: None)
    assert kernels.chosen("cuda", torch.float32) == "triton"
    monkeypatch.setenv(kernels.SWITCH, "fastest")
    with pytest.raises(ValueError, match="fastest"):
        kernels.chosen("cpu", torch.float32)


def test_without_a_working_gpu_the_fault_is_told_and_nothing_raised() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    kernels.triton_fault.cache_clear()
    assert kernels.triton_fault()
    kernels.triton_fault.cache_clear()


def test_the_model_imports_without_triton_and_without_the_compiler() -> None:
    """Either costs a second or more, at every start."""
    code = "import sys; sys.modules['triton'] = None; import rdmf.model; assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("form", [mirrored, in_place])
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_forms_without_a_kernel_are_the_loop(form: object, per_channel: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    field = torch.randn(3, 11, 3, generator=generator, dtype=torch.float64)
    mask = torch.arange(11)[None] < torch.tensor([11, 4, 1])[:, None]
    rate = torch.tensor([0.2, 0.5, 0.01][: 3 if per_channel else 1], dtype=torch.float64)
    weight = torch.randn(field.shape, generator=generator, dtype=torch.float64) * mask[..., None]
    for steps in (1, 2, 13):
        results = []
        for way in (form, diffuse_by_steps):
            x, r = field.clone().requires_grad_(), rate.clone().requires_grad_()
            out = way(x, mask, r, steps)  # type: ignore[operator]
            results.append([out[mask], *torch.autograd.grad(out, (x, r), weight)])
        torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("word", ["plain", "auto"])
def test_no_steps_change_nothing(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, word)
    a, s, mask, rates = fields()
    assert all(torch.equal(x, y) for x, y in zip(gray_scott(a, s, mask, rates, steps=0, step_size=1.0), (a, s)))
    assert torch.equal(diffuse(a, mask, torch.tensor([0.2]), 0), a)


def test_rates_that_vary_in_time_take_the_plain_loop() -> None:
    a, s, mask, rates = fields()
    constant = (rates.activator, rates.substrate, rates.feed, rates.kill)
    varying = Kinetics(*(torch.full_like(a, float(r)) for r in constant))
    found = gray_scott(a, s, mask, varying, steps=3, step_size=1.0)
    expected = gray_scott(a, s, mask, rates, steps=3, step_size=1.0)
    for x, y in zip(found, expected):
        torch.testing.assert_close(x[mask], y[mask])


@needs_kernel
@pytest.mark.long
def test_torch_compile_takes_them_whole_into_its_graph() -> None:
    """fullgraph: no break. The tracer's own backend is enough: what a compiler would do with the rest is not ours."""
    a, s, mask, rates = fields()
    leaves = [x.clone().requires_grad_() for x in (a, s, torch.tensor([0.2]))]

    def model(a: Tensor, s: Tensor, rate: Tensor) -> Tensor:
        x, y = gray_scott(diffuse(a, mask, rate, 10), s, mask, rates, steps=5, step_size=1.0, scales=2)
        return (x * mask[..., None]).sum() + (y * mask[..., None]).square().sum()

    results = []
    for run in (model, torch.compile(model, backend="aot_eager", fullgraph=True)):
        value = run(*leaves)
        results.append([value.detach(), *torch.autograd.grad(value, leaves)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-6)


@needs_kernel
def test_the_operators_are_sound() -> None:
    a, s, mask, _ = fields()
    rates = torch.full((4, 2, 4), 0.1)
    lengths = mask.sum(1)
    tests = ("test_schema", "test_faketensor")
    reaction = (a, s, rates, lengths, "native", 5, 1.0, 2, False, torch.float32)
    torch.library.opcheck(torch.ops.rdmf.gray_scott.default, reaction, test_utils=tests)
    torch.library.opcheck(
        torch.ops.rdmf.heat.default, (a, torch.full((4,), 0.2), lengths, "native", 10), test_utils=tests
    )
