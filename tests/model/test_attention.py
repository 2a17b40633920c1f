"""Attention with weights moved to the shorter side: the same values and gradients as without."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rdmf.model.attention import Attention


def reference(layer: Attention, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """By PyTorch's own layer."""
    plain = nn.MultiheadAttention(query.shape[-1], layer.heads, batch_first=True, dtype=query.dtype)
    parts = (layer.query, layer.key, layer.value)
    weights = torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts])
    out, _ = nn.functional.multi_head_attention_forward(
        *(x.transpose(0, 1) for x in (query, key, value)),
        query.shape[-1],
        layer.heads,
        *weights,
        plain.bias_k,
        plain.bias_v,
        False,
        0.0,
        layer.out.weight,
        layer.out.bias,
        key_padding_mask=None if mask is None else ~mask,
    )
    return out.transpose(0, 1)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 3),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
    st.integers(0, 99),
)
def test_values_and_gradients(batch: int, count: int, size: int, heads: int, masked: bool, seed: int) -> None:
    torch.manual_seed(seed)
    layer = Attention(8, heads).double()
    given_ = [torch.randn(batch, n, 8, dtype=torch.float64, requires_grad=True) for n in (count, size, size)]
    mask = torch.arange(size)[None] < torch.randint(1, size + 1, (batch, 1)) if masked else None
    ours, theirs = layer(*given_, mask), reference(layer, *given_, mask)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn_like(ours)
    wanted = [*given_, *layer.parameters()]
    for a, b in zip(*(torch.autograd.grad((x * weight).sum(), wanted) for x in (ours, theirs))):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-6)


@pytest.mark.parametrize(("count", "size"), [(75, 16), (16, 75), (20, 20)])
def test_every_way_is_taken_and_bfloat16_is_near(
    count: int, size: int, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    torch.manual_seed(0)
    layer, taken = Attention(64, 4), []
    for name in ("_few_keys", "_few_queries"):
        way = getattr(layer, name)
        monkeypatch.setattr(layer, name, lambda *x, way=way, name=name: taken.append(name) or way(*x))
    query, key = torch.randn(2, count, 64), torch.randn(2, size, 64)
    mask = torch.arange(size)[None] < torch.tensor([[size], [3]])
    exact = layer(query, key, key, mask)
    assert taken == ["_few_keys"] * (size < count) + ["_few_queries"] * (size > count)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(query, key, key, mask)
    assert (rounded.float() - exact).abs().max() < 0.02 * exact.abs().max()
    junk = key.clone()
    junk[~mask] = 1e4
    torch.testing.assert_close(layer(query, junk, junk, mask), exact)
