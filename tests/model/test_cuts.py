"""Walls at cuts: nothing flows through, nothing is lost, and without cuts all is as without walls."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rdmf.model import cuts as cuts_module
from rdmf.model.cuts import FAR, HIGHEST, Cuts, Walls
from rdmf.model.diffusion import TemporalDiffusion
from rdmf.model.reaction import Kinetics, gray_scott, spread
from rdmf.sections import DiffusionConfig


def two_scenes(first: int, second: int, padding: int = 2) -> tuple[Tensor, Tensor]:
    """(1, L, 4) features of two scenes that have nothing in common, with garbage in padding, and the mask."""
    video = torch.full((1, first + second + padding, 4), 7.0)
    video[0, :first] = torch.tensor([1.0, 0.1, 0.0, 0.0])
    video[0, first : first + second] = torch.tensor([0.0, 0.0, 1.0, 0.1])
    return video, torch.arange(first + second + padding)[None] < first + second


@pytest.fixture(params=["matrix", "steps"], autouse=True)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to compute the flow."""
    if request.param == "steps":
        monkeypatch.setattr(cuts_module, "DENSE", 0)


def test_walls_stand_where_the_scene_changes_and_nowhere_else() -> None:
    video, mask = two_scenes(3, 4)
    heights = Cuts(0.3)(video, mask).heights.detach().clone()
    assert heights.shape == (1, 9)
    assert heights[0, 3] == pytest.approx((1 / 0.3) ** 2)
    heights[0, 3] = 0
    assert not heights.round(decimals=5).any()
    assert Cuts(0.01)(video, mask).heights.max() == HIGHEST


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(0, 2), st.integers(0, 99))
def test_through_walls_less_flows_never_more(length: int, scale: int, seed: int) -> None:
    """Every eigenvalue of the Laplacian lies between 0 and that without walls, so limits on a step hold with them."""
    heights = 3 * torch.rand(1, length, generator=torch.Generator().manual_seed(seed)).double()
    mask = torch.ones(1, length, dtype=torch.bool)
    each = torch.eye(length).double()[None]  # every clip by itself, as channels
    free, held = (Walls(h, mask).spread(each.repeat(1, 1, 2**scale), 2**scale) for h in (0 * heights, heights))
    for group in range(2**scale):
        part = slice(group * length, (group + 1) * length)
        found, most = (torch.linalg.eigvalsh(-x[0][:, part]) for x in (held, free))
        assert (found > -1e-9).all()
        assert (found < most + 1e-9).all()


def test_the_scale_is_learnt() -> None:
    cuts = Cuts(0.5)
    cuts(*two_scenes(3, 4)).through(2).sum().backward()
    assert cuts.scale.grad is not None
    assert cuts.scale.grad > 0  # a larger scale lets more through


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 30), st.integers(0, 99))
def test_a_cut_parts_the_diffusion(first: int, second: int, steps: int, seed: int) -> None:
    _, mask = two_scenes(first, second)
    field = torch.randn(1, first + second + 2, 3, generator=torch.Generator().manual_seed(seed))
    diffusion = TemporalDiffusion(DiffusionConfig(steps=steps), 3)
    heights = torch.zeros(mask.shape)
    torch.testing.assert_close(diffusion(field, mask, Walls(heights, mask)), diffusion(field, mask))
    heights[0, first] = 1e3
    parted = diffusion(field, mask, Walls(heights, mask))
    for part in (slice(0, first), slice(first, first + second)):
        torch.testing.assert_close(parted[:, part], diffusion(field[:, part], mask[:, part]))


@pytest.mark.parametrize("integrator", ["euler", "split"])
def test_a_cut_parts_the_reaction(integrator: str) -> None:
    _, mask = two_scenes(6, 9)
    generator = torch.Generator().manual_seed(0)
    a, s = (torch.rand(1, 17, 8, generator=generator) for _ in range(2))
    rates = Kinetics(*(torch.full((1, 1, 8), r) for r in (0.2, 0.1, 0.04, 0.06)))

    def run(part: slice, walls: Walls | None = None) -> list[Tensor]:
        at = a[:, part], s[:, part], mask[:, part]
        end = gray_scott(*at, rates, steps=5, step_size=1.0, scales=4, integrator=integrator, walls=walls)
        return [field[mask[:, part]] for field in end]

    heights, whole = torch.zeros(1, 17), slice(0, 17)
    torch.testing.assert_close(run(whole, Walls(heights, mask)), run(whole))
    heights[0, 6] = 1e3
    both = zip(run(slice(0, 6)), run(slice(6, 15)))
    torch.testing.assert_close(run(whole, Walls(heights, mask)), [torch.cat(parts) for parts in both])


def test_walls_let_flow_what_they_should_and_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _, mask = two_scenes(6, 9)
    generator = torch.Generator().manual_seed(1)
    field, heights = torch.randn(1, 17, 8, 2, generator=generator), torch.rand(1, 17, generator=generator)
    flow = Walls(heights, mask).spread(field, 4)
    torch.testing.assert_close(flow.sum(1), torch.zeros(1, 8, 2), atol=1e-5, rtol=0)
    assert not flow[~mask].any()
    monkeypatch.setattr(cuts_module, "DENSE", 128 - cuts_module.DENSE)
    torch.testing.assert_close(Walls(heights, mask).spread(field, 4), flow)
    free = Walls(torch.zeros(1, 17), mask).spread(field, 4)
    torch.testing.assert_close(free[..., 0], spread(field[..., 0], mask, 4))


@pytest.mark.parametrize(("first", "second"), [(1, 1), (3, 4), (12, 2)])
def test_every_clip_knows_how_far_the_cuts_are(first: int, second: int) -> None:
    video, mask = two_scenes(first, second)
    walls = Cuts(0.1)(video, mask)
    seen = walls.openness()
    assert seen.shape == (*mask.shape, 2 * FAR)
    before, after = seen[0, :, 0::2].sum(-1), seen[0, :, 1::2].sum(-1)
    place = [*range(first), *range(second)]
    left = [*reversed(range(first)), *reversed(range(second))]
    torch.testing.assert_close(before[mask[0]], torch.tensor(place).clamp_max(FAR).float())
    torch.testing.assert_close(after[mask[0]], torch.tensor(left).clamp_max(FAR).float())
    assert not seen[~mask].any()
    starts, ends = walls.changes()[mask].unbind(-1)
    assert starts.round().nonzero().flatten().tolist() == [0, first]
    assert ends.round().nonzero().flatten().tolist() == [first - 1, first + second - 1]
