"""The same few trials for every model: the learning rate, chosen on a hold-out inside one training split.

    python benchmarks/tune.py features/salads50-fold1.h5 qd-detr --set train.epochs=10

Every model is trained with each rate of RATES under the settings of the preset for it and the cache. A quarter of the
training videos is set aside, the same for every model; printed are the scores on them after the last epoch, the mean of
R1@0.5, R1@0.7, mIoU and saliency mAP last. Test splits are not read.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from pathlib import Path

from rdmf.config import parse_overrides
from rdmf.store import open_cache
from rdmf.train import train
from rdmf_pipelines.presets import dataset_of, preset_for

RATES = (5e-4, 1e-3, 2e-3)


def trial(cache: Path, model: str, rate: float, assignments: list[str]) -> dict[str, float]:
    """Scores on the set-aside quarter after the last epoch."""
    with open_cache(cache) as opened:
        preset = preset_for(dataset_of(opened.provenance.notes), model)
    overrides = {"model.name": model, "data.holdout": 0.25, "train.patience": 0, "train.lr": rate}
    with tempfile.TemporaryDirectory() as folder:
        run = train(
            cache,
            Path(folder) / "run",
            preset=preset,
            overrides={**overrides, **parse_overrides(assignments)},
            quiet=True,
        )
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return {**last["scores"], "seconds": last["seconds"]}


def main(arguments: list[str]) -> None:
    """A line a trial."""
    cache, model, *rest = arguments
    assignments = [value for flag, value in itertools.pairwise(rest) if flag == "--set"]
    for rate in RATES:
        scores = trial(Path(cache), model, rate, assignments)
        print(f"{model:<12} lr {rate:g}  " + "  ".join(f"{k} {v:.1f}" for k, v in scores.items()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
