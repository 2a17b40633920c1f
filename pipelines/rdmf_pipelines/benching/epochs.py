"""Whole epochs through the trainer, as `rdmf train` runs them; and what the paper's schedule takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from rdmf.train.loop import train
from rdmf_pipelines.benching.bench import Bench
from rdmf_pipelines.benching.made_up import FULL, TINY, Shape, make_cache
from rdmf_pipelines.benching.settings import overrides_of, preset_of
from rdmf_pipelines.benching.sheet import entry
from rdmf_pipelines.benching.train_step import RATE

GROUP, PAPER = "epoch", "the paper's schedule"
#: QVHighlights' training split, and the paper's number of passes over it.
QUERIES, EPOCHS = 7218, 50
WHOLE = f"{EPOCHS} epochs of {QUERIES:,} queries, s"
NAME = "an epoch"
ABOUT = (
    "{queries} queries through the trainer: batches, steps, losses and all; without a hold-out. Published settings, "
    "one batch size."
)
ABOUT_PAPER = (
    "`--preset paper` (batch 16, 100 moment queries) on features 768 wide for clips and words, 75 clips a video, "
    f"{{queries}} queries an epoch; what {EPOCHS} epochs of QVHighlights' {QUERIES:,} queries take is reckoned from it."
)


def measure(bench: Bench) -> None:
    """A line a model, and one for the paper's schedule."""
    for name in bench.models:
        bench.tell(f"{GROUP}: {name}")
        seconds, queries = epochs(bench, bench.cache, preset_of(name), overrides_of(name, quick=bench.quick))
        bench.sheet.about[GROUP] = ABOUT.format(queries=f"{queries:,}")
        made = entry(GROUP, name, NAME, seconds)
        bench.add(entry(GROUP, name, NAME, seconds, more={RATE: queries / made.seconds}))
    if "rdmf" not in bench.models:
        return
    bench.tell(PAPER)
    # On a GPU all of it; on a CPU there is no need to wait for so many equal steps.
    shape = TINY if bench.quick else Shape(QUERIES // 2 if bench.on_gpu else FULL.videos // 2, 75, 768, 768)
    path = make_cache(bench.folder / "paper.h5", shape)
    small: dict[str, Any] = {"model.hidden": 32} if bench.quick else {}
    seconds, queries = epochs(bench, path, "paper", {"data.holdout": 0.0, **small})
    bench.sheet.about[PAPER] = ABOUT_PAPER.format(queries=f"{queries:,}")
    made = entry(PAPER, "rdmf", NAME, seconds)
    more = {RATE: queries / made.seconds, WHOLE: EPOCHS * QUERIES * made.seconds / queries}
    bench.add(entry(PAPER, "rdmf", NAME, seconds, more=more))


def epochs(bench: Bench, cache: Path, preset: str, overrides: dict[str, Any]) -> tuple[list[float], int]:
    """Seconds of some epochs of a new run, and how many queries each had.

    Processor seconds where there is one thread. On a GPU the first epoch, which compiles kernels, does not count.
    """
    count = 1 if bench.quick else 4 if bench.on_gpu else 2 if preset in ("paper", preset_of("rdmf")) else 1
    out = bench.folder / f"run-{len(list(bench.folder.glob('run-*')))}"
    settings = {**overrides, "train.epochs": count, "train.device": str(bench.device), "train.patience": 0}
    train(cache, out, preset=preset, overrides=settings, quiet=True)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    spent = "processor_seconds" if torch.get_num_threads() == 1 and not bench.on_gpu else "seconds"
    queries = json.loads((out / "summary.json").read_text(encoding="utf-8"))["train_queries"]
    return [line[spent] for line in lines][1 if bench.on_gpu and count > 1 else 0 :], int(queries)
