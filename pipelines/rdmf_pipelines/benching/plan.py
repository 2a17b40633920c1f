"""Which groups `rdmf bench` measures, by name; each loaded when it is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from rdmf.store.errors import InputError

if TYPE_CHECKING:
    from rdmf_pipelines.benching.bench import Bench


@dataclass(frozen=True)
class Group:
    """One part of the measurement: its module here, whose `measure(bench)` adds entries, and what it is in a line."""

    module: str
    about: str

    def measure(self, bench: Bench) -> None:
        """Measure it, adding to the bench's sheet."""
        import_module(f"rdmf_pipelines.benching.{self.module}").measure(bench)


#: In the order measured: the short ones first, so that an interruption costs little.
GROUPS = {
    "cache": Group("cache_reading", "opening and reading a feature cache, against plain HDF5 and a file a video"),
    "diffusion": Group("diffusion", "the diffusion along time: every exact way of it, against the plain loop"),
    "reaction": Group("reaction", "the reaction along time: own backward pass and kernel, against the plain loop"),
    "layers": Group(
        "layer_kernels", "on a CPU: sigmoid of a norm, GELU, dropout, features made ready, against PyTorch's"
    ),
    "bandwidth": Group("bandwidth", "on a GPU: the kernels alone, against what memory allows"),
    "matcher": Group("matching", "giving windows to moment queries: all samples at once, against scipy one by one"),
    "step": Group("train_step", "a training step of every model, split by part"),
    "processes": Group("two_processes", "on a CPU: training in one process, and in two that share each batch"),
    "recorded": Group(
        "recorded_steps", "on a GPU: a step launched and recorded as a graph, and what the GPU does in it"
    ),
    "evaluation": Group("evaluating", "predicting a split in one pass, and the metrics"),
    "epoch": Group("epochs", "whole epochs of the trainer"),
    "length": Group("lengths", "one video from 75 to 20,000 clips: seconds and memory of every model"),
}


def chosen(names: Sequence[str]) -> dict[str, Group]:
    """The groups of these names, all without any, in the order they are measured.

    Raises:
        InputError: there is no group of a name.
    """
    refuse_unknown("--only", "group", names, GROUPS, "`rdmf bench --list` describes them")
    return {name: group for name, group in GROUPS.items() if name in names or not names}


def refuse_unknown(option: str, what: str, names: Sequence[str], known: Iterable[str], hint: str = "") -> None:
    """Raises InputError for the first name that is not known, with the nearest that is.

    Args:
        hint: how to find the names; else they are listed.
    """
    from rdmf.setting import nearest

    every = list(known)
    for name in names:
        if name not in every:
            raise InputError(f"{option} {name}: no such {what}{nearest(name, every)}; {hint or ', '.join(every)}")
