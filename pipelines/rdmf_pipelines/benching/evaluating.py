"""Predicting a split in one pass, and the official metrics of predictions."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from rdmf.evaluation import evaluate
from rdmf.model import build_model
from rdmf.predict import predict_split_arrays
from rdmf.store import open_cache
from rdmf.train.data import Split
from rdmf.train.loop import choose_queries
from rdmf_pipelines.benching.bench import Bench
from rdmf_pipelines.benching.settings import settings_of
from rdmf_pipelines.benching.sheet import entry

PREDICTION, METRICS = "prediction of a split", "metrics"
QUERIES = 1550
#: Queries that are predicted on a CPU.
MOST = 96
ABOUT = "{queries} queries in one pass: forward, suppression, sorting; fresh weights, published settings."
ABOUT_METRICS = (
    "Every official number (moments and highlights, by length) for made-up predictions of ten moments and 75 clips a "
    "query, three annotators. QVHighlights' validation split has 1,550 queries."
)


def measure(bench: Bench) -> None:
    """A line a model; then the metrics."""
    with open_cache(bench.cache) as cache:
        learn, _ = choose_queries(cache, settings_of("rdmf", quick=bench.quick))
        split = Split.load(cache, learn if bench.on_gpu else learn[:MOST], device=bench.device)
    bench.sheet.about[PREDICTION] = ABOUT.format(queries=len(split))
    for name in bench.models:
        bench.tell(f"{PREDICTION}: {name}")
        torch.manual_seed(0)
        config = settings_of(name, quick=bench.quick)
        model = build_model(config, split.rows.shape[1], split.tokens.shape[1]).to(bench.device)
        taken = bench.turns({name: partial(predict_split_arrays, model, split)}, least=2, turns=2)[name]
        middle = entry(PREDICTION, name, "prediction", taken).seconds
        bench.add(entry(PREDICTION, name, "prediction", taken, more={"queries a second": len(split) / middle}))
    count = 40 if bench.quick else QUERIES
    bench.sheet.about[METRICS] = ABOUT_METRICS
    predictions, annotations = made_up(count)
    bench.compare(METRICS, f"{count:,} queries", {"rdmf": partial(evaluate, predictions, annotations)})


def made_up(count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Predictions and annotations in the official form: 75 clips of 2 s, ten moments, one to three windows."""
    rng = np.random.default_rng(0)
    predictions, annotations = [], []
    for number in range(count):
        cuts = np.sort(rng.choice(76, 2 * int(rng.integers(1, 4)), replace=False)) * 2
        windows = cuts.reshape(-1, 2).tolist()
        clips = [clip for start, end in windows for clip in range(start // 2, end // 2)]
        about = {"qid": number, "query": f"sentence {number}", "vid": f"v{number}"}
        annotations.append(
            {
                **about,
                "duration": 150,
                "relevant_windows": windows,
                "relevant_clip_ids": clips,
                "saliency_scores": rng.integers(0, 5, (len(clips), 3)).tolist(),
            }
        )
        starts, widths = 140 * rng.random(10), 2 + 60 * rng.random(10)
        moments = np.stack((starts, np.minimum(starts + widths, 150), np.sort(rng.random(10))[::-1]), 1)
        saliency = rng.random(75).round(4).tolist()
        predictions.append(
            {**about, "pred_relevant_windows": moments.round(4).tolist(), "pred_saliency_scores": saliency}
        )
    return predictions, annotations
