"""One step of the optimisation: forward, loss, backward, clipping, weights, running average.

Nothing in it waits for the device: no number is asked for, and no shape depends on one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rdmf.config import Config
from rdmf.model import Batch, Grounder
from rdmf.train.augment import augment
from rdmf.train.distributed import Ranks
from rdmf.train.losses import Targets
from rdmf.train.schedule import Average

#: What `torch.compile` generates code with.
BACKEND = "inductor"

#: A loss and its parts.
Losses = tuple[Tensor, dict[str, Tensor]]


class Step:
    """What happens to a batch.

    Args:
        average: the running average of the model's weights, where there is one.
        amp: the dtype of products, None for the weights' own.
        ranks: the processes that share each batch.
    """

    def __init__(
        self,
        model: Grounder,
        optimizer: torch.optim.Optimizer,
        average: Average | None,
        config: Config,
        *,
        amp: torch.dtype | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.model, self.optimizer, self.average, self.config = model, optimizer, average, config
        self.amp, self.ranks = amp, ranks or Ranks()
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.device = self.parameters[0].device
        self._learning: list[torch.nn.Parameter] = []
        compiling = config.train.compile
        # Gathering rows from other processes is no part of a graph: there only the network is compiled.
        alone, recorded = self.ranks.size == 1, recorded_on(config, self.device, self.ranks)
        self.forward = _compiled(self._forward, self.device) if compiling and not alone else self._forward
        self.losses = _compiled(self._losses, self.device, recorded) if compiling and alone else self._losses

    def __call__(
        self,
        batch: Batch,
        targets: Targets,
        rate: float | Tensor,
        count: int | None = None,
        *,
        share: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Learn from a batch on the model's device.

        Args:
            rate: the learning rate; a tensor () where the step is recorded. count: how many queries the batch has in
                all processes together; default: those here.
            share: how far the running average moves (`Average.next_share`), as a tensor; default: as it says.

        Returns:
            the loss as "total" and its parts, detached, on the device.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # What is compiled knows tensors alone.
        batch = batch.gathered() if self.config.train.compile else batch
        loss, parts = self.losses(batch, targets, len(batch.video_mask) if count is None else count)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.ranks.size > 1:
            self._learning = self._learning or self.ranks.learning(self.parameters)
            self.ranks.sum_gradients(self._learning, mean=not self.model.loss_of_output)
        if self.config.train.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.config.train.clip_norm, foreach=True)
        self.optimizer.step()
        if self.average:
            self.average.move(self.average.next_share() if share is None else share)
        return {"total": loss.detach(), **parts}

    def _losses(self, batch: Batch, targets: Targets, count: int) -> Losses:
        ranks, data = self.ranks, self.config.data
        with ranks.own_stream(self.device):
            batch, targets = augment(batch, targets, warp=data.warp, noise=data.noise, blank=data.blank)
            output = self.forward(batch)
        if ranks.size > 1 and self.model.loss_of_output:
            # Losses do not look at features, and those are large.
            video, text = (mask.new_zeros(*mask.shape, 0) for mask in (batch.video_mask, batch.text_mask))
            batch = dataclasses.replace(batch, video=video, text=text, source=None)
            output, batch, targets = ranks.whole((output, batch, targets), count)
        return self.model.loss(output, batch, targets)

    def _forward(self, batch: Batch) -> Any:
        with torch.autocast(self.device.type, self.amp or torch.bfloat16, enabled=self.amp is not None):
            return self.model(batch)


def recorded_on(config: Config, device: torch.device, ranks: Ranks) -> bool:
    """Whether steps are recorded as CUDA graphs (`rdmf.train.recorded`)."""
    return config.train.graphs == "auto" and device.type == "cuda" and ranks.size == 1


def bucket_size(config: Config) -> int:
    """`train.bucket`, or what it is where nobody said and compiled code wants few shapes."""
    return config.train.bucket or (16 if config.train.compile else 0)


def _compiled(function: Callable[..., Any], device: torch.device, recorded: bool = False) -> Callable[..., Any]:
    """Compiled for shapes as they come (`train.bucket` makes them few); as CUDA graphs on a GPU, unless the whole step
    is recorded as one."""
    if BACKEND != "inductor":
        return torch.compile(function, backend=BACKEND, dynamic=False)
    return torch.compile(
        function, mode="reduce-overhead" if device.type == "cuda" and not recorded else "default", dynamic=False
    )
