"""One of several processes of a test: `python rank_worker.py SCENARIO FOLDER`, with torchrun's variables set."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from rdmf.config import Config
from rdmf.model import build_model
from rdmf.store import open_cache
from rdmf.train import train
from rdmf.train.data import Split
from rdmf.train.distributed import Ranks, join
from rdmf.train.schedule import Average
from rdmf.train.step import Step

#: A batch that two processes cannot share evenly, with queries of many lengths.
BATCH = torch.tensor([0, 9, 3, 40, 17, 5, 22])


def one_step(cache: Path, settings: dict[str, Any], ranks: Ranks) -> dict[str, torch.Tensor]:
    """Weights and losses after one step of plain gradient descent, which shows the gradients themselves."""
    config = Config().updated(settings)
    with open_cache(cache) as opened:
        split = Split.load(opened, opened.select("train"), device=torch.device("cpu"))
        torch.manual_seed(0)
        model = build_model(config, opened.d_video, opened.d_text).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    step = Step(model, optimizer, Average(model, 0.5), config, ranks=ranks)
    ranks.seed(7, step.device)
    batch, targets = split.batch(ranks.rows(BATCH), split.shape(BATCH))
    parts = step(batch, targets, 1.0, len(BATCH))
    return {**{f"weight {k}": v for k, v in model.state_dict().items()}, **{f"loss {k}": v for k, v in parts.items()}}


def main() -> None:
    scenario, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    told = json.loads((folder / "told.json").read_text())
    cache = Path(told["cache"])
    if scenario == "steps":
        ranks = join()
        steps = {name: one_step(cache, settings, ranks) for name, settings in told["models"].items()}
        torch.save(steps, folder / f"steps-{ranks.rank}.pt")
    elif scenario == "train":
        for run in told["runs"]:
            train(cache, folder / run["out"], **run["options"])
    else:
        from rdmf_pipelines.cli import main as command

        arguments = told["arguments"]
        command([a.replace("RANK", str(join().rank)) for a in arguments])


if __name__ == "__main__":
    main()
