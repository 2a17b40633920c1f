"""The same trials for every model: one list of settings, drawn once, run under each model on training folds.

    python benchmarks/search.py univtg --preset joined features/joined-ff0.h5 features/joined-ff3.h5
    python benchmarks/search.py univtg --preset salads50 features/salads50-fold1.h5
    python benchmarks/search.py univtg --preset salads50 features/salads50-fold1.h5 --only 0 6 --seed 1
    python benchmarks/search.py --table docs/trials

Trial 0 is the preset as it is. The others change what every model of the harness has and its design does not fix: the
rate (a multiple of the preset's, which `benchmarks/tune.py` has chosen for nearly every model), dropout, weight decay,
augmentation, the batch, and whether feature rows are of unit length. The epochs stay: the budget is equal. Of several
caches the first sees every trial, each further one the better half of those before. What is learnt from and watched,
and what is printed: as benchmarks/tune.py has it. A trial that OUT holds is not run again. With --only some trials are
run with further seeds: where one run says little, the preset and the best beside it can be told apart by several.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from tune import trial

from rdmf.config import BASELINES, load_config
from rdmf.store import InputError
from rdmf_pipelines.presets import preset_for

COLUMNS = ("R1@0.5", "R1@0.7", "mIoU", "saliency mAP")
MARGIN = 1.0
"""By how many points of the columns' mean a trial has to be better than the preset to take its place."""

SPREAD: dict[str, tuple[float, ...]] = {
    "rate": (0.5, 0.63, 0.8, 1.0, 1.25, 1.6, 2.0),
    "model.dropout": (0.0, 0.1, 0.2, 0.3),
    "model.input_dropout": (0.1, 0.25, 0.4, 0.5),
    "train.weight_decay": (1e-4, 1e-2, 5e-2),
    "data.warp": (0.0, 0.3),
    "data.noise": (0.0, 0.05, 0.1),
    "data.blank": (0.0, 0.1, 0.2),
    "batch": (0.5, 1.0),
    "unit": (0, 1),
}
"""What is tried of each setting; rate and batch are multiples of the preset's."""


def drawn(trials: int, seed: int = 0) -> list[dict[str, float]]:
    """Settings of trials 1 to `trials` - 1, one dict each, the same for every model.

    Every value of a setting comes up equally often, to within one, in an order of its own (a Latin hypercube); the list
    for fewer trials is not the beginning of that for more.
    """
    order = random.Random(seed)
    columns = {}
    for name, values in SPREAD.items():
        shuffled = order.sample(values, len(values))
        column = [shuffled[at % len(values)] for at in range(trials - 1)]
        order.shuffle(column)
        columns[name] = column
    return [{name: column[at] for name, column in columns.items()} for at in range(trials - 1)]


def settings_for(model: str, preset: str | None, draw: dict[str, float] | None) -> dict[str, Any]:
    """A draw as the model's own settings; None: what the preset has in their place."""
    base = load_config(preset, overrides={"model.name": model}).to_dict()
    unit = f"{BASELINES[model]}.normalize" if model in BASELINES else "data.normalize"
    places = {"rate": "train.lr", "batch": "train.batch", "unit": unit}
    found: dict[str, Any] = {"model.name": model}
    for name in SPREAD:
        section, _, key = places.get(name, name).partition(".")
        own = base[section][key]
        if draw is not None:
            of = {"rate": draw[name] * own, "batch": max(1, round(draw[name] * own)), "unit": bool(draw[name])}
            own = of.get(name, draw[name])
        found[f"{section}.{key}"] = own
    return found


def means(lines: list[dict[str, Any]], at: int) -> list[float]:
    """Scores of trial `at` over its caches: COLUMNS, then their mean, by which trials are compared. Percent."""
    of = [line["scores"] for line in lines if line["trial"] == at]
    found = [sum(scores[column] for scores in of) / len(of) for column in COLUMNS]
    return [*found, sum(found) / len(found)]


