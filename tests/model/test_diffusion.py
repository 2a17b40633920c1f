"""Temporal diffusion: the fast form is the definition, and the heat equation's laws hold."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.model.diffusion import (
    TemporalDiffusion,
    bounded,
    diffuse,
    diffuse_by_steps,
    laplacian,
    step_kernel,
    unbounded,
)
from rdmf.sections import DiffusionConfig

CASES = settings(max_examples=40, deadline=None)
lengths = st.lists(st.integers(1, 23), min_size=1, max_size=4)
steps = st.integers(0, 12)
seeds = st.integers(0, 2**16)


def case(counts: list[int], seed: int, width: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """A float64 field with garbage in padding, and its mask."""
    generator = torch.Generator().manual_seed(seed)
    field = torch.randn(len(counts), max(counts), width, generator=generator, dtype=torch.float64)
    mask = torch.arange(max(counts))[None] < torch.tensor(counts)[:, None]
    return torch.where(mask[..., None], field, 1e6), mask


def some_rate(share: float, per_channel: bool, width: int = 3) -> torch.Tensor:
    spread = torch.linspace(1.0, 0.3, width if per_channel else 1, dtype=torch.float64)
    return share * spread


@CASES
@given(lengths, steps, st.floats(0.0, 0.5), st.booleans(), seeds)
def test_fast_form_is_the_loop(counts: list[int], k: int, share: float, per_channel: bool, seed: int) -> None:
    field, mask = case(counts, seed)
    rate = some_rate(share, per_channel)
    fast, slow = diffuse(field, mask, rate, k), diffuse_by_steps(field, mask, rate, k)
    torch.testing.assert_close(fast[mask], slow[mask], rtol=0, atol=1e-12)


@CASES
@given(lengths, st.integers(1, 12), st.floats(0.01, 0.49), st.booleans(), seeds)
def test_gradients_are_those_of_the_loop(counts: list[int], k: int, share: float, per_channel: bool, seed: int) -> None:
    field, mask = case(counts, seed)
    weight = torch.randn(field.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    found = []
    for form in (diffuse, diffuse_by_steps):
        x = field.clone().requires_grad_()
        rate = some_rate(share, per_channel).requires_grad_()
        (form(x, mask, rate, k) * weight)[mask].sum().backward()
        assert x.grad is not None
        assert rate.grad is not None
        found.append((x.grad[mask], rate.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("per_channel", [False, True])
def test_gradcheck(per_channel: bool) -> None:
    field, mask = case([3, 2, 1], seed=3, width=2)
    field = torch.where(mask[..., None], field, 0.0)
    rate = some_rate(0.2, per_channel, width=2)
    assert torch.autograd.gradcheck(
        lambda x, r: diffuse(x, mask, r, 5), (field.requires_grad_(), rate.requires_grad_())
    )


@CASES
@given(lengths, steps, st.floats(0.0, 0.5), seeds)
def test_sum_is_conserved_and_the_maximum_principle_holds(counts: list[int], k: int, share: float, seed: int) -> None:
    field, mask = case(counts, seed)
    after = diffuse(field, mask, torch.tensor([share], dtype=torch.float64), k)
    for before, now, n in zip(field, after, counts):
        before, now = before[:n], now[:n]
        torch.testing.assert_close(now.sum(0), before.sum(0), rtol=0, atol=1e-10)
        assert (now.amax(0) <= before.amax(0) + 1e-10).all()
        assert (now.amin(0) >= before.amin(0) - 1e-10).all()


@CASES
@given(st.integers(2, 40), st.data(), st.floats(0.01, 0.5), st.integers(1, 12))
def test_cosine_modes_decay_by_their_eigenvalue(length: int, data: st.DataObject, rate: float, k: int) -> None:
    mode = data.draw(st.integers(0, length - 1))
    place = torch.arange(length, dtype=torch.float64)
    wave = torch.cos(math.pi * mode * (place + 0.5) / length)[None, :, None]
    mask = torch.ones(1, length, dtype=torch.bool)
    factor = 1 - 4 * rate * math.sin(math.pi * mode / (2 * length)) ** 2
    after = diffuse(wave, mask, torch.tensor([rate], dtype=torch.float64), k)
    torch.testing.assert_close(after, wave * factor**k, rtol=0, atol=1e-11)


def test_at_the_default_limit_no_mode_changes_sign() -> None:
    length = 32
    place = torch.arange(length, dtype=torch.float64)
    wave = torch.cos(math.pi * (length - 1) * (place + 0.5) / length)[None, :, None]  # the fastest mode there is
    mask = torch.ones(1, length, dtype=torch.bool)
    after = diffuse(wave, mask, torch.tensor([DiffusionConfig().limit], dtype=torch.float64), 1)
    assert (after * wave >= 0).all()
    beyond = diffuse(wave, mask, torch.tensor([0.5], dtype=torch.float64), 1)
    assert (beyond * wave < 0).any()


@CASES
@given(lengths, steps, seeds)
def test_padding_never_leaks(counts: list[int], k: int, seed: int) -> None:
    field, mask = case(counts, seed)
    rate = torch.tensor([0.23], dtype=torch.float64)
    together = diffuse(field, mask, rate, k)
    for i, n in enumerate(counts):
        alone = diffuse(field[i : i + 1, :n], mask[i : i + 1, :n], rate, k)
        torch.testing.assert_close(together[i, :n], alone[0], rtol=0, atol=1e-12)


def test_laplacian_by_hand() -> None:
    field = torch.tensor([1.0, 4.0, 9.0, 100.0])[None, :, None]
    mask = torch.tensor([[True, True, True, False]])
    assert laplacian(field, mask)[0, :, 0].tolist() == [3.0, 2.0, -5.0, 0.0]


@CASES
@given(st.floats(0, 0.5), st.integers(0, 30))
def test_kernel_is_a_distribution(rate: float, k: int) -> None:
    kernel = step_kernel(torch.tensor([rate], dtype=torch.float64), k)[0]
    assert kernel.shape == (2 * k + 1,)
    assert abs(float(kernel.sum()) - 1) < 1e-12
    torch.testing.assert_close(kernel, kernel.flip(0), rtol=0, atol=1e-14)
    if rate <= 0.25:
        assert (kernel >= 0).all()


@pytest.mark.parametrize("limit", [0.25, 0.5])
@pytest.mark.parametrize("raw", [-1e30, -1e4, -90.0, -1.0, 0.0, 1.0, 90.0, 1e4, 1e30])
def test_rate_stays_in_its_range_for_any_parameter(raw: float, limit: float) -> None:
    for per_channel in (False, True):
        module = TemporalDiffusion(DiffusionConfig(limit=limit, per_channel=per_channel), 4)
        with torch.no_grad():
            module.raw.fill_(raw)
        assert ((module.rate() > 0) & (module.rate() <= limit)).all()


@settings(max_examples=8, deadline=None)
@given(st.floats(-1e6, 1e6), seeds)
def test_wild_optimiser_steps_cannot_leave_the_range(lr: float, seed: int) -> None:
    torch.manual_seed(seed)
    module = TemporalDiffusion(DiffusionConfig(limit=0.5, per_channel=True), 4)
    optimizer = torch.optim.SGD(module.parameters(), lr=abs(lr) + 1.0)
    mask = torch.ones(1, 6, dtype=torch.bool)
    for _ in range(5):
        field = 100 * torch.randn(1, 6, 4)
        optimizer.zero_grad()
        module(field, mask).pow(2).sum().mul(lr).backward()
        optimizer.step()
        after = module(field, mask)
        assert ((module.rate() > 0) & (module.rate() <= 0.5)).all()
        assert after.max() <= field.max() + 1e-3
        assert after.min() >= field.min() - 1e-3


@CASES
@given(st.floats(0.002, 0.998), st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_unbounded_undoes_bounded(share: float, limit: float) -> None:
    raw = torch.tensor(unbounded(share * limit, limit), dtype=torch.float64)
    assert abs(float(bounded(raw, limit)) - share * limit) < 2e-6


def test_module_starts_where_the_settings_say() -> None:
    module = TemporalDiffusion(DiffusionConfig(step_size=0.5, coefficient=0.3, limit=0.25), 8)
    assert float(module.rate().detach()) == pytest.approx(0.15, abs=1e-5)
    field = torch.randn(2, 7, 8)
    mask = torch.ones(2, 7, dtype=torch.bool)
    torch.testing.assert_close(module(field, mask), diffuse_by_steps(field, mask, module.rate(), 10), rtol=0, atol=1e-5)
    still = TemporalDiffusion(DiffusionConfig(steps=0), 8)
    assert torch.equal(still(field, mask), field)
