"""The training loop: a feature cache in, a run directory out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rdmf.config import Config, load_config
from rdmf.model import build_model
from rdmf.model.base import describe
from rdmf.model.batch import moved
from rdmf.predict import predict_split_arrays
from rdmf.run import run_header
from rdmf.store import Cache, InputError, open_cache
from rdmf.train.checkpoint import load_resume
from rdmf.train.data import Split, load_rows
from rdmf.train.distributed import Ranks, join
from rdmf.train.monitor import monitor_scores, refuse_unknown
from rdmf.train.optimizer import AdamW
from rdmf.train.pool import pooled
from rdmf.train.precision import multiplies_bfloat16, precision
from rdmf.train.progress import Progress
from rdmf.train.recorded import RecordedStep
from rdmf.train.run_directory import claim, finished, refuse_other_run, summarise, write_epoch, write_history
from rdmf.train.schedule import Average, rate_at
from rdmf.train.state import State
from rdmf.train.step import Step, bucket_size, recorded_on

Ints = NDArray[np.int64]


def train(
    features: str | Path,
    out: str | Path,
    *,
    preset: str | None = None,
    config_file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
    resume: bool = False,
    quiet: bool = False,
    stop_after: int | None = None,
) -> Path:
    """Train a model on a feature cache; everything else it needs is in the cache.

    Args:
        features: the cache. out: the run directory to write.
        preset, config_file, overrides: settings, later ones win. seed: of weights, order and dropout.
        resume: go on where the run in `out` stopped (start it where there is none, so that a requeued job can always
            say so); on the CPU the result is the same, bit for bit, as without the stop.
        stop_after: leave off after so many epochs as if interrupted (the schedule still spans `train.epochs`).

    Returns:
        the run directory: config.json, best.safetensors, last.safetensors, resume.pt, metrics.jsonl, summary.json and
        curves.png.

    Raises:
        InputError: settings, cache or run directory that cannot be used; training that diverged.
    """
    ranks = join()
    quiet, out = quiet or not ranks.first, Path(ranks.tell(str(out)))
    going_on: dict[str, Any] | None = None
    with ranks.together():
        config = load_config(preset, config_file, overrides)
        with open_cache(features) as cache:
            learn, watch = choose_queries(cache, config)
            device = ranks.device(config.train.device)
            saved = run_header(config, cache, features, preset=preset, seed=seed)
            if ranks.first:
                refuse_other_run(out, saved, resume)
            rows = load_rows(pooled(cache, config.data.pool), residence(cache, device, config))
            shape = {"max_tokens": config.data.max_tokens, "pool": config.data.pool}
            data = Split.load(cache, learn, device=rows[0].device, **shape, rows=rows)
            held = Split.load(cache, watch, device=rows[0].device, **shape, rows=rows) if len(watch) else None
            if held:
                refuse_unknown(config.train.monitor, held)
    with ranks.together():
        ranks.refuse_differences((saved["fingerprint"], saved["config"], seed, learn.tolist()), "cache and settings")
    progress = Progress(config.train.epochs, quiet=quiet)
    if ranks.tell(resume and finished(out)):
        progress.say(f"{out}: finished, and what could go on with it was not kept; nothing to do")
        return out
    with ranks.together():
        if ranks.first:
            claim(out, saved)
            if resume and (out / "resume.pt").is_file():
                going_on = load_resume(out / "resume.pt")
    going_on = ranks.tell(going_on)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = build_model(config, saved["video_dim"], saved["text_dim"]).to(device)
        fused = device.type in ("cpu", "cuda") or None
        optimizer = AdamW(parameter_groups(model, config), lr=config.train.lr, fused=fused)
        state = State(model, optimizer, Average(model, config.train.ema) if config.train.ema else None)
        with ranks.together():
            if going_on is not None:
                state.load(going_on, out / "resume.pt")
                progress.say(f"going on after epoch {state.epoch}")
        where = f"{len(data)} queries" + (f", {len(held)} held out" if held else "")
        several = f", {ranks.size} processes" if ranks.size > 1 else ""
        progress.say(f"training {config.model.name} on {where} · {describe(model)} · {device}{several} · {out}")
        if device.type == "cpu" and config.train.amp == "on" and multiplies_bfloat16() is False:
            progress.say("this processor does not multiply bfloat16: train.amp=auto is several times as fast here")
        _run_epochs(state, data, held, config, out, seed, progress, stop_after, ranks)
        progress.close()
        with ranks.together():
            if ranks.first:
                summarise(state, config, out, seed, data, held)
    return out


def choose_queries(cache: Cache, config: Config) -> tuple[Ints, Ints]:
    """Rows of the query table to learn from and to watch, by whole videos, the same for every seed.

    Raises:
        InputError: missing videos without `data.allow_missing`, or nothing to learn from.
    """
    table = cache.queries
    learn = cache.select(config.data.train_split)
    watch = cache.select(config.data.val_split) if config.data.val_split else np.zeros(0, dtype=np.int64)
    missing = sorted({table.vids[int(i)] for i in np.concatenate((learn, watch)) if table.video_index[i] < 0})
    if missing and not config.data.allow_missing:
        raise InputError(
            f"{cache.path}: {len(missing)} annotated videos have no features ({', '.join(missing[:5])}"
            f"{', ...' if len(missing) > 5 else ''}); "
            "extract them, or train without them by --set data.allow_missing=true"
        )
    learn, watch = learn[table.video_index[learn] >= 0], watch[table.video_index[watch] >= 0]
    labelled = (np.diff(table.window_offsets) > 0) | (np.diff(table.saliency_offsets) > 0)
    learn, named = learn[labelled[learn]], len(watch)
    watch = watch[labelled[watch]]
    if named and not len(watch):
        raise InputError(
            f"{cache.path}: split '{config.data.val_split}' has no query with windows or saliency to choose the best "
            "epoch by; leave out data.val_split"
        )
    if not len(learn):
        raise InputError(
            f"{cache.path}: split '{config.data.train_split}' has no query with windows or saliency to learn from"
        )
    if not config.data.val_split and config.data.holdout > 0:
        videos = np.unique(table.video_index[learn])
        count = round(config.data.holdout * len(videos))
        if 0 < count < len(videos):
            chosen = np.random.default_rng(20240607).permutation(videos)[:count]
            aside = np.isin(table.video_index[learn], chosen)
            learn, watch = learn[~aside], learn[aside]
    return learn, watch


def residence(cache: Cache, device: torch.device, config: Config) -> torch.device:
    """Where the features live: on the GPU where they fit, else in memory."""
    if device.type != "cuda":
        return torch.device("cpu")
    room = config.train.resident_gib * 2**30 or torch.cuda.mem_get_info(device)[0] / 2
    size = 4 * (cache.n_rows * cache.d_video + int(cache.token_offsets[-1]) * cache.d_text)
    return device if size < room else torch.device("cpu")


def parameter_groups(model: torch.nn.Module, config: Config) -> list[dict[str, Any]]:
    """Weight decay for matrices only (norms, biases, references and physical rates must not be pulled towards zero).

    Where `train.decay` is "all", as the published models were trained, it is for every parameter.
    """
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if config.train.decay == "all":
        return [{"params": [p for _, p in named], "weight_decay": config.train.weight_decay}]
    free = {n for n, p in named if p.ndim < 2 or n.endswith((".raw", ".reference", ".content"))}
    return [
        {"params": [p for n, p in named if n not in free], "weight_decay": config.train.weight_decay},
        {"params": [p for n, p in named if n in free], "weight_decay": 0.0},
    ]


def _run_epochs(
    state: State,
    data: Split,
    held: Split | None,
    config: Config,
    out: Path,
    seed: int,
    progress: Progress,
    stop_after: int | None,
    ranks: Ranks,
) -> None:
    train_config, device = config.train, next(state.model.parameters()).device
    amp = precision(train_config.amp, device)
    total = train_config.epochs * -(-len(data) // train_config.batch)
    watched = build_model(config, state.model.video_dim, state.model.text_dim).to(device)
    step = Step(state.model, state.optimizer, state.average, config, amp=amp, ranks=ranks)
    recorded = None
    if recorded_on(config, device, ranks) and data.rows.device == device:
        recorded = RecordedStep(step, data, bucket=config.train.bucket)
    with ranks.together():
        if ranks.first:
            write_history(out, state.history)
    while state.epoch < (stop_after or train_config.epochs):
        if _out_of_patience(state, config, held):
            break
        begun, worked = time.monotonic(), time.process_time()
        # Order and dropout of an epoch depend on (seed, epoch) alone, so a resumed run repeats them exactly.
        ranks.seed(seed * 100_003 + state.epoch, device)
        generator = torch.Generator().manual_seed(seed * 100_003 + state.epoch)
        with ranks.together():
            if recorded is None:
                loss, losses = _one_epoch(state, step, data, config, generator, total, ranks)
            else:
                loss, losses = _one_recorded_epoch(state, recorded, config, generator, total)
        state.epoch += 1
        spent, worked = time.monotonic() - begun, time.process_time() - worked
        scores: dict[str, float] = {}
        if held:
            watched.load_state_dict(state.weights())
            scores = monitor_scores(*predict_split_arrays(watched, held, amp=amp, ranks=ranks), held)
        monitored = scores[train_config.monitor] if held else float(state.epoch)
        better = monitored > state.best
        if better:
            state.best, state.best_epoch = monitored, state.epoch
        state.seconds += time.monotonic() - begun
        state.history.append(
            {
                "epoch": state.epoch,
                "step": state.step,
                "loss": loss,
                "losses": losses,
                "scores": scores,
                "monitored": monitored,
                "lr": train_config.lr * rate_at(state.step, total, train_config),
                "seconds": round(spent, 3),
                **({"processor_seconds": round(worked, 3)} if device.type == "cpu" else {}),
                "samples_per_second": round(len(data) / max(spent, 1e-9), 1),
            }
        )
        with ranks.together():
            if ranks.first:
                write_epoch(state, out, better=better)
        progress.epoch(state.epoch, loss, scores, best=better and bool(scores), rate=len(data) / max(spent, 1e-9))


def _one_epoch(
    state: State, step: Step, data: Split, config: Config, generator: torch.Generator, total: int, ranks: Ranks
) -> tuple[float, dict[str, float]]:
    """One pass; returns the mean loss and its mean parts. The device is asked for them once, at the end."""
    state.model.train()
    sums: dict[str, torch.Tensor] = {}
    batches, bucket = 0, bucket_size(config)
    for which in data.batches(config.train.batch, generator):
        batch, targets = data.batch(ranks.rows(which), data.shape(which, bucket))
        if batch.video_mask.device != step.device:
            batch, targets = batch.to(step.device), moved(targets, step.device)
        rate = config.train.lr * rate_at(state.step, total, config.train)
        parts = step(batch, targets, rate, len(which))
        state.step += 1
        batches += 1
        for name, value in parts.items():
            # A new tensor each time: what a captured graph returns is overwritten by its next run.
            sums[name] = sums.get(name, 0) + value
    return _finite({name: float(value) / batches for name, value in sums.items()}, state, config)


def _one_recorded_epoch(
    state: State, step: RecordedStep, config: Config, generator: torch.Generator, total: int
) -> tuple[float, dict[str, float]]:
    """The same by recorded steps, which sum up the losses themselves."""
    state.model.train()
    batches = 0
    for which in step.data.batches(config.train.batch, generator):
        step(which, config.train.lr * rate_at(state.step, total, config.train))
        state.step += 1
        batches += 1
    return _finite(step.means(batches), state, config)


def _finite(means: dict[str, float], state: State, config: Config) -> tuple[float, dict[str, float]]:
    """The mean loss of an epoch and its mean parts, which must be numbers."""
    if not np.isfinite(means["total"]):
        also = f" or fusion.step_size (now {config.fusion.step_size:g})" if config.model.name == "rdmf" else ""
        raise InputError(
            f"training diverged in epoch {state.epoch + 1}: the loss is {means['total']}; lower train.lr "
            f"(now {config.train.lr:g}){also} and train into another --out"
        )
    return means.pop("total"), means


def _out_of_patience(state: State, config: Config, held: Split | None) -> bool:
    patience = config.train.patience
    return bool(held and patience and state.epoch - state.best_epoch >= patience and state.epoch > 0)
