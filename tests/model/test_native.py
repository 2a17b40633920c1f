"""The compiled reaction kernel against the definition in float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rdmf.model import native
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


@needs_kernel
@settings(deadline=None, max_examples=25)
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
    given_ = problem(counts, scales * width, seed)
    options = {"steps": steps, "step_size": eta, "scales": scales}
    exact = run(*given_, torch.float64, fused=False, **options)
    found = run(*given_, torch.float32, **options)
    for name, right, ours in zip(("fields", "a", "s", "D_a", "D_s", "F", "F + k"), exact, found):
        where = given_[2][..., None] if name in {"a", "s"} else torch.ones(1, dtype=torch.bool)
        scale = right.abs().max().clamp_min(1)
        worst = ((ours.double() - right).abs() * where).max() / scale
        assert worst < 2e-5, (name, float(worst))


@needs_kernel
def test_several_threads_give_the_same_bits() -> None:
    a, s, mask, rates = problem([40, 3, 17, 29, 40], 12, 0)
    one = run(a, s, mask, rates, torch.float32, steps=5, step_size=1.0, scales=4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        several = run(a, s, mask, rates, torch.float32, steps=5, step_size=1.0, scales=4)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, y) for x, y in zip(one, several))


def fresh_library() -> object:
    """What `library` would answer in a new process."""
    return native.library.__wrapped__()


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


@needs_kernel
def test_the_kernel_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fresh_library() is not None
    (built,) = (tmp_path / "rdmf").iterdir()
    written = built.stat().st_mtime_ns
    assert fresh_library() is not None
    assert [p.stat().st_mtime_ns for p in (tmp_path / "rdmf").iterdir()] == [written]
