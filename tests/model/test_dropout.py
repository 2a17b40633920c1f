"""Dropout with cheap masks: the mean stays, the rate is the rate, nothing in evaluation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.model import kernels, native
from rdmf.model.dropout import Dropout, add_dropped, draws, dropout, dropped_gelu

needs_kernel = pytest.mark.skipif(native.library() is None, reason="no C compiler here: the kernel is not in use")


@given(rate=st.floats(0.01, 0.9), shape=st.lists(st.integers(1, 7), min_size=1, max_size=4))
def test_elements_are_zero_or_scaled(rate: float, shape: list[int]) -> None:
    out = dropout(torch.ones(shape), rate, training=True)
    kept = 65536 / (65536 - round(rate * 65536))
    assert out.shape == torch.Size(shape)
    assert bool(((out == 0) | torch.isclose(out, torch.tensor(kept))).all())


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5, 0.9])
def test_share_and_independence(rate: float) -> None:
    torch.manual_seed(0)
    zero = (dropout(torch.ones(400_001), rate, training=True) == 0).double()
    spread = (rate * (1 - rate) / len(zero)) ** 0.5
    assert abs(float(zero.mean()) - rate) < 5 * spread + 1 / 65536
    for lag in (1, 2, 3, 4):  # the four draws of one word must not be tied to each other
        together = float((zero[lag:] * zero[:-lag]).mean())
        assert abs(together - rate * rate) < 5 * rate * (1 - rate) / len(zero) ** 0.5 + 2 / 65536 + 10 * rate * spread


def test_gradient_goes_where_the_value_went() -> None:
    x = torch.randn(5, 9, dtype=torch.float64, requires_grad=True)
    out = dropout(x, 0.4, training=True)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad == 0, out == 0)
    assert torch.allclose(x.grad * x, out)


def test_nothing_without_training_and_seeded() -> None:
    layer, x = Dropout(0.3), torch.randn(4, 4)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    layer.train()
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    assert torch.equal(first, layer(x))


def test_ends() -> None:
    assert torch.equal(dropout(torch.ones(10), 1.0, training=True), torch.zeros(10))
    with pytest.raises(ValueError, match=r"\[0, 1\], not 1.5"):
        dropout(torch.ones(2), 1.5, training=True)


WAYS = {
    "dropout": lambda x, y, rate: dropout(x, rate, training=True),
    "gelu": lambda x, y, rate: dropped_gelu(x, rate, training=True),
    "sum": lambda x, y, rate: add_dropped(y, x, rate, training=True),
}


@needs_kernel
@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(sorted(WAYS)),
    st.lists(st.integers(0, 40), min_size=1, max_size=3),
    st.sampled_from(
        [(torch.float32, torch.float32), (torch.bfloat16, torch.float32), (torch.bfloat16, torch.bfloat16)]
    ),
    st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    st.integers(0, 99),
)
def test_kernels_do_what_pytorch_does(
    name: str, shape: list[int], types: tuple[torch.dtype, torch.dtype], rate: float, seed: int
) -> None:
    """The same elements are dropped, values and gradients are equal to rounding."""
    generator = torch.Generator().manual_seed(seed)
    start = [(3 * torch.randn(shape, generator=generator)).to(dtype) for dtype in types]
    weight = torch.randn(shape, generator=generator)
    found = []
    for word in ("auto", "plain"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(kernels.SWITCH, word)
            x, y = (t.clone().requires_grad_() for t in start)
            torch.manual_seed(seed)
            out = WAYS[name](x, y, rate)
            asked = [x, y] if name == "sum" else [x]
            found.append([out.detach(), *torch.autograd.grad((out.float() * weight).sum(), asked)])
    # Where terms cancel, what rounding leaves is small beside the terms, not beside their sum.
    inputs = (start[0].float().abs() + start[1].float().abs()) / (1 - rate)
    through = 1.2 * weight.abs() / (1 - rate)  # GELU is nowhere steeper than 1.13
    # Ours rounds once, plain code after each operation, up to three times; bfloat16 by 2^-8 at most.
    share = 2e-6 if start[0].dtype == start[1].dtype == torch.float32 else 4 * 2.0**-8
    for ours, theirs, terms in zip(*found, (inputs, through, through)):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert bool(((ours.float() - theirs.float()).abs() <= share * terms + 1e-6).all())


@needs_kernel
def test_gelu_is_exact_over_the_whole_line() -> None:
    x = torch.cat((torch.linspace(-14, 14, 40_001), torch.tensor([0.0, -0.0, 1e-30, -1e30, 1e30]))).requires_grad_()
    wide = x.detach().double().requires_grad_()
    ours, right = dropped_gelu(x, 0.0, training=True), torch.nn.functional.gelu(wide)
    torch.testing.assert_close(ours.double(), right, rtol=1e-6, atol=1e-6)
    (gradient,), (true,) = (torch.autograd.grad(out[:-2].sum(), given) for out, given in ((ours, x), (right, wide)))
    torch.testing.assert_close(gradient.double(), true, rtol=1e-6, atol=1e-6)


@needs_kernel
def test_no_mask_is_kept() -> None:
    kept: list[torch.Tensor] = []
    x = torch.randn(1000, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        dropout(x, 0.5, training=True)
        add_dropped(x, x, 0.5, training=True)
        dropped_gelu(x, 0.5, training=True)
    assert all(t.data_ptr() == x.data_ptr() for t in kept)


def test_draws_are_even_and_differ_from_seed_to_seed() -> None:
    torch.manual_seed(0)
    many = torch.stack([draws(native.fresh_seed(), 4001) for _ in range(300)]).double() / 2**15
    assert abs(float(many.mean())) < 5 / (3 * many.numel()) ** 0.5
    assert abs(float(many.square().mean()) - 1 / 3) < 0.002
    apart = torch.corrcoef(many).fill_diagonal_(0)
    assert float(apart.abs().max()) < 6 / 4001**0.5
    places = torch.corrcoef(many[:, :300].T).fill_diagonal_(0)
    assert float(places.abs().max()) < 6 / 300**0.5