def adopted(lines: list[dict[str, Any]]) -> int:
    """The trial that the preset shall have: the best of those that saw every cache and seed, if it beats trial 0 by
    MARGIN."""
    runs = Counter(line["trial"] for line in lines)
    full = [at for at in sorted(runs) if runs[at] == max(runs.values())]
    best = max(full, key=lambda at: means(lines, at)[-1])
    return 0 if 0 in full and means(lines, best)[-1] - means(lines, 0)[-1] <= MARGIN else best


def better_half(lines: list[dict[str, Any]], trials: list[int]) -> list[int]:
    """The trials with the higher means so far, half of them, in their order."""
    ranked = sorted(trials, key=lambda at: -means(lines, at)[-1])
    return sorted(ranked[: (len(trials) + 1) // 2])


def run(
    model: str, preset: str, caches: list[Path], out: Path, trials: int, seed: int, only: list[int] | None = None
) -> None:
    """Adds a line to OUT for each trial and cache that is not there yet: the first cache all trials, the next one the
    better half of them, and so on.

    Args:
        only: these trials on every cache, whatever seeds OUT holds already.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{preset}-{model}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    named = preset_for(preset, model)
    draws: list[dict[str, float] | None] = [None, *drawn(trials)]
    left, seen = list(range(trials)) if only is None else only, set[str]()
    if not set(left) <= set(range(trials)):
        raise InputError(f"--only {' '.join(map(str, left))}: there are trials 0 to {trials - 1}")
    for cache in caches:
        seen.add(cache.stem)
        for at in left:
            chosen = settings_for(model, named, draws[at])
            there = [line for line in lines if line["trial"] == at and line["cache"] == cache.stem]
            known = {line["seed"] for line in there}
            if any(line["settings"] != chosen for line in there) or (only is None and known and seed not in known):
                raise InputError(f"{path}: trial {at} is there with other settings or another seed; name another --out")
            if seed in known:
                continue
            scores = trial([cache], named, chosen, seed)
            line = {"trial": at, "of": trials, "cache": cache.stem, "seed": seed, "settings": chosen, "scores": scores}
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            lines.append(line)
            print(f"{model:<12} {cache.stem} {at} " + "  ".join(f"{c} {scores[c]:.1f}" for c in COLUMNS), flush=True)
        # A run that goes on chooses as it chose before: by the caches so far, not by what lies further on.
        if only is None:
            left = better_half([line for line in lines if line["cache"] in seen and line["seed"] == seed], left)


def table(out: Path) -> None:
    """Markdown: a row for each model and trial, means over its caches and seeds; marked is the one to adopt."""
    for path in sorted(out.glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        runs, chosen = Counter(line["trial"] for line in lines), adopted(lines)
        print(f"\n{path.stem}: {', '.join(dict.fromkeys(line['cache'] for line in lines))}\n")
        print(f"| trial | runs | {' | '.join(COLUMNS)} | mean | settings |\n|{'---|' * 8}")
        for at in sorted(runs):
            settings = next(line["settings"] for line in lines if line["trial"] == at)
            said = ", ".join(f"{k.split('.')[-1]} {v:g}" for k, v in settings.items() if k != "model.name")
            name = f"**{at}**" if at == chosen else str(at)
            cells = [name, str(runs[at]), *(f"{score:.1f}" for score in means(lines, at)), said]
            print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Trials of one model, or the table of all that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("caches", type=Path, nargs="*")
    parser.add_argument("--preset", help="the dataset's; that of the model for it is taken")
    parser.add_argument("--out", type=Path, default=Path("results/search"))
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0, help="of the training; the list of settings has its own")
    parser.add_argument(
        "--only", type=int, nargs="+", metavar="TRIAL", help="these on every cache, also with a new seed"
    )
    parser.add_argument("--table", type=Path, metavar="OUT", help="print what is there")
    given = parser.parse_intermixed_args()
    if given.table:
        table(given.table)
        return
    if not (given.model and given.preset and given.caches):
        parser.error("MODEL, --preset and caches are needed")
    try:
        run(given.model, given.preset, given.caches, given.out, given.trials, given.seed, given.only)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
