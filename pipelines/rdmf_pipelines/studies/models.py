"""Which runs are one model: those that differ only by their seed, or by the fold they were trained on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rdmf.files import read_json
from rdmf.store import InputError

#: Settings about the machine, not the model.
INDIFFERENT = {"train.device", "train.resident_gib", "train.graphs"}


@dataclass(frozen=True)
class RunInfo:
    """What a run directory says of itself, without its weights.

    Attributes:
        path: the directory. seed: of the training. settings: {"section.field": value}.
        features: the cache it was trained on. fingerprint: of that cache's features.
    """

    path: Path
    seed: int
    settings: dict[str, Any]
    features: Path
    fingerprint: str

    @staticmethod
    def read(path: Path) -> RunInfo:
        """Read RUN/config.json. Needs no torch.

        Raises:
            InputError: no run, damaged, of a newer format, or with settings that this rdmf does not know.
        """
        from rdmf.config import Config

        try:
            saved = read_json(path / "config.json")
            config = Config.of_run(saved["config"], where=str(path / "config.json")).to_dict()
            settings = {f"{s}.{name}": value for s, part in config.items() for name, value in part.items()}
            kept = {name: value for name, value in settings.items() if name not in INDIFFERENT}
            return RunInfo(path, int(saved["seed"]), kept, Path(saved["features"]), str(saved["fingerprint"]))
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            from rdmf.run import load_run

            load_run(path)  # knows better what is wrong
            raise InputError(f"{path / 'config.json'}: damaged ({error})") from None

    @property
    def model(self) -> str:
        """What makes it the same model as another run."""
        return json.dumps([self.settings, self.fingerprint], sort_keys=True)


@dataclass(frozen=True)
class Group:
    """Runs of one model: a seed each, or a seed and a fold each."""

    label: str
    runs: tuple[RunInfo, ...]


def find_runs(paths: Sequence[Path]) -> list[RunInfo]:
    """The runs that the arguments name: each a run, or a folder with runs in it at any depth.

    Raises:
        InputError: an argument that is neither, or a run without a checkpoint or scores.
    """
    found: dict[Path, RunInfo] = {}
    for path in paths:
        if not path.is_dir():
            raise InputError(f"no run at {path}; give run directories, or folders of them")
        inside = [path] if (path / "config.json").is_file() else _inside(path)
        if not inside:
            raise InputError(f"{path} is not a run and holds none: there is no config.json in it")
        for run in inside:
            if not ((run / "best.safetensors").is_file() or any(run.glob("scores-*.npz"))):
                raise InputError(f"{run} has no best.safetensors yet; finish its training with rdmf train --resume")
            found.setdefault(run.resolve(), RunInfo.read(run))
    return list(found.values())


def _inside(path: Path) -> list[Path]:
    """Run directories below a folder, in the order of their names, seed-2 before seed-10."""
    found = [file.parent for file in path.rglob("config.json")]
    # Every odd piece is a number, so that numbers are compared with numbers.
    return sorted(found, key=lambda p: [int(s) if i % 2 else s for i, s in enumerate(re.split(r"(\d+)", str(p)))])


def group_runs(runs: Sequence[RunInfo]) -> list[Group]:
    """Runs by model, in the order in which the models first appear.

    Two runs of one model with the same seed and the same features are two measurements: their folders stay apart.
    """
    models: dict[str, list[RunInfo]] = {}
    for run in runs:
        models.setdefault(run.model, []).append(run)
    parts: list[list[RunInfo]] = []
    for members in models.values():
        places = [(run.features.resolve(), run.seed) for run in members]
        parts.extend([members] if len(set(places)) == len(places) else _apart(members))
    labels = _labels(parts)
    return [Group(label, tuple(part)) for label, part in zip(labels, parts)]


def _apart(members: Sequence[RunInfo]) -> list[list[RunInfo]]:
    """The same by parent folder (`A/seed-0` and `A/seed-1` together), or one by one where even that repeats a seed."""
    folders: dict[Path, list[RunInfo]] = {}
    for run in members:
        folders.setdefault(run.path.resolve().parent, []).append(run)
    parts: list[list[RunInfo]] = []
    for part in folders.values():
        places = [(run.features.resolve(), run.seed) for run in part]
        parts.extend([part] if len(set(places)) == len(places) else [[run] for run in part])
    return parts


def _labels(parts: Sequence[Sequence[RunInfo]]) -> list[str]:
    """The paths in short: `runs/mine` for runs/mine/seed-0 and runs/mine/seed-1, `runs/f*` for runs/f1 and runs/f2."""
    labels = [_common([str(run.path) for run in part]) for part in parts]
    short = [re.sub(r"/(seed-\d+|seed-\*|\*)$", "", label) for label in labels]
    labels = [s if s and short.count(s) == 1 else label for s, label in zip(short, labels)]
    return [
        label if labels.count(label) == 1 else f"{label} #{labels[:i].count(label) + 1}"
        for i, label in enumerate(labels)
    ]


def _common(paths: Sequence[str]) -> str:
    if len({Path(path).is_absolute() for path in paths}) > 1:
        paths = [str(Path.cwd() / path) for path in paths]
    split = [Path(path).parts for path in paths]
    if len({len(parts) for parts in split}) > 1:
        return os.path.commonpath(paths) or "runs"
    out = []
    for names in zip(*split):
        if len(set(names)) == 1:
            out.append(names[0])
            continue
        before = _prefix(names)
        after = _prefix([name[len(before) :][::-1] for name in names])[::-1]
        out.append(f"{before}*{after}")
    return str(Path(*out))


def _prefix(names: Sequence[str]) -> str:
    """The characters that all names begin with."""
    alike = 0
    for letters in zip(*names):
        if len(set(letters)) > 1:
            break
        alike += 1
    return names[0][:alike]


def differing(groups: Sequence[Group]) -> dict[str, dict[str, Any]]:
    """{group label: {setting: value}} of the settings in which the groups differ."""
    every = [group.runs[0].settings for group in groups]
    names = [n for n in every[0] if any(e.get(n) != every[0][n] for e in every)]
    # A published model's own section says nothing of another model.
    return {
        group.label: {n: s[n] for n in names if concerns(n, str(s.get("model.name", "rdmf")))}
        for group, s in zip(groups, every)
    }


def concerns(setting: str, model: str) -> bool:
    """Whether a setting ("section.field") is one of this model's; of section model the published ones have few."""
    section = setting.partition(".")[0].replace("_", "-")
    if model == "rdmf":
        return section in {"data", "model", "train", "score", "loss", "diffusion", "fusion", "decoder"}
    if section == "model":
        return setting in {"model.name", "model.hidden", "model.dropout", "model.input_dropout"}
    return section in {"data", "train", "score", model}
