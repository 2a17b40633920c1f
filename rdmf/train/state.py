"""Everything about a training run that changes, saved whole and gone on with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rdmf.model import Grounder
from rdmf.run import fit
from rdmf.train.checkpoint import save_resume
from rdmf.train.schedule import Average


@dataclass
class State:
    """Everything about a training run that changes; saved whole after every epoch."""

    model: Grounder
    optimizer: torch.optim.Optimizer
    average: Average | None
    epoch: int = 0
    step: int = 0
    best: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights that are evaluated and saved: the running average where there is one."""
        return self.average.values if self.average else self.model.state_dict()

    def save(self, path: Path) -> None:
        save_resume(
            path,
            {
                "model": self.model.state_dict(),
                "optimizer": _portable(self.optimizer.state_dict()),
                "average": (self.average.values, self.average.steps) if self.average else None,
                "counters": [self.epoch, self.step, self.best, self.best_epoch, self.seconds],
                "history": json.dumps(self.history),
            },
        )

    def load(self, saved: dict[str, Any], path: Path) -> None:
        """Go on from what `load_resume` read from `path`."""
        fit(self.model, saved["model"], path)
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.average and saved["average"]:
            self.average.load(*saved["average"])
        self.epoch, self.step, self.best, self.best_epoch, self.seconds = saved["counters"]
        self.history = json.loads(saved["history"])


def _portable(optimizer: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state without what belongs to recorded steps, so that any device can go on with it."""
    groups = [{**group, "lr": float(group["lr"]), "capturable": False} for group in optimizer["param_groups"]]
    return {**optimizer, "param_groups": groups}
