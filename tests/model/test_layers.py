"""Layers that compute in another order than they are written: equal to the plain ones, gradients too."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rdmf.model.layers import Near, Projection


def gradients(module: nn.Module, out: Tensor) -> list[Tensor]:
    """Of every parameter, for a loss that weighs every output differently."""
    weight = torch.linspace(-1, 1, out.numel()).reshape(out.shape).to(out)
    return list(torch.autograd.grad((out * weight).sum(), list(module.parameters())))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 6), st.integers(1, 5), st.integers(0, 99))
def test_near_is_the_convolution(batch: int, length: int, inputs: int, outputs: int, seed: int) -> None:
    torch.manual_seed(seed)
    near = Near(inputs, outputs).double()
    plain = nn.Conv1d(inputs, outputs, 3, padding=1).double()
    plain.load_state_dict(near.state_dict())
    x = torch.randn(batch, length, inputs, dtype=torch.float64)
    ours, theirs = near(x), plain(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(gradients(near, ours), gradients(plain, theirs)):
        torch.testing.assert_close(a, b)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(2, 9), st.integers(1, 5), st.integers(0, 99))
def test_a_projection_is_its_layers_one_after_the_other(rows: int, inputs: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    projection = Projection(inputs, width, 0.5).double().eval()
    norm = projection.layers[0]
    assert isinstance(norm, nn.LayerNorm)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(rows, inputs, dtype=torch.float64)
    ours, theirs = projection(x), projection.layers(x)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(gradients(projection, ours), gradients(projection, theirs)):
        torch.testing.assert_close(a, b)


def test_a_projection_drops_features_in_training_and_never_its_bias() -> None:
    torch.manual_seed(0)
    projection = Projection(64, 8, 0.5)
    x = torch.randn(4, 64)
    assert not torch.equal(projection(x), projection(x))
    with torch.no_grad():
        projection.layers[0].weight.zero_()
        projection.layers[0].bias.normal_()
    assert torch.equal(projection(x), projection(x))
