"""The Gray-Scott system: its steps by hand, its bounds, its order, and its constraints by construction."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.config import Config
from rdmf.model.diffusion import laplacian
from rdmf.model.fusion import LiteralFusion, react
from rdmf.model.reaction import DIFFUSION_LIMIT, RATE_LIMIT, Kinetics, Rates, gray_scott, spread
from rdmf.sections import FusionConfig, ModelConfig
from rdmf.store import InputError

CASES = settings(max_examples=40, deadline=None)
lengths = st.lists(st.integers(1, 19), min_size=1, max_size=4)
seeds = st.integers(0, 2**16)
rates_in_range = st.floats(1e-6, 0.25)


def fields(counts: list[int], seed: int, width: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two float64 fields in [0, 1] and a mask."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(counts), max(counts), width)
    a, s = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.arange(max(counts))[None] < torch.tensor(counts)[:, None]
    return a, s, mask


def kinetics(activator: float, substrate: float, feed: float, kill: float) -> Kinetics:
    return Kinetics(*(torch.tensor([v], dtype=torch.float64) for v in (activator, substrate, feed, kill)))


@pytest.mark.parametrize("counts", [[6], [1], [5, 2, 7]])
def test_euler_is_the_equations_written_out(counts: list[int]) -> None:
    a, s, mask = fields(counts, seed=1)
    eta, d_a, d_s, feed, kill = 0.7, 0.2, 0.1, 0.04, 0.06
    found = gray_scott(a, s, mask, kinetics(d_a, d_s, feed, kill), steps=5, step_size=eta, integrator="euler")
    for b, n in enumerate(counts):
        x, y = a[b, :n].numpy().copy(), s[b, :n].numpy().copy()
        for _ in range(5):
            lap = []
            for field in (x, y):
                out = np.zeros_like(field)
                for i in range(n):
                    for j in (i - 1, i + 1):
                        if 0 <= j < n:
                            out[i] += field[j] - field[i]
                lap.append(out)
            reaction = x * x * y
            x, y = (
                x + d_a * lap[0] + eta * (reaction - (feed + kill) * x),
                y + d_s * lap[1] + eta * (-reaction + feed * (1 - y)),
            )
        np.testing.assert_allclose(found[0][b, :n].numpy(), x, rtol=0, atol=1e-13)
        np.testing.assert_allclose(found[1][b, :n].numpy(), y, rtol=0, atol=1e-13)


@CASES
@given(
    lengths,
    rates_in_range,
    rates_in_range,
    rates_in_range,
    rates_in_range,
    st.floats(1e-3, 2.0),
    st.sampled_from([1, 2, 4]),
    seeds,
)
def test_split_keeps_concentrations_bounded(
    counts: list[int], d_a: float, d_s: float, feed: float, kill: float, eta: float, scales: int, seed: int
) -> None:
    a, s, mask = fields(counts, seed)
    a[:, 0], s[:, 0] = 1.0, 1.0
    if max(counts) > 1:
        a[:, 1], s[:, 1] = 0.0, 0.0
    ceiling = max(1.0, 1 / (eta * (feed + kill)))
    for steps in (1, 40):
        now_a, now_s = gray_scott(
            a, s, mask, kinetics(d_a, d_s, feed, kill), steps=steps, step_size=eta, scales=scales, integrator="split"
        )
        assert now_s[mask].min() >= -1e-12
        assert now_s[mask].max() <= 1 + 1e-12
        assert now_a[mask].min() >= -1e-12
        assert now_a[mask].max() <= ceiling + 1e-9


def test_euler_is_not_bounded_which_is_why_split_exists() -> None:
    a = torch.full((1, 1, 1), 8.0, dtype=torch.float64)
    s = torch.ones(1, 1, 1, dtype=torch.float64)
    mask = torch.ones(1, 1, dtype=torch.bool)
    _, overdrawn = gray_scott(a, s, mask, kinetics(0.1, 0.1, 0.04, 0.06), steps=1, step_size=1.0, integrator="euler")
    _, kept = gray_scott(a, s, mask, kinetics(0.1, 0.1, 0.04, 0.06), steps=1, step_size=1.0, integrator="split")
    assert float(overdrawn) < -1
    assert 0 <= float(kept) <= 1


@pytest.mark.parametrize("integrator", ["euler", "split"])
def test_order_of_convergence_is_one(integrator: str) -> None:
    a, s, mask = fields([9, 6], seed=5)
    total = 4.0

    def solve(steps: int, kind: str) -> torch.Tensor:
        eta = total / steps
        rates = kinetics(eta * 0.2, eta * 0.1, 0.04, 0.06)
        return torch.stack(gray_scott(a, s, mask, rates, steps=steps, step_size=eta, integrator=kind))[:, mask]

    # Richardson's extrapolation of two fine Euler solutions stands for the exact one: both must converge to it.
    exact = 2 * solve(8192, "euler") - solve(4096, "euler")
    errors = [float((solve(n, integrator) - exact).abs().max()) for n in (32, 64, 128)]
    assert errors[-1] < 0.02
    for coarse, fine in itertools.pairwise(errors):
        assert 1.8 < coarse / fine < 2.2


@CASES
@given(lengths, rates_in_range, st.floats(0.01, 0.25), st.sampled_from(["euler", "split"]), seeds)
def test_without_feed_and_kill_matter_is_conserved(
    counts: list[int], d: float, eta: float, integrator: str, seed: int
) -> None:
    a, s, mask = fields(counts, seed)
    # Different coefficients: each species' diffusion conserves that species, the reaction turns one into the other.
    now_a, now_s = gray_scott(
        a, s, mask, kinetics(d, d / 2, 0.0, 0.0), steps=6, step_size=eta, scales=2, integrator=integrator
    )
    for i, n in enumerate(counts):
        before, after = (a + s)[i, :n].sum(0), (now_a + now_s)[i, :n].sum(0)
        torch.testing.assert_close(after, before, rtol=0, atol=1e-9)


@CASES
@given(lengths, seeds)
def test_spread_at_one_scale_is_the_laplacian(counts: list[int], seed: int) -> None:
    field, _, mask = fields(counts, seed)
    assert torch.equal(spread(field, mask, 1)[mask], laplacian(field, mask)[mask])


@CASES
@given(lengths, st.sampled_from([1, 2, 4]), seeds)
def test_spread_conserves_and_does_not_see_padding(counts: list[int], scales: int, seed: int) -> None:
    field, _, mask = fields(counts, seed)
    flow = spread(field, mask, scales)
    for i, n in enumerate(counts):
        torch.testing.assert_close(flow[i, :n].sum(0), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12)
        alone = spread(field[i : i + 1, :n], mask[i : i + 1, :n], scales)
        assert torch.equal(flow[i, :n], alone[0])


def test_spread_reaches_two_to_the_group() -> None:
    field = torch.zeros(1, 9, 4)
    field[0, 4] = 1.0
    flow = spread(field, torch.ones(1, 9, dtype=torch.bool), 4)
    for group, distance in enumerate((1, 2, 4, 8)):
        reached = [i for i in range(9) if flow[0, i, group] != 0]
        expected = [i for i in (4 - distance, 4, 4 + distance) if 0 <= i < 9]
        assert reached == (expected if len(expected) > 1 else [])


@CASES
@given(lengths, st.sampled_from(["euler", "split"]), st.sampled_from([1, 2, 4]), seeds)
def test_padding_never_changes_a_video(counts: list[int], integrator: str, scales: int, seed: int) -> None:
    a, s, mask = fields(counts, seed)
    a = torch.where(mask[..., None], a, 7.0)
    options = {"steps": 5, "step_size": 1.0, "scales": scales, "integrator": integrator}
    rates = kinetics(0.2, 0.1, 0.04, 0.06)
    together = gray_scott(a, s, mask, rates, **options)  # type: ignore[arg-type]
    for i, n in enumerate(counts):
        one = slice(i, i + 1)
        alone = gray_scott(a[one, :n], s[one, :n], mask[one, :n], rates, **options)  # type: ignore[arg-type]
        for big, small in zip(together, alone):
            torch.testing.assert_close(big[i, :n], small[0], rtol=0, atol=1e-14)


raws = st.sampled_from([-1e30, -1e4, -50.0, -3.0, 0.0, 0.7, 50.0, 1e4, 1e30])


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["none", "paper", "turing"]),
    st.sampled_from(["activator", "substrate"]),
    st.tuples(raws, raws, raws, raws),
)
def test_constraints_hold_for_any_parameters(order: str, video: str, raw: tuple[float, ...]) -> None:
    rates = Rates(FusionConfig(order=order, video=video), 4, None)
    with torch.no_grad():
        rates.raw.copy_(torch.tensor(raw)[:, None])
    k = rates()
    for value, limit in (
        (k.activator, DIFFUSION_LIMIT),
        (k.substrate, DIFFUSION_LIMIT),
        (k.feed, RATE_LIMIT),
        (k.kill, RATE_LIMIT),
    ):
        assert 0 < float(value.detach()) <= limit
    d_video, d_text = (k.activator, k.substrate) if video == "activator" else (k.substrate, k.activator)
    if order == "paper":
        assert (d_video > d_text).all()
    if order == "turing":
        assert (k.substrate > k.activator).all()


@pytest.mark.parametrize("order", ["none", "paper", "turing"])
@pytest.mark.parametrize("video", ["activator", "substrate"])
def test_query_driven_rates_keep_bounds_and_order(order: str, video: str) -> None:
    torch.manual_seed(0)
    rates = Rates(FusionConfig(order=order, video=video), 6, 5)
    k = rates(1e4 * torch.randn(3, 5))
    for value in (k.activator, k.substrate, k.feed, k.kill):
        assert value.shape == (3, 1, 6)
        assert ((value > 0) & (value <= 0.25)).all()
    d_video, d_text = (k.activator, k.substrate) if video == "activator" else (k.substrate, k.activator)
    assert order != "paper" or (d_video > d_text).all()
    assert order != "turing" or (k.substrate > k.activator).all()


@pytest.mark.parametrize(
    ("order", "video", "d_video", "d_text"),
    [
        ("none", "activator", 0.2, 0.1),
        ("paper", "activator", 0.2, 0.1),
        ("paper", "substrate", 0.2, 0.1),
        ("turing", "substrate", 0.2, 0.1),
        ("turing", "activator", 0.05, 0.2),
    ],
)
def test_the_initial_coefficients_are_those_of_the_settings(
    order: str, video: str, d_video: float, d_text: float
) -> None:
    config = FusionConfig(order=order, video=video, d_video=d_video, d_text=d_text, feed=0.04, kill=0.06, step_size=1.0)
    k = Rates(config, 4, None)()
    found = (k.activator, k.substrate) if video == "activator" else (k.substrate, k.activator)
    assert float(found[0].detach()) == pytest.approx(d_video, abs=1e-5)
    assert float(found[1].detach()) == pytest.approx(d_text, abs=1e-5)
    assert float(k.feed.detach()) == pytest.approx(0.04, abs=1e-5)
    assert float(k.kill.detach()) == pytest.approx(0.06, abs=1e-5)


def test_roles_swap() -> None:
    video, text, mask = fields([6, 3], seed=9)
    rates = kinetics(0.2, 0.1, 0.04, 0.06)
    as_activator = FusionConfig(video="activator", steps=3)
    as_substrate = dataclasses.replace(as_activator, video="substrate")
    v, t = react(as_activator, rates, video, text, mask, scales=1)
    t_swapped, v_swapped = react(as_substrate, rates, text, video, mask, scales=1)
    assert torch.equal(v, v_swapped)
    assert torch.equal(t, t_swapped)
    other, _ = react(as_substrate, rates, video, text, mask, scales=1)
    assert not torch.allclose(other, v)


def test_literal_fusion_starts_from_bounded_fields() -> None:
    """Raw features in a a s give NaN within an epoch; the literal form must take features of any size."""
    torch.manual_seed(0)
    fusion = LiteralFusion(ModelConfig(hidden=16), FusionConfig(kind="literal", integrator="euler"))
    video, text = 1e4 * torch.randn(2, 5, 16), 1e4 * torch.randn(2, 3, 16)
    out = fusion(video, torch.ones(2, 5, dtype=torch.bool), text, torch.ones(2, 3, dtype=torch.bool))
    assert torch.isfinite(out).all()


@settings(max_examples=30, deadline=None)
@given(lengths, st.integers(1, 6), st.floats(0.01, 2.0), st.sampled_from([1, 2, 4]), st.booleans(), seeds)
def test_the_fused_backward_is_autograds(
    counts: list[int], steps: int, eta: float, scales: int, per_query: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed + 1)
    _, _, mask = fields(counts, seed)
    shape = (len(counts), 1, 4) if per_query else (1,)
    values = [0.01 + 0.23 * torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(4)]
    weights = torch.randn(2, *mask.shape, 4, generator=generator, dtype=torch.float64)
    results = []
    for fused in (True, False):
        a, s = (x.clone().requires_grad_() for x in fields(counts, seed)[:2])
        rates = [v.clone().requires_grad_() for v in values]
        out = gray_scott(a, s, mask, Kinetics(*rates), steps=steps, step_size=eta, scales=scales, fused=fused)
        sum((w * x)[mask].sum() for w, x in zip(weights, out)).backward()  # type: ignore[union-attr]
        results.append([*(x.detach()[mask] for x in out), a.grad, s.grad, *(r.grad for r in rates)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-8, atol=1e-8)


def test_the_fused_backward_passes_gradcheck() -> None:
    a, s, mask = fields([4, 2], seed=2)
    rates = [torch.full((2, 1, 4), v, dtype=torch.float64, requires_grad=True) for v in (0.2, 0.1, 0.04, 0.06)]

    def run(*inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return gray_scott(inputs[0], inputs[1], mask, Kinetics(*inputs[2:]), steps=3, step_size=0.8, scales=2)

    assert torch.autograd.gradcheck(run, (a.requires_grad_(), s.requires_grad_(), *rates))


@pytest.mark.parametrize("name", ["feed", "kill"])
def test_settings_take_every_rate_that_a_model_can_start_from_and_no_other(name: str) -> None:
    """The settings load no torch, so that they cannot take the bound from where the model has it."""
    most = Rates(dataclasses.replace(FusionConfig(), **{name: RATE_LIMIT}), 1, None)()
    assert float(getattr(most, name).detach().max()) == pytest.approx(RATE_LIMIT, rel=1e-2)
    Config().updated({f"fusion.{name}": RATE_LIMIT})
    with pytest.raises(InputError, match=f"fusion.{name}"):
        Config().updated({f"fusion.{name}": RATE_LIMIT + 0.01})
