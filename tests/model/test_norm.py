"""Layer norm by the compiled kernel against PyTorch's own."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rdmf.model import native
from rdmf.model.norm import concentration, normed

needs_kernel = pytest.mark.skipif(native.library() is None, reason="no C compiler here: the kernel is not in use")


def made(width: int, seed: int) -> nn.LayerNorm:
    torch.manual_seed(seed)
    layer = nn.LayerNorm(width)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


def result(layer: nn.LayerNorm, x: Tensor, weight: Tensor) -> list[Tensor]:
    """Values, rounded to bfloat16 under autocast, and gradients."""
    x = x.detach().clone().requires_grad_()
    out = normed(layer, x, rounded=True)
    return [out.detach(), *torch.autograd.grad((out * weight).sum(), [x, *layer.parameters()])]


@needs_kernel
@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=3),
    st.sampled_from([1, 2, 15, 16, 17, 64, 100, 256]),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.integers(0, 99),
)
def test_values_and_gradients_are_pytorchs(shape: list[int], width: int, dtype: torch.dtype, seed: int) -> None:
    layer = made(width, seed)
    # The gradient of a result in bfloat16 is rounded to it.
    x, weight = ((2 * torch.randn(*shape, width) + 1).to(kind).float() for kind in (dtype, torch.bfloat16))
    exact = [t.float() for t in result(layer.double(), x.double(), weight.double())]
    layer.float()
    with (
        torch.autocast("cpu", torch.bfloat16),
        patch.object(native, "norm_forward", wraps=native.norm_forward) as kernel,
    ):
        found = result(layer, x.to(dtype), weight)
    assert kernel.called == bool(x.numel())
    assert [t.dtype for t in found] == [torch.bfloat16, dtype, torch.float32, torch.float32]
    # A row of one number, or of nearly equal ones, is divided by next to nothing, and what rounding left grows with it.
    over = ((x - x.mean(-1, keepdim=True)).double().square().mean(-1, keepdim=True) + layer.eps).rsqrt().float()
    grown = 1 + x.abs().amax(-1, keepdim=True) * over
    gain, inner = layer.weight.detach().abs(), tuple(range(len(shape)))
    through = (gain * weight.abs()).amax(-1, keepdim=True) * over * grown
    rounding = (gain * grown + 1, through, (weight.abs() * grown).sum(inner), weight.abs().sum(inner))
    for name, ours, right, size in zip(("values", "x", "weight", "bias"), found, exact, rounding):
        assert ours.shape == right.shape
        coarse = 2.0**-8 * right.abs() if ours.dtype == torch.bfloat16 else 0.0
        assert ((ours.float() - right).abs() <= coarse + 4e-6 * size).all(), name


@needs_kernel
@pytest.mark.parametrize("rounded", [False, True])
def test_types_are_those_without_the_kernel(rounded: bool) -> None:
    layer, x = made(24, 0), torch.randn(5, 24)
    for training in (True, False):
        layer.train(training)
        for cast in (True, False):
            for given_ in (x, x.bfloat16()) if cast else (x,):
                with torch.autocast("cpu", torch.bfloat16, enabled=cast):
                    ours, theirs = normed(layer, given_, rounded=rounded), layer(given_)
                assert ours.dtype == (torch.bfloat16 if cast and rounded else theirs.dtype)
                torch.testing.assert_close(ours.float(), theirs.float(), atol=0.03, rtol=0.01)


@needs_kernel
@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.integers(1, 20), st.sampled_from([2, 16, 40, 64]), st.booleans(), st.integers(0, 99))
def test_a_field_starts_where_the_plain_operations_start_it(
    batch: int, length: int, width: int, moved: bool, seed: int
) -> None:
    layer = made(width, seed)
    given_ = [torch.randn(batch, length, width), *(torch.randn(batch, 1, width) for _ in range(2 if moved else 0))]
    weight, found = torch.randn(batch, length, width), []
    for dtype in (torch.float32, torch.float64):
        layer.to(dtype)
        x, *level = (t.to(dtype).requires_grad_() for t in given_)
        out = concentration(layer, x, *level)
        wanted = [x, *level, *layer.parameters()]
        found.append([out.detach(), *torch.autograd.grad((out * weight).sum(), wanted)])
    for ours, right in zip(*found):
        assert ours.shape == right.shape
        assert ((ours - right).abs() <= 3e-4 * right.abs().max().clamp_min(1)).all()


@needs_kernel
def test_several_threads_give_the_same_bits() -> None:
    layer, x, weight, before, found = made(40, 1), torch.randn(77, 40), torch.randn(77, 40), torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            with torch.autocast("cpu", torch.bfloat16):
                found.append(result(layer, x, weight))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found))
