"""The same few trials for every model: the learning rate, chosen inside one training split.

    python benchmarks/tune.py qd-detr --preset joined features/joined-cv0.h5 features/joined-cv1.h5
    python benchmarks/tune.py qd-detr --preset salads50 features/salads50-fold1.h5 --set train.epochs=10

Every model is trained with each rate of RATES under PRESET's settings for it. A cache that `benchmarks/source_folds.py`
made is learnt from and watched as its splits say; of any other a quarter of the training videos is set aside, the same
for every model. Printed are the scores after the last epoch, averaged over the caches, the mean of R1@0.5, R1@0.7, mIoU
and saliency mAP last. Test splits are not read.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from rdmf.config import parse_overrides
from rdmf.store import open_cache
from rdmf.train import train
from rdmf_pipelines.presets import preset_for

RATES = (5e-4, 1e-3, 2e-3)


def aside(cache: Path) -> dict[str, Any]:
    """Settings that say what is learnt from and what is watched."""
    with open_cache(cache) as opened:
        made = {"learn", "watch"} <= set(opened.splits)
    if made:
        return {"data.train_split": "learn", "data.val_split": "watch"}
    return {"data.holdout": 0.25}


def trial(caches: list[Path], preset: str | None, settings: dict[str, Any], seed: int) -> dict[str, float]:
    """Scores after the last epoch, averaged over the caches."""
    found = []
    for cache in caches:
        overrides = {**aside(cache), "train.patience": 0, **settings}
        with tempfile.TemporaryDirectory() as folder:
            run = train(cache, Path(folder) / "run", preset=preset, overrides=overrides, seed=seed, quiet=True)
            last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        found.append({**last["scores"], "seconds": last["seconds"]})
    return {key: sum(scores[key] for scores in found) / len(found) for key in found[0]}


def main() -> None:
    """A line a trial."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("caches", type=Path, nargs="+")
    parser.add_argument("--preset", required=True, help="the dataset's; that of the model for it is taken")
    parser.add_argument("--rates", type=float, nargs="*", default=RATES, help="none: the preset's own")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    preset = preset_for(given.preset, given.model)
    for rate in given.rates or (None,):
        settings = {"model.name": given.model, **parse_overrides(given.set)}
        if rate is not None:
            settings["train.lr"] = rate
        scores = trial(given.caches, preset, settings, given.seed)
        said = "  ".join(f"{name} {value:.1f}" for name, value in scores.items())
        print(f"{given.model:<12} {' '.join(given.set)} lr {rate or 'preset'}  {said}", flush=True)


if __name__ == "__main__":
    main()
