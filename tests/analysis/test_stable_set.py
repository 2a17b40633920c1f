"""Kinetics that no optimiser step can take out of the stable set, for any numbers and any rate of learning."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.analysis.coefficients import Coefficients
from rdmf.analysis.discrete import implicit, mode_map, step_jacobian
from rdmf.analysis.equilibria import fold_margin, states
from rdmf.analysis.matrices import radius
from rdmf.analysis.modes import combs, modes, scale_modes
from rdmf.analysis.regime import BISTABLE, TURING, map_regime, system_regime
from rdmf.config import Config
from rdmf.model.reaction import DIFFUSION_LIMIT, RATE_LIMIT, Kinetics, Rates
from rdmf.model.stable_set import DEPTH, NEARNESS, StableSet
from rdmf.sections import FusionConfig
from rdmf.store import InputError

CASES = settings(max_examples=60, deadline=None)
raws = st.one_of(st.floats(-8, 8), st.sampled_from([-1e30, -1e6, -40.0, 0.0, 40.0, 1e6, 1e30]))
etas = st.sampled_from([1e-3, 0.1, 0.5, 1.0, 1.5, 2.0])
integrators = st.sampled_from(["euler", "split"])


def coefficients(rates: Kinetics, config: FusionConfig) -> Coefficients:
    """As float64 arrays of whatever single-precision numbers the model would use."""
    f, k, d_a, d_s = (
        v.detach().double().numpy().reshape(-1) for v in (rates.feed, rates.kill, rates.activator, rates.substrate)
    )
    eta = config.step_size
    return Coefficients(f, k, d_a / eta, d_s / eta, eta, config.integrator)


def check(rates: Kinetics, config: FusionConfig) -> None:
    """Everything that `fusion.kinetics` promises, for the equations and for the steps."""
    c = coefficients(rates, config)
    for value, limit in ((c.feed, RATE_LIMIT), (c.kill, RATE_LIMIT)):
        assert ((value > 0) & (value < limit)).all()
    for value in (c.activator * c.step, c.substrate * c.step):
        assert ((value > 0) & (value <= DIFFUSION_LIMIT)).all()
    assert (fold_margin(c.feed, c.kill) > 1e-4).all()
    assert (fold_margin(c.feed, c.kill, c.implicit) > 1e-4).all()
    assert (states(c.feed, c.kill).upper_a ** 2 > np.maximum(c.feed, c.kill)).all()
    at = states(c.feed, c.kill, c.implicit)
    one_step = step_jacobian(at.upper_a, at.upper_s, c.feed, c.kill, step=c.step, integrator=c.integrator)
    assert (radius(one_step) < 1).all()
    if config.kinetics == "turing":
        for clips in (6, 7, 11, 50):
            assert (map_regime(c, modes(clips)).regime == TURING).all()
            assert (system_regime(c, modes(clips)) == TURING).all() or c.integrator == "split"


@CASES
@given(
    st.sampled_from(["stable", "turing"]),
    integrators,
    etas,
    st.sampled_from(["activator", "substrate"]),
    st.tuples(raws, raws, raws, raws),
)
def test_no_numbers_lead_out(kinetics: str, integrator: str, eta: float, video: str, raw: tuple[float, ...]) -> None:
    config = FusionConfig(kinetics=kinetics, integrator=integrator, step_size=eta, video=video)
    rates = Rates(config, 4, None)
    with torch.no_grad():
        rates.raw.copy_(torch.tensor(raw)[:, None])
    check(rates(), config)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["stable", "turing"]),
    integrators,
    etas,
    st.sampled_from([1e-2, 1.0, 1e3, 1e6]),
    st.integers(0, 2**16),
)
def test_no_step_of_an_optimiser_leads_out(kinetics: str, integrator: str, eta: float, lr: float, seed: int) -> None:
    """Query-driven rates under losses that pull every coefficient wherever they like, at absurd rates of learning."""
    torch.manual_seed(seed)
    config = FusionConfig(kinetics=kinetics, integrator=integrator, step_size=eta)
    rates = Rates(config, 3, 5)
    optimiser = (torch.optim.AdamW, torch.optim.SGD)[seed % 2](rates.parameters(), lr=lr)
    for _ in range(6):
        pull = torch.randn(4, 2, 1, 3) * 10.0 ** float(torch.randint(0, 7, ()))
        found = rates(torch.randn(2, 5))
        loss = sum((w * v).sum() for w, v in zip(pull, (found.feed, found.kill, found.activator, found.substrate)))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in rates.parameters())
        optimiser.step()
        check(rates(100 * torch.randn(2, 5)), config)
        check(rates(), config)


@CASES
@given(st.floats(0.002, 0.24), st.floats(0.001, 0.2), integrators, etas)
def test_every_stable_pair_has_coordinates(f: float, k: float, integrator: str, eta: float) -> None:
    """The map is onto: its coordinates (p, depth) are within (0, 1) for the stable pairs, and lead back to them."""
    inside = StableSet(eta, integrator, turing=False, limit=DIFFUSION_LIMIT)
    at = states(f, k, implicit(eta, integrator))
    if not np.isfinite(at.upper_a):
        return
    p = torch.tensor(float(at.lower_a / at.upper_a), dtype=torch.float64)
    least, greatest = (float(v) for v in inside.states(p))
    depth = (float(at.upper_a) - least) / (greatest - least)
    feed, kill = (float(v) for v in inside.at(p, torch.tensor(depth, dtype=torch.float64)))
    assert (feed, kill) == (pytest.approx(f, rel=1e-6), pytest.approx(k, rel=1e-5))
    if integrator == "euler" and eta < 0.01 and abs(at.upper_a**2 / k - 1) > 0.05:
        assert (0 < depth < 1) == (at.upper_a**2 > max(f, k))  # all that the equations call stable, and nothing else
    if NEARNESS[0] < p < NEARNESS[1] and DEPTH[0] < depth < DEPTH[1]:
        assert inside.coordinates(f, k) == (pytest.approx(float(p), rel=1e-6), pytest.approx(depth, rel=1e-6))


@CASES
@given(st.floats(0.02, 0.94), st.floats(0.06, 0.97))
def test_the_coordinates_are_what_the_docstring_says(p: float, q: float) -> None:
    """Of the equations (the limit of a small Euler step): F = p a^2, a = (p + q) / (1 + p)^2, trace and determinant."""
    inside = StableSet(1e-9, "euler", turing=False, limit=DIFFUSION_LIMIT)
    f, k = (float(v) for v in inside.at(*(torch.tensor(v, dtype=torch.float64) for v in (p, q))))
    a = (p + q) / (1 + p) ** 2
    at = states(f, k)
    assert at.upper_a == pytest.approx(a, rel=1e-6)
    assert at.lower_a / at.upper_a == pytest.approx(p, rel=1e-6)
    assert f == pytest.approx(p * a**2, rel=1e-6)
    assert k == pytest.approx(p * a * (1 - q) / (1 + p) ** 2, rel=1e-6)
    assert k - a**2 == pytest.approx(-a * q / (1 + p), rel=1e-5)
    assert k <= 1 / 16


@pytest.mark.parametrize("integrator", ["euler", "split"])
def test_settings_inside_the_set_are_where_training_starts(integrator: str) -> None:
    config = FusionConfig(kinetics="stable", integrator=integrator, feed=0.04, kill=0.05, d_video=0.2, d_text=0.1)
    found = Rates(config, 4, None)()
    values = [float(v.detach()) for v in (found.feed, found.kill, found.activator, found.substrate)]
    assert values == pytest.approx([0.04, 0.05, 0.2, 0.1], abs=1e-5)


def test_settings_outside_start_at_the_same_feed_rate_just_inside() -> None:
    found = Rates(FusionConfig(kinetics="stable", feed=0.04, kill=0.06), 4, None)()
    assert float(found.feed.detach()) == pytest.approx(0.04, rel=0.01)
    assert 0.052 < float(found.kill.detach()) < 0.054  # where a sigmoid still has a slope
    for f, k in ((0.5, 0.5), (1e-4, 0.5), (0.24, 1e-4)):
        config = FusionConfig(kinetics="stable", feed=f, kill=k)
        check(Rates(config, 4, None)(), config)


def test_turing_starts_at_the_settings_coefficients_where_they_let_waves_grow() -> None:
    config = FusionConfig(kinetics="turing", feed=0.04, kill=0.05, d_video=0.015, d_text=0.2)
    found = Rates(config, 4, None)()
    values = [float(v.detach()) for v in (found.feed, found.kill, found.activator, found.substrate)]
    assert values == pytest.approx([0.04, 0.05, 0.015, 0.2], abs=1e-5)


def test_turing_lets_waves_grow_on_every_time_scale() -> None:
    config = FusionConfig(kinetics="turing")
    c = coefficients(Rates(config, 4, None)(), config)
    for scale, clips in itertools.product((1, 2, 3), (48, 51, 75)):
        assert min(combs(clips, scale)) >= 6
        assert (map_regime(c, scale_modes(clips, scale)).regime == TURING).all()


def test_turing_needs_roles_that_allow_it() -> None:
    with pytest.raises(InputError, match="substrate to diffuse faster"):
        Config().updated({"fusion.kinetics": "turing", "fusion.order": "paper"})
    Config().updated({"fusion.kinetics": "turing", "fusion.order": "paper", "fusion.video": "substrate"})
    Config().updated({"fusion.kinetics": "stable", "fusion.order": "paper"})


def test_free_kinetics_are_what_they_were() -> None:
    """The default leaves every number as it was before there was a choice."""
    torch.manual_seed(0)
    rates = Rates(FusionConfig(), 4, 3)
    query = torch.randn(2, 3)
    raw = (rates.raw + rates.shift(query).unflatten(-1, (4, -1))).unbind(1)  # type: ignore[misc]
    found = rates(query)
    for value, r, limit in (
        (found.activator, raw[0], 0.25),
        (found.substrate, raw[1], 0.25),
        (found.feed, raw[2], 0.25),
        (found.kill, raw[3], 0.25),
    ):
        assert torch.equal(value[:, 0], limit * (1e-6 + (1 - 2e-6) * torch.sigmoid(r)))
    assert rates.state_dict().keys() == Rates(FusionConfig(kinetics="turing"), 4, 3).state_dict().keys()


def test_a_run_from_before_the_setting_loads() -> None:
    values = Config().to_dict()
    del values["fusion"]["kinetics"]
    assert Config.from_dict(values) == Config()
    assert Config().fusion.kinetics == "free"


def test_the_stable_set_is_where_the_classifier_finds_it() -> None:
    config = FusionConfig(kinetics="stable", d_video=0.2, d_text=0.1)
    c = coefficients(Rates(config, 4, None)(), config)
    assert (system_regime(c, modes(20)) == BISTABLE).all()
    # With the activator faster no wave can grow, whatever the video's length.
    assert (map_regime(c, modes(200)).waves < 1).all()
    assert not math.isnan(float(map_regime(c, modes(2)).waves[0]))
    one = mode_map(np.eye(2), np.array(0.0), np.array(0.0), "split")
    np.testing.assert_array_equal(one, np.eye(2))
