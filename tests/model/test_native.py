"""The compiled kernels against the definitions in float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rdmf.model import native
from rdmf.model.diffusion import diffuse, diffuse_by_steps
from rdmf.model.reaction import Kinetics, gray_scott

needs_kernel = pytest.mark.skipif(native.library() is None, reason="no C compiler here: the kernel is not in use")


def problem(counts: list[int], width: int, seed: int) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Fields (B, L, d), mask and rates, float64; padding holds junk."""
    generator = torch.Generator().manual_seed(seed)
    size = (len(counts), max(counts), width)
    a, s = (torch.rand(size, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.arange(size[1])[None] < torch.tensor(counts)[:, None]
    a[~mask], s[~mask] = 7.0, -3.0
    rates = [torch.rand((len(counts), 1, width), generator=generator, dtype=torch.float64) / 4 for _ in range(4)]
    return a, s, mask, rates


def run(a: Tensor, s: Tensor, mask: Tensor, rates: list[Tensor], dtype: torch.dtype, **options: object) -> list[Tensor]:
    """Both fields after the steps, and the gradients of a fixed function of them."""
    leaves = [x.detach().clone().to(dtype).requires_grad_() for x in (a, s, *rates)]
    out = torch.stack(gray_scott(leaves[0], leaves[1], mask, Kinetics(*leaves[2:]), **options))  # type: ignore[arg-type]
    kept = out * mask[None, ..., None]
    (kept.square().sum() + kept[0].sum()).backward()
    gradients = [x.grad for x in leaves if x.grad is not None]
    assert len(gradients) == len(leaves)
    return [kept.detach(), *gradients]


def compare(given_: tuple[Tensor, Tensor, Tensor, list[Tensor]], **options: object) -> None:
    """The kernel in float32 against the plain loop in float64: both fields and all six gradients."""
    exact = run(*given_, torch.float64, fused=False, **options)
    found = run(*given_, torch.float32, **options)
    for name, right, ours in zip(("fields", "a", "s", "D_a", "D_s", "F", "F + k"), exact, found):
        where = given_[2][..., None] if name in {"a", "s"} else torch.ones(1, dtype=torch.bool)
        scale = right.abs().max().clamp_min(1)
        worst = ((ours.double() - right).abs() * where).max() / scale
        assert worst < 2e-5, (name, float(worst))


@needs_kernel
@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 23), min_size=1, max_size=4),
    st.integers(1, 21),
    st.integers(1, 6),
    st.integers(1, 4),
    st.sampled_from([0.3, 1.0, 2.0]),
    st.integers(0, 99),
)
def test_values_and_gradients_are_those_of_the_definition(
    counts: list[int], width: int, steps: int, scales: int, eta: float, seed: int
) -> None:
    compare(problem(counts, scales * width, seed), steps=steps, step_size=eta, scales=scales)


@needs_kernel
@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.integers(1, 23), min_size=1, max_size=3),
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_euler_too(counts: list[int], width: int, steps: int, scales: int, seed: int) -> None:
    compare(problem(counts, scales * width, seed), steps=steps, step_size=0.2, scales=scales, integrator="euler")


@needs_kernel
@pytest.mark.parametrize("steps", [10, 16, 17, 40])
@pytest.mark.parametrize("width", [16, 48, 64, 103])
def test_many_steps_and_widths_of_whole_vectors(steps: int, width: int) -> None:
    compare(problem([19, 3, 33], width, 5), steps=steps, step_size=0.5, scales=2)


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_fields_have_a_float32_state(dtype: torch.dtype) -> None:
    a, s, mask, rates = problem([30, 11], 8, 3)
    a, s, rates = a.to(dtype), s.to(dtype), [r.to(dtype) for r in rates]
    exact = gray_scott(a.double(), s.double(), mask, Kinetics(*(r.double() for r in rates)), steps=8, step_size=1.0)
    found = gray_scott(a, s, mask, Kinetics(*rates), steps=8, step_size=1.0)
    for right, ours in zip(exact, found):
        assert ours.dtype == dtype
        # Half a unit in the last place for the result's rounding, and as much again for eta * F and eta * (F + k).
        assert ((ours.double() - right).abs() <= 3 * torch.finfo(dtype).eps * right.abs().clamp_min(0.1))[mask].all()


