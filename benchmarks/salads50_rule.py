"""What 50 Salads' class scores give without any learning: the floor that a trained model has to beat.

    python benchmarks/salads50_rule.py features/salads50-fold*.h5 --json results/salads50-rule.json

A query names one of the 17 actions, and column i of the features is the frame classifier's score of action i
(alphabetical; column 0 is none of them). The moment is the maximum-sum run of (own score - best other score
- c); the constant c is the one number that is chosen, on the training split. The saliency is the query's own score.
With --json the score of every query is written too, which `rdmf report` sets beside the trained models.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdmf.evaluation import annotations_from_cache, moment_metrics, per_query, saliency_metrics
from rdmf.model.runs import best_runs
from rdmf.store import Cache, open_cache

CONSTANTS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25)


def predictions(cache: Cache, split: str, constant: float) -> list[dict[str, Any]]:
    """Prediction records of the rule for one split; rows last one second."""
    actions = sorted(cache.texts)
    out = []
    for query in annotations_from_cache(cache, split):
        scores = np.asarray(cache.video(query["vid"])[0], dtype=np.float64)
        column = 1 + actions.index(query["query"])
        margin = scores[:, column] - np.delete(scores, column, axis=1).max(axis=1) - constant
        line = torch.from_numpy(margin)[None]
        first, last, total = best_runs(line, torch.ones_like(line, dtype=torch.bool), 5)
        windows = zip(first[0].tolist(), last[0].tolist(), total[0].tolist())
        out.append(
            {
                "qid": query["qid"],
                "vid": query["vid"],
                "query": query["query"],
                "pred_relevant_windows": [[float(a), float(b + 1), float(t)] for a, b, t in windows if np.isfinite(t)],
                "pred_saliency_scores": scores[:, column].tolist(),
            }
        )
    return out


def main(arguments: list[str]) -> None:
    """A line a fold, and the mean."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("caches", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    folds: dict[str, Any] = {}
    names = ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU", "saliency mAP")
    rows = []
    print(f"{'cache':<32} {'c':>6}  " + "  ".join(names))
    for path in asked.caches:
        with open_cache(path) as cache:
            learn = annotations_from_cache(cache, "train")
            score = {c: moment_metrics(predictions(cache, "train", c), learn)["mIoU"] for c in CONSTANTS}
            best = max(score, key=lambda c: score[c])
            found, truth = predictions(cache, "test", best), annotations_from_cache(cache, "test")
        values = {**moment_metrics(found, truth), **saliency_metrics(found, truth)}
        rows.append([values[n] for n in names])
        scores = per_query(found, truth)
        shares = {n: [float(v) if np.isfinite(v) else None for v in scores[n]] for n in scores if n != "qid"}
        folds[path.stem] = {"constant": best, "qid": scores["qid"], "metrics": shares}
        print(f"{path!s:<32} {best:>6.2f}  " + "  ".join(f"{v:>{len(n)}.1f}" for n, v in zip(names, rows[-1])))
    print(f"{'mean':<32} {'':>6}  " + "  ".join(f"{v:>{len(n)}.1f}" for n, v in zip(names, np.mean(rows, axis=0))))

    if asked.json:
        about = "maximum-sum run of the query's own class score less the best other score less a constant"
        command = shlex.join(["python", "benchmarks/salads50_rule.py", *arguments])
        told = {"label": "rule without learning", "about": about, "command": command, "folds": folds}
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
