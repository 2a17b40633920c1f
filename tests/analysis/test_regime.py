"""What kind of system a pair of kinetics makes: one point of every kind, and the map against steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rdmf.analysis.coefficients import Coefficients
from rdmf.analysis.equilibria import states
from rdmf.analysis.modes import cosine, modes
from rdmf.analysis.point import dispersion, look_at
from rdmf.analysis.regime import (
    BISTABLE,
    FOLD,
    OSCILLATORY,
    OVERSHOOT,
    REGIMES,
    REPELLING,
    TRIVIAL,
    TURING,
    map_regime,
    shares,
    system_regime,
)
from rdmf.model.reaction import Kinetics, gray_scott


def at(
    f: float, k: float, d_a: float = 0.2, d_s: float = 0.1, eta: float = 1.0, integrator: str = "euler"
) -> Coefficients:
    return Coefficients(*(np.array([v]) for v in (f, k, d_a, d_s)), eta, integrator)


@pytest.mark.parametrize(
    ("point", "system", "of_steps"),
    [
        (at(0.04, 0.06), FOLD, FOLD),
        (at(0.04, 0.06, integrator="split"), FOLD, TRIVIAL),
        (at(0.04, 0.07), TRIVIAL, TRIVIAL),
        (at(0.04, 0.05), BISTABLE, BISTABLE),
        (at(0.04, 0.05, integrator="split"), BISTABLE, BISTABLE),
        (at(0.04, 0.05, 0.01, 0.2), TURING, TURING),
        (at(0.04, 0.05, 0.01, 0.2, integrator="split"), TURING, TURING),
        (at(0.04, 0.0595), OSCILLATORY, OSCILLATORY),
        (at(0.04, 0.059995), REPELLING, REPELLING),
        # Stable as equations, and a step of 60 goes round in growing circles.
        (at(0.04, 0.05, 0.001, 0.001, eta=60.0), BISTABLE, OVERSHOOT),
    ],
)
def test_one_point_of_every_kind(point: Coefficients, system: int, of_steps: int) -> None:
    assert system_regime(point, modes(20))[0] == system
    assert map_regime(point, modes(20)).regime[0] == of_steps
    assert look_at(point, clips=20, steps=5)["regime"] == {"system": REGIMES[system][0], "map": REGIMES[of_steps][0]}


def test_a_video_too_short_for_the_growing_waves_has_none() -> None:
    point = at(0.04, 0.05, 0.03, 0.2)
    low, high = (look_at(point, clips=100, steps=5)["waves"]["growing_wavelengths"][i] for i in (0, -1))
    assert 2 < low < high
    assert system_regime(point, modes(100))[0] == TURING
    assert system_regime(point, modes(1))[0] == BISTABLE
    short = look_at(point, clips=1, steps=5)
    assert short["waves"]["growing_wavelengths"] == []
    assert short["waves"]["condition_met"]


@pytest.mark.parametrize("integrator", ["euler", "split"])
@pytest.mark.parametrize(("d_s", "grows"), [(0.2, True), (0.02, False)])
def test_the_verdict_is_what_many_steps_do(integrator: str, d_s: float, grows: bool) -> None:
    """A small random deviation from the non-trivial state, 400 steps later."""
    point = at(0.04, 0.05, 0.012, d_s, integrator=integrator)
    rest = states(0.04, 0.05, point.implicit)
    noise = torch.from_numpy(1e-6 * np.random.default_rng(0).standard_normal((2, 1, 24, 1)))
    a, s = float(rest.upper_a) + noise[0], float(rest.upper_s) + noise[1]
    rates = Kinetics(*(torch.tensor([v], dtype=torch.float64) for v in (0.012, d_s, 0.04, 0.05)))
    mask = torch.ones(1, 24, dtype=torch.bool)
    a, _ = gray_scott(a, s, mask, rates, steps=400, step_size=1.0, integrator=integrator)
    spread = float(a.std())
    found = map_regime(point, modes(24))
    assert (found.regime[0] == TURING) == grows
    assert (spread > 1e-5) == grows
    if not grows:
        assert spread < 1e-6 * 2 * max(float(found.rest[0]), float(found.waves[0])) ** 400 + 1e-12


def test_growth_over_many_steps_has_the_largest_multiplier() -> None:
    point = at(0.04, 0.05, 0.012, 0.2, integrator="split")
    rest = states(0.04, 0.05, point.implicit)
    noise = torch.from_numpy(1e-9 * np.random.default_rng(1).standard_normal((2, 1, 24, 1)))
    a, s = float(rest.upper_a) + noise[0], float(rest.upper_s) + noise[1]
    rates = Kinetics(*(torch.tensor([v], dtype=torch.float64) for v in (0.012, 0.2, 0.04, 0.05)))
    mask = torch.ones(1, 24, dtype=torch.bool)
    found = map_regime(point, modes(24))
    wave = cosine(24, int(np.abs(modes(24) - found.worst[0]).argmin()))
    sizes = []
    for _ in range(2):
        a, s = gray_scott(a, s, mask, rates, steps=100, step_size=1.0)
        sizes.append(abs(float((a[0, :, 0].numpy() * wave).sum())))
    assert sizes[1] / sizes[0] == pytest.approx(float(found.waves[0]) ** 100, rel=1e-3)


def test_shares_name_what_occurs() -> None:
    assert shares(np.array([[BISTABLE, TRIVIAL], [BISTABLE, BISTABLE]])) == {
        "bistable": 0.75,
        "only the trivial state": 0.25,
    }


def test_numbers_of_the_papers_point() -> None:
    found = look_at(at(0.04, 0.06), clips=75, steps=5)
    upper = found["states"]["upper"]
    assert (upper["a"], upper["s"]) == (pytest.approx(0.2), pytest.approx(0.5))
    assert upper["determinant"] == pytest.approx(0, abs=1e-12)
    assert upper["trace"] == pytest.approx(0.02)
    assert not upper["stable"]
    assert found["states"]["trivial"]["stable"]
    # 1 / (2 D_s + 1) for one step; a wave near 2 clips limits Euler at the trivial state to 2 / (F + k + 4 D_a).
    assert found["euler"]["positive_step_limit"] == pytest.approx(1 / 1.2)
    shortest = 0.1 + modes(75)[-1] * 0.2
    assert found["states"]["trivial"]["euler_step_limit"]["all waves"] == pytest.approx(2 / shortest)


@pytest.mark.parametrize("integrator", ["euler", "split"])
def test_the_dispersion_relation_is_what_the_verdicts_rest_on(integrator: str) -> None:
    point = at(0.04, 0.05, 0.012, 0.2, integrator=integrator)
    waves, found, of_map = dispersion(point, clips=24), look_at(point, clips=24, steps=5), map_regime(point, modes(24))
    assert [w["mu"] for w in waves] == pytest.approx(modes(24))
    assert waves[0]["wavelength"] is None
    growing = [w["wavelength"] for w in waves if (w["upper_growth"] or 0) > 0]
    assert sorted(growing) == pytest.approx(found["waves"]["growing_wavelengths"])  # type: ignore[type-var]
    assert max(w["upper_multiplier"] for w in waves[1:]) == pytest.approx(of_map.waves[0])  # type: ignore[type-var]
    assert waves[0]["upper_multiplier"] == pytest.approx(of_map.rest[0])
    assert all((w["trivial_growth"] or 0) < 0 for w in waves)
    beyond = dispersion(at(0.04, 0.07), clips=5)
    assert all(w["upper_growth"] is None and w["trivial_multiplier"] is not None for w in beyond)
