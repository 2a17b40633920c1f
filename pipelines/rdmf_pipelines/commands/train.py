"""`rdmf train`: a feature cache in, a run directory out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    features: Annotated[Path | None, typer.Option(help="The feature cache, e.g. features/charades.h5.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="rdmf, moment-detr, qd-detr, cg-detr or univtg (short for --set model.name=...)."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Settings by name; --list shows them. Default: those for the cache's dataset and the model, if any."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings from a YAML or JSON file.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One setting, name=value; repeatable.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of weights, order and dropout.")] = 0,
    seeds: Annotated[
        int | None, typer.Option(help="Train so many runs, from --seed on, and report the spread.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in --out stopped, or start it.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Run directory; default runs/CACHE-PRESET-SEED.")] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N (short for --set train.device=...).")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the final table.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show every preset and every setting, and stop.")] = False,
) -> None:
    """Train a model on a feature cache. Nothing else is read: queries, windows and splits are in the cache."""
    from rdmf.train.launch import is_first, one_voice

    if list_:
        from rdmf.config import parse_overrides

        _show_settings(preset, config, _chosen(model, parse_overrides(set_ or [])))
        return
    with one_voice():
        from rdmf.config import Config, load_config, parse_overrides
        from rdmf.store import InputError

        overrides = _chosen(model, parse_overrides(set_ or []))
        if features is None:
            raise InputError(
                "say which cache to train on: rdmf train --features features/NAME.h5 (`rdmf extract` makes one)"
            )
        if seeds is not None and seeds < 1:
            raise InputError(f"--seeds {seeds}: at least 1")
        if device is not None:
            overrides["train.device"] = device
        quiet = quiet or not is_first()  # of several processes one speaks
        if preset is None and config is None:
            preset = _preset_of(features, Config().updated(overrides).model.name, quiet=quiet)
        name = load_config(preset, config, overrides).model.name

    from rdmf.train import train as run_training

    done: list[Path] = []
    for s in range(seed, seed + (seeds or 1)):
        folder = _folder(out, features, _label(preset, name, features), s, several=seeds is not None, resume=resume)
        done.append(
            run_training(
                features,
                folder,
                preset=preset,
                config_file=config,
                overrides=overrides,
                seed=s,
                resume=resume,
                quiet=quiet,
            )
        )
    if is_first():
        _report(done)


def _chosen(model: str | None, overrides: dict[str, Any]) -> dict[str, Any]:
    """The settings of --set with the model of --model, which must not contradict them."""
    from rdmf.config import Config
    from rdmf.store import InputError

    if model is not None:
        if overrides.setdefault("model.name", model) != model:
            raise InputError(f"--model {model} and --set model.name={overrides['model.name']} differ; give one of them")
        Config().updated({"model.name": model}, where="--model")
    return overrides


def _preset_of(features: Path, model: str = "rdmf", *, quiet: bool) -> str | None:
    """The preset that `rdmf_pipelines.presets` finds for a cache and a model; says which."""
    from rdmf.store import open_cache
    from rdmf_pipelines.presets import dataset_of, preset_for

    with open_cache(features) as cache:
        preset = preset_for(dataset_of(cache.provenance.notes), model)
    if preset is not None and not quiet:
        why = "the model's published settings" if preset == model else "after the cache's dataset"
        print(f"settings: preset {preset}, {why} (--preset default for none)")
    return preset


def _label(preset: str | None, model: str, features: Path) -> str:
    """What tells a run directory from others of the same cache: the preset, and the model where it does not say."""
    label = preset or "default"
    if model == "rdmf":
        return label
    dataset = label.removesuffix(model).removesuffix("-")
    # `salads50-qd-detr` adds nothing but the model to the name of a cache that says salads50 itself.
    return model if not dataset or dataset in features.stem else f"{dataset}-{model}"


def _folder(out: Path | None, features: Path, label: str, seed: int, *, several: bool, resume: bool) -> Path:
    """The run directory: as named, or the first free name under runs/ (the last taken one when resuming)."""
    if out is not None:
        return out / f"seed-{seed}" if several else out
    name = Path("runs") / f"{features.stem if label in features.stem else f'{features.stem}-{label}'}-{seed}"
    taken: Path | None = None
    candidate, number = name, 1
    while candidate.exists():
        taken, number = candidate, number + 1
        candidate = name.with_name(f"{name.name}-{number}")
    return taken if resume and taken is not None else candidate


def _report(runs: list[Path]) -> None:
    """The table at the end: what the hold-out said, per seed and as mean and standard deviation."""
    import numpy as np

    from rdmf.files import read_json

    summaries = [read_json(r / "summary.json") for r in runs]
    names = [n for n in ("R1@0.5", "R1@0.7", "mIoU", "mAP", "saliency mAP") if n in summaries[0]["holdout"]]
    rows = [["run", "epochs", "best", *names, "time", "samples/s"]]
    for run, s in zip(runs, summaries):
        scores = [f"{s['holdout'][n]:.1f}" for n in names]
        spent = [f"{s['seconds']:.0f} s", f"{s['samples_per_second']:.0f}"]
        rows.append([str(run), str(s["epochs"]), str(s["best_epoch"]), *scores, *spent])
    if len(runs) > 1 and names:
        values = np.array([[s["holdout"][n] for n in names] for s in summaries])
        spread = [f"{m:.1f} ± {d:.1f}" for m, d in zip(values.mean(0), values.std(0, ddof=1))]
        rows.append([f"mean ± std of {len(runs)} seeds", "", "", *spread, "", ""])
    print(
        "\nhold-out (training videos set aside; percent):"
        if names
        else "\nno hold-out: every training video was learnt from, the last epoch is kept"
    )
    # Plain columns: a run's path must stay whole and copyable however narrow the terminal or the log is.
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip())
    print(f"curves: {runs[-1] / 'curves.png'}\nnext:   rdmf eval {runs[-1]}")


def _show_settings(preset: str | None, config: Path | None, overrides: dict[str, Any]) -> None:
    from rdmf.config import load_config, presets, settings

    values = load_config(preset, config, overrides)
    print(f"presets: {', '.join(presets())}\n")
    for name, f in settings().items():
        section, _, key = name.partition(".")
        value = getattr(getattr(values, section), key)
        choices = f" [{' | '.join(map(str, f.metadata['choices']))}]" if f.metadata["choices"] else ""
        print(f"{name} = {value}{choices}\n    {f.metadata['help']}")
