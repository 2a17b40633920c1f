"""Per-query scores of a run on one split, from its decoder and read off its saliency; kept in the run's directory.

A comparison needs every query's score of every run. They are worked out once and found again by the hash of the weights
and of the cache, so that the second comparison takes no model at all.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from rdmf.content import content_of
from rdmf.evaluation.records import Record, annotations_from_cache
from rdmf.evaluation.summary import MOMENT_METRICS, SALIENCY_METRICS, per_query, query_type
from rdmf.files import read_json, write_atomically
from rdmf.store import Cache, InputError, open_cache

if TYPE_CHECKING:
    from rdmf.run import Run

Floats = NDArray[np.float64]

METRICS = (*MOMENT_METRICS, *SALIENCY_METRICS)
#: Raised when the same weights would get other scores.
SCORING = 2


@dataclass(frozen=True)
class Scores:
    """What one run (or one guess) reaches on every query of one split.

    Attributes:
        about: what it was worked out from ("key"), which queries they are ("truth"), and facts of the run: its path and
            cache, seed, parameters, epochs, seconds per epoch, the reading's level.
        qids: of the Q queries, in the cache's order. types: their types, "" where there is none.
        decoder: (M, Q) shares in [0, 1] by METRICS; NaN where a query has no annotation of that kind.
        reading: the same with the moments read off the saliency; None where no level could be chosen.
    """

    about: dict[str, Any]
    qids: list[Any]
    types: list[str]
    decoder: Floats
    reading: Floats | None

    def save(self, path: Path) -> None:
        """As one compressed npz, whole or absent."""
        arrays: dict[str, Any] = {
            "about": np.array(json.dumps(self.about)),
            "qid": np.array(json.dumps(self.qids)),
            "type": np.array(json.dumps(self.types)),
            "metrics": np.array(METRICS),
            "decoder": self.decoder.astype(np.float32),
        }
        if self.reading is not None:
            arrays["reading"] = self.reading.astype(np.float32)

        def write(partial: Path) -> None:
            with partial.open("wb") as file:
                np.savez_compressed(file, **arrays)

        write_atomically(path, write)

    @staticmethod
    def load(path: Path) -> Scores | None:
        """What `save` wrote; None where there is nothing, or nothing usable."""
        try:
            with np.load(path, allow_pickle=False) as saved:
                if tuple(saved["metrics"].tolist()) != METRICS:
                    return None
                return Scores(
                    about=json.loads(str(saved["about"])),
                    qids=json.loads(str(saved["qid"])),
                    types=json.loads(str(saved["type"])),
                    decoder=saved["decoder"].astype(np.float64),
                    reading=saved["reading"].astype(np.float64) if "reading" in saved else None,
                )
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
            return None


def default_split(cache: Cache) -> str:
    """The split that is evaluated unless another is named: val, else test, else the only one that is not train.

    Raises:
        InputError: there is no such choice.
    """
    others = [name for name in cache.splits if name != "train"]
    for name in ("val", "test"):
        if name in others:
            return name
    if len(others) == 1:
        return others[0]
    raise InputError(f"{cache.path}: say which split with --split; there are {', '.join(cache.splits)}")


def score_run(
    path: Path, *, features: Path | None = None, split: str | None = None, device: str = "auto", fresh: bool = False
) -> Scores:
    """Scores of a run, from its directory where they were worked out before.

    Args:
        features: the cache, if not where the run was trained. split: default as `default_split`.
        fresh: work them out anew.

    Raises:
        InputError: no run, a cache that is not there or not the run's, no such split, nothing annotated in it.
    """
    config_file = path / "config.json"
    if not config_file.is_file():
        raise InputError(f"{path} is not a run: it has no config.json")
    saved = read_json(config_file)
    where = features or Path(str(saved.get("features", "")) if isinstance(saved, dict) else "")
    if features is None and not where.is_file():
        raise InputError(f"{path} was trained on {where}, which is not there; say where with --features")
    with open_cache(where) as cache:
        split = split or default_split(cache)
        cache.select(split)  # refuses an unknown one before anything is loaded
        weights = path / "best.safetensors"
        key = {
            "scoring": SCORING,
            # Weights that were deleted to save room cannot have changed.
            "weights": _hash(weights) if weights.is_file() else None,
            "config": hashlib.sha256(json.dumps(saved.get("config"), sort_keys=True).encode()).hexdigest()[:16],
            "cache": content_of(cache),
            "split": split,
        }
        kept = None if fresh else Scores.load(scores_path(path, split))
        if kept is not None and _same(kept.about.get("key", {}), key):
            # The run or its cache may have been moved since.
            return replace(kept, about={**kept.about, "run": str(path), "features": str(where)})
        if kept is not None and key["weights"] is None:
            raise InputError(
                f"{path}: its weights were deleted, and its scores are an earlier rdmf's, or of other settings or "
                "features; train it again, or compare it by the rdmf that scored it"
            )
        from rdmf.run import load_run

        scores = _work_out(load_run(path), cache, split, device, key)
    scores.save(scores_path(path, split))
    return scores


def scores_path(run: Path, split: str) -> Path:
    """Where a run's scores on a split are kept."""
    return run / f"scores-{split}.npz"


