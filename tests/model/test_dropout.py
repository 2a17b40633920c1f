"""Dropout with cheap masks: the mean stays, the rate is the rate, nothing in evaluation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rdmf.model.dropout import Dropout, dropout


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
