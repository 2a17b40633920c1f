"""Learning rate over the course of training, and the running average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rdmf.sections import TrainConfig


def rate_at(step: int, total: int, config: TrainConfig) -> float:
    """Factor on the peak learning rate at step `step` of `total`: linear warm-up, then cosine, constant or drops."""
    warm = max(1, round(config.warmup * total))
    if step < warm:
        return (step + 1) / warm
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "step" and config.drop_every:
        return float(0.1 ** (step * config.epochs // total // config.drop_every))
    share = (step - warm) / max(1, total - warm)
    if config.schedule == "step":
        return 1.0 if share < 0.8 else 0.1
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


class Average:
    """Exponential moving average of a model's weights; early on the decay is smaller, so that it starts from the data.

    Args:
        model: the model whose weights are followed; its buffers are followed too.
        decay: e.g. 0.999.

    Attributes:
        values: the averages by the weights' names. steps: how many updates there were.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        state = model.state_dict()  # shares the model's memory, whatever is loaded into it later
        self.values = {k: v.detach().clone() for k, v in state.items()}
        floats = [k for k, v in self.values.items() if v.is_floating_point()]
        others = [k for k in self.values if k not in set(floats)]
        self._floats = [self.values[k] for k in floats], [state[k] for k in floats]
        self._others = [self.values[k] for k in others], [state[k] for k in others]

    def update(self) -> None:
        """Move towards the model's weights by one step."""
        self.move(self.next_share())

    def next_share(self) -> float:
        """Counts one more step and says how far it moves the averages towards the weights, in (0, 1)."""
        self.steps += 1
        return 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))

    @torch.no_grad()
    def move(self, share: float | Tensor) -> None:
        """Move the averages by a share of the way to the weights: a number (one pass over them), or a tensor (), which
        a recorded step reads anew every time."""
        if isinstance(share, Tensor):
            averages, weights = self._floats
            way = torch._foreach_sub(weights, averages)
            torch._foreach_mul_(way, share)
            torch._foreach_add_(averages, way)
        else:
            torch._foreach_lerp_(*self._floats, share)
        if self._others[0]:
            torch._foreach_copy_(*self._others)

    @torch.no_grad()
    def load(self, values: dict[str, Tensor], steps: int) -> None:
        """Go on from saved averages."""
        self.steps = steps
        for name, value in self.values.items():
            value.copy_(values[name])
