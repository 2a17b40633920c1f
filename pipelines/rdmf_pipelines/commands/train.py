"""`rdmf train`: a feature cache in, a run directory out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    features: Annotated[Path | None, typer.Option(help="The feature cache, e.g. features/charades.h5.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Settings by name; --list shows them. Default: the cache's dataset, if it has a preset."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings from a YAML or JSON file.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One setting, name=value; repeatable.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and dropout.")] = 0,
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
    from rdmf.config import parse_overrides
    from rdmf.store import InputError

    if list_:
        _show_settings(preset, config, set_ or [])
        return
    if features is None:
        raise InputError(
            "say which cache to train on: rdmf train --features features/NAME.h5 (`rdmf extract` makes one)"
        )
    if seeds is not None and seeds < 1:
        raise InputError(f"--seeds {seeds}: at least 1")
    overrides = parse_overrides(set_ or [])
    if device is not None:
        overrides["train.device"] = device

    from rdmf.train import train as run_training

    if preset is None and config is None:
        preset = _preset_of(features, quiet=quiet)
    done: list[Path] = []
    for s in range(seed, seed + (seeds or 1)):
        folder = _folder(out, features, preset, s, several=seeds is not None, resume=resume)
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
    _report(done)


def _preset_of(features: Path, *, quiet: bool) -> str | None:
    """The preset made for the cache's dataset: hyper-parameters of another dataset cost many points unnoticed."""
    from rdmf.config import presets
    from rdmf.store import open_cache

    with open_cache(features) as cache:
        notes = cache.provenance.notes
    # Extraction notes the recipe that read the annotations, import the name of the cache.
    dataset = notes.get("recipe", notes.get("dataset"))
    if dataset not in presets():
        return None
    if not quiet:
        print(f"settings: preset {dataset}, after the cache's dataset (--preset default for none)")
    return str(dataset)


def _folder(out: Path | None, features: Path, preset: str | None, seed: int, *, several: bool, resume: bool) -> Path:
    """The run directory: as named, or the first free name under runs/ (the last taken one when resuming)."""
    if out is not None:
        return out / f"seed-{seed}" if several else out
    label = preset or "default"
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

    from rdmf.train.checkpoint import read_json

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


def _show_settings(preset: str | None, config: Path | None, assignments: list[str]) -> None:
    from rdmf.config import load_config, parse_overrides, presets, settings

    values = load_config(preset, config, parse_overrides(assignments))
    print(f"presets: {', '.join(presets())}\n")
    for name, f in settings().items():
        section, _, key = name.partition(".")
        value = getattr(getattr(values, section), key)
        choices = f" [{' | '.join(map(str, f.metadata['choices']))}]" if f.metadata["choices"] else ""
        print(f"{name} = {value}{choices}\n    {f.metadata['help']}")