def _same(kept: dict[str, Any], key: dict[str, Any]) -> bool:
    if key["weights"] is None:
        key = {**key, "weights": kept.get("weights")}
    return kept == key


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()[:16]


def _work_out(run: Run, cache: Cache, split: str, device: str, key: dict[str, Any]) -> Scores:
    from rdmf.predict import predict_split_arrays, records
    from rdmf.reading import fit_reading, read_split
    from rdmf.run import pick_device, refuse_mismatch
    from rdmf.train.data import Split

    refuse_mismatch(run, cache)
    where = pick_device(device)
    truth = _truth(cache, split)
    index = cache.select(split)
    index = index[cache.queries.video_index[index] >= 0]
    data = Split.load(cache, index, device=where, max_tokens=run.config.data.max_tokens, pool=run.config.data.pool)
    spans, found, saliency = predict_split_arrays(run.model.to(where), data)
    decoder = _values(records(cache, data, spans, found, saliency), truth)
    read, level = None, {}
    try:
        reading = fit_reading(run, cache, device=where)
    except InputError:
        pass  # nobody marked a window in the training split: there is nothing to read by
    else:
        read, level = (
            _values(records(cache, data, *read_split(run.model, data, saliency, reading), saliency), truth),
            reading.about(),
        )
    about = {
        "key": key,
        "truth": truth_of(truth),
        "run": str(run.path),
        "features": str(cache.path),
        "reading": level,
        **_facts(run),
    }
    return Scores(about, [r["qid"] for r in truth], [query_type(r) for r in truth], decoder, read)


def truth_of(annotations: Sequence[Record]) -> str:
    """A short name for the queries and their annotations: equal for two caches of other features for the same."""
    names = ("qid", "vid", "query", "relevant_windows", "relevant_clip_ids", "saliency_scores")
    told = [[record[name] for name in names] for record in annotations]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _truth(cache: Cache, split: str) -> list[Record]:
    truth = annotations_from_cache(cache, split, with_video_only=True)
    if not any(r["relevant_windows"] or r["saliency_scores"] for r in truth):
        raise InputError(f"{cache.path}: no query of split '{split}' has annotations to score against")
    return truth


def _values(answers: Sequence[Record], truth: Sequence[Record]) -> Floats:
    """(M, Q) by METRICS; NaN rows for what the annotations lack."""
    found = per_query(answers, truth)
    missing = np.full(len(truth), np.nan)
    # In single precision, as they are kept, so that a comparison prints the same the first and the second time.
    rows = [np.asarray(found.get(name, missing), dtype=np.float32) for name in METRICS]
    return np.stack(rows).astype(np.float64)


def _facts(run: Run) -> dict[str, Any]:
    """What a table says of a run beside its scores."""
    history = _history(run.path / "metrics.jsonl")
    # A busy machine stretches the clock and not the processor's time; several threads do the reverse.
    seconds = [min(float(h["seconds"]), float(h.get("processor_seconds", "inf"))) for h in history if "seconds" in h]
    return {
        "seed": run.metrics.get("seed"),
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "epochs": run.metrics.get("epochs", len(history)),
        "seconds": run.metrics.get("seconds"),
        "seconds per epoch": round(float(np.median(seconds)), 3) if seconds else None,
    }


def _history(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []


def score_guesses(features: Path, split: str | None, keep: Path | None) -> dict[str, Scores]:
    """What needs no video, by name: "query-blind" and "text-only", chosen on the split "train" of the cache.

    Empty where the cache has no such split.

    Args:
        keep: a file to keep them in (and to find them in the next time).
    """
    from rdmf.evaluation.baselines import both_baselines

    with open_cache(features) as cache:
        split = split or default_split(cache)
        if "train" not in cache.splits:
            return {}
        key = {"scoring": SCORING, "cache": content_of(cache), "split": split}
        names = ("query-blind", "text-only")
        kept = Scores.load(keep) if keep else None
        if kept is None or kept.reading is None or kept.about.get("key") != key:
            truth = _truth(cache, split)
            blind, text = both_baselines(annotations_from_cache(cache, "train", with_video_only=True), truth)
            kept = Scores(
                {"key": key, "truth": truth_of(truth), "features": str(features)},
                [r["qid"] for r in truth],
                [query_type(r) for r in truth],
                _values(blind, truth),
                _values(text, truth),
            )
            if keep:
                kept.save(keep)
    assert kept.reading is not None
    # One file holds both: what is "reading" in a run's file is the text-only guess in this one.
    parts = dict(zip(names, (kept.decoder, kept.reading)))
    return {name: Scores(kept.about, kept.qids, kept.types, values, None) for name, values in parts.items()}