@needs_kernel
@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 23), min_size=1, max_size=4),
    st.sampled_from([1, 3, 16, 40, 64, 70]),
    st.integers(1, 13),
    st.booleans(),
    st.integers(0, 99),
)
def test_diffusion_is_the_loop(counts: list[int], width: int, steps: int, per_channel: bool, seed: int) -> None:
    field, _, mask, _ = problem(counts, width, seed)
    generator = torch.Generator().manual_seed(seed)
    rate = torch.rand(width if per_channel else 1, generator=generator, dtype=torch.float64) / 2
    weight = torch.randn(field.shape, generator=generator, dtype=torch.float64) * mask[..., None]
    results = []
    for form, dtype in ((diffuse_by_steps, torch.float64), (diffuse, torch.float32)):
        leaves = [x.detach().clone().to(dtype).requires_grad_() for x in (field, rate)]
        out = form(leaves[0], mask, leaves[1], steps) * mask[..., None]
        results.append([out.detach(), *torch.autograd.grad(out, leaves, weight.to(dtype))])
    for right, ours in zip(*results):
        assert right.shape == ours.shape
        where = mask[..., None] if right.dim() == 3 else torch.ones(1, dtype=torch.bool)
        assert ((ours.double() - right).abs() * where).max() < 3e-5 * right.abs().max().clamp_min(1)


@needs_kernel
def test_padding_is_carried_along_whatever_it_holds() -> None:
    a, s, mask, rates = problem([6, 2], 8, 0)
    a, s = (torch.where(mask[..., None], x, float("nan")).float() for x in (a, s))
    rates = [r.float() for r in rates]
    for out, given_ in zip(gray_scott(a, s, mask, Kinetics(*rates), steps=5, step_size=1.0, scales=2), (a, s)):
        assert torch.isfinite(out[mask]).all()
        torch.testing.assert_close(out[~mask], given_[~mask], rtol=0, atol=0, equal_nan=True)
    out = diffuse(a, mask, torch.tensor([0.2]), 10)
    assert torch.isfinite(out[mask]).all()
    assert out[~mask].isnan().all()


@needs_kernel
def test_several_threads_give_the_same_bits() -> None:
    a, s, mask, rates = problem([40, 3, 17, 29, 40], 12, 0)

    def both() -> list[Tensor]:
        x = a.float().requires_grad_()
        rate = torch.full((12,), 0.2, requires_grad=True)
        out = diffuse(x, mask, rate, 10)
        found = run(a, s, mask, rates, torch.float32, steps=5, step_size=1.0, scales=4)
        return [*found, out.detach(), *torch.autograd.grad(out.square().sum(), (x, rate))]

    one = both()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        several = both()
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, y) for x, y in zip(one, several))


@needs_kernel
@pytest.mark.parametrize("gradient", [False, True])
def test_no_state_between_the_first_and_the_last_is_kept(gradient: bool) -> None:
    steps, field = 8, torch.rand(1, 4000, 64)
    mask = torch.ones(1, 4000, dtype=torch.bool)
    rates = Kinetics(*(torch.full((1,), 0.1, requires_grad=gradient) for _ in range(4)))
    kept: list[Tensor] = []
    activity = [torch.profiler.ProfilerActivity.CPU]
    with (
        torch.set_grad_enabled(gradient),
        torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x),  # type: ignore[func-returns-value]
        torch.profiler.profile(activities=activity, profile_memory=True) as profile,
    ):
        out = gray_scott(field, field, mask, rates, steps=steps, step_size=1.0)
    taken = sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())
    size = field.numel() * 4
    assert taken < 2.1 * size  # both results and next to nothing else
    assert out[0].requires_grad == gradient
    assert sum(x.numel() * x.element_size() for x in kept if x.data_ptr() != field.data_ptr()) < 0.1 * size


def fresh_library() -> object:
    """What `library` would answer in a new process."""
    native._built.cache_clear()
    try:
        return native.library()
    finally:
        native._built.cache_clear()


@pytest.mark.parametrize("change", [{"RDMF_NATIVE": "off"}, {"PATH": "/nonesuch", "CC": "nonesuch"}])
def test_without_a_compiler_or_switched_off_there_is_no_kernel_and_no_error(
    change: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    assert fresh_library() is None


@needs_kernel
def test_a_broken_compiler_or_an_unwritable_cache_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert fresh_library() is None
    (tmp_path / "cc").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", str(tmp_path / "cc"))
    assert fresh_library() is None
    assert not list((tmp_path / "cache" / "rdmf").iterdir())


@pytest.mark.long
@needs_kernel
def test_the_kernel_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fresh_library() is not None
    (built,) = (tmp_path / "rdmf").iterdir()
    written = built.stat().st_mtime_ns
    assert fresh_library() is not None
    assert [p.stat().st_mtime_ns for p in (tmp_path / "rdmf").iterdir()] == [written]
