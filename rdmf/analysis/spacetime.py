"""A pattern forming: the fields of one video and one query at every step, as the model runs them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdmf.model.cuts import Walls
from rdmf.model.fusion import LiteralFusion, ReactionBlock, react
from rdmf.model.rdmf import RDMF
from rdmf.model.reaction import Kinetics

Floats = NDArray[np.float32]

#: Steps after which the fields are taken to be at rest, and how many are taken at a time (their states fill memory).
REST_STEPS, STRETCH = 2000, 20
#: An activator below this at rest is taken for the trivial state; no upper state of F >= 1e-4 lies below it.
ALIVE = 0.01


@dataclass(frozen=True)
class Run:
    """One reaction-diffusion run of one video: N steps, L clips, d channels.

    Attributes:
        name: "block 1", ... video, text: (N + 1, L, d), from the fields it starts with to those it ends with.
        video_role: "activator" or "substrate".
        rest: (L, d) the activator after REST_STEPS steps: where it would end if the model went on.
    """

    name: str
    video: Floats
    text: Floats
    video_role: str
    rest: Floats

    @property
    def activator(self) -> Floats:
        """(N + 1, L, d)."""
        return self.video if self.video_role == "activator" else self.text

    @property
    def substrate(self) -> Floats:
        """(N + 1, L, d)."""
        return self.text if self.video_role == "activator" else self.video


@dataclass(frozen=True)
class SpaceTime:
    """What happened along time in one forward pass of one video.

    Attributes:
        before, after: (L, d) the video's features before and after temporal diffusion.
        runs: of each reaction-diffusion block. fused: (L, d), what the heads read.
    """

    before: Floats
    after: Floats
    runs: tuple[Run, ...]
    fused: Floats


class Recorder:
    """Watches a model's passes in evaluation; afterwards `space_time` takes the last one's steps again, one at a time.

    Used as `with Recorder(model) as recorder: ...`. The model is not changed: what enters each block is kept, the block
    makes its fields and rates of it once more, and the same integrator takes N single steps. `space_time` checks that
    they end where the model's own N steps ended.
    """

    def __init__(self, model: RDMF) -> None:
        self.model = model
        self._seen: dict[str, Any] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> Recorder:
        def keep(name: str) -> Callable[..., None]:
            def hook(module: Any, inputs: tuple[Tensor, ...], output: Any = None) -> None:
                self._seen[name] = (inputs, output)

            return hook

        self._hooks.append(self.model.diffusion.register_forward_hook(keep("diffusion")))
        self._hooks.append(self.model.fusion.register_forward_hook(keep("fusion")))
        for i, block in enumerate(self.model.fusion.blocks):
            self._hooks.append(block.register_forward_pre_hook(keep(f"block {i}")))
            if isinstance(block, (LiteralFusion, ReactionBlock)):
                self._hooks.append(block.out[0].register_forward_pre_hook(keep(f"end {i}")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    @torch.no_grad()
    def space_time(self, row: int = 0) -> SpaceTime:
        """The fields of one video of the last batch, its valid clips only.

        Args:
            row: of the batch.
        """
        (video, mask, _), diffused = self._seen["diffusion"]
        valid = mask[row]
        runs: list[Run] = []
        for i, block in enumerate(self.model.fusion.blocks):
            if not isinstance(block, (LiteralFusion, ReactionBlock)):
                continue
            entered, entered_mask, text, text_mask, walls = self._seen[f"block {i}"][0]
            v, t, rates = block.start(entered, text, text_mask)
            steps_v, steps_t = single_steps(block, rates, v, t, entered_mask, walls)
            (ended,) = self._seen[f"end {i}"][0]
            found = torch.cat((steps_v[-1], steps_t[-1]), -1)[..., : ended.shape[-1]]
            assert torch.allclose(found[mask], ended[mask], rtol=1e-4, atol=1e-5), "these are not the model's steps"
            rest = far_end(block, rates, steps_v[-1], steps_t[-1], entered_mask, walls)
            video_steps, text_steps = (_array(torch.stack(f)[:, row][:, valid]) for f in (steps_v, steps_t))
            role, name = block.config.video, f"block {len(runs) + 1}"
            runs.append(Run(name, video_steps, text_steps, role, _array(rest[row][valid])))
        fused = self._seen["fusion"][1]
        return SpaceTime(
            _array(video[row][valid]), _array(diffused[row][valid]), tuple(runs), _array(fused[row][valid])
        )


def single_steps(
    block: LiteralFusion | ReactionBlock,
    rates: Kinetics,
    video: Tensor,
    text: Tensor,
    mask: Tensor,
    walls: Walls | None,
) -> tuple[list[Tensor], list[Tensor]]:
    """The two fields before the first step and after each of N, every one (B, L, d)."""
    once = dataclasses.replace(block.config, steps=1)
    videos, texts = [video], [text]
    for _ in range(block.config.steps):
        v, t = react(once, rates, videos[-1], texts[-1], mask, scales=_scales(block), walls=walls)
        videos.append(v)
        texts.append(t)
    return videos, texts


def far_end(
    block: LiteralFusion | ReactionBlock,
    rates: Kinetics,
    video: Tensor,
    text: Tensor,
    mask: Tensor,
    walls: Walls | None,
) -> Tensor:
    """The activator (B, L, d) after REST_STEPS steps from the given fields; NaN where Euler has blown up by then."""
    many = dataclasses.replace(block.config, steps=STRETCH)
    for _ in range(REST_STEPS // STRETCH):
        video, text = react(many, rates, video, text, mask, scales=_scales(block), walls=walls)
    return video if block.config.video == "activator" else text


def _scales(block: LiteralFusion | ReactionBlock) -> int:
    return block.config.scales if isinstance(block, ReactionBlock) else 1


def _array(values: Tensor) -> Floats:
    return values.float().cpu().numpy()


def measure(seen: SpaceTime) -> dict[str, Any]:
    """How strongly the fields vary along time at every step, and what would be left of them at rest, as JSON values.

    Returns:
        "clips", and for each of "blocks" its "name"; "activator_mean", "substrate_mean" (N + 1); "activator_spread",
        "substrate_spread" (N + 1), standard deviation over clips, mean over channels; "alive_at_rest", the share of
        clips and channels whose activator is above ALIVE in the end (NaN counts as not).
    """
    blocks = []
    for run in seen.runs:
        a, s = run.activator.astype(np.float64), run.substrate.astype(np.float64)
        blocks.append(
            {
                "name": run.name,
                "activator_mean": a.mean((1, 2)).tolist(),
                "substrate_mean": s.mean((1, 2)).tolist(),
                "activator_spread": a.std(1).mean(1).tolist(),
                "substrate_spread": s.std(1).mean(1).tolist(),
                "alive_at_rest": float((run.rest > ALIVE).mean()),
            }
        )
    return {"clips": len(seen.fused), "blocks": blocks}
