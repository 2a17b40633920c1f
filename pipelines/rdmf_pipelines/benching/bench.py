"""What every group of `rdmf bench` is given: where to measure, how long, and the sheet that it fills."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rdmf.model import kernels
from rdmf.model.build import MODELS
from rdmf_pipelines.benching.made_up import FULL, TINY, make_cache
from rdmf_pipelines.benching.sheet import Entry, Sheet, entry
from rdmf_pipelines.benching.turns import in_turns


class DisagreementError(Exception):
    """Two ways of the same thing gave different results: their times would mean nothing."""


@dataclass
class Bench:
    """One run of `rdmf bench`.

    Attributes:
        sheet: filled in. device: where models and fields lie.
        folder: for what is made on the way. quick: tiny sizes, every way a few times: whether it works, not how fast.
        seconds: enough for one way of one thing. models: names of `rdmf.model.build.MODELS`.
        features: a cache of the user's own; None: one is made up.
        tell: told what is being measured.
        memory_gb: the most that one prediction may take.
    """

    sheet: Sheet
    device: torch.device
    folder: Path
    quick: bool = False
    seconds: float = 0.2
    models: Sequence[str] = tuple(MODELS)
    features: Path | None = None
    tell: Callable[[str], None] = lambda said: None
    memory_gb: float = 8.0

    @property
    def on_gpu(self) -> bool:
        """Whether there is something to wait for."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until the device has done all it was told."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    @property
    def clock(self) -> Callable[[], float] | None:
        """None: the thread's own time where there is one thread; on a GPU nothing but the clock on the wall will do."""
        import time

        return time.perf_counter if self.on_gpu else None

    def turns(
        self, ways: Mapping[str, Callable[[], object]], *, share: float = 1.0, least: int = 5, turns: int = 31
    ) -> dict[str, list[float]]:
        """Seconds of each way, by turns; `share` of the usual time where there is much to measure."""
        if self.quick:
            return in_turns(ways, seconds=0, turns=2, least=2, clock=self.clock, wait=self.wait)
        return in_turns(ways, seconds=self.seconds * share, turns=turns, least=least, clock=self.clock, wait=self.wait)

    def compare(
        self,
        group: str,
        case: str,
        ways: Mapping[str, Callable[[], object]],
        *,
        against: str = "",
        share: float = 1.0,
        more: Callable[[str, float], Mapping[str, float]] | None = None,
    ) -> None:
        """Time the ways of one thing, by turns, and note them.

        Args:
            against: the way that the others are ways of replacing. more: what else is known of a way of that name and
                so many seconds.
        """
        self.tell(f"{group}: {case}" if case else group)
        for name, taken in self.turns(ways, share=share).items():
            told = entry(group, case, name, taken, against=against if name != against else "")
            self.add(told if more is None else replace(told, more=dict(more(name, told.seconds))))

    def add(self, one: Entry) -> None:
        """Note a figure."""
        self.sheet.entries.append(one)

    @cached_property
    def cache(self) -> Path:
        """The user's cache, or one made up like QVHighlights with SlowFast and CLIP features, smaller."""
        if self.features is not None:
            return self.features
        self.tell("making up a cache")
        return make_cache(self.folder / "noise.h5", TINY if self.quick else FULL)

    @cached_property
    def copy_bandwidth(self) -> float:
        """Bytes a second that the device reads and writes when it copies a large tensor."""
        size = (1 if self.quick else 256 if self.on_gpu else 32) * 2**20
        source = torch.ones(size // 4, device=self.device)
        target = torch.empty_like(source)
        taken = self.turns({"copy": partial(target.copy_, source)})["copy"]
        return 2 * size / sorted(taken)[len(taken) // 2]


def refuse_difference(
    name: str, found: Any, right: Any, *, where: str, tolerance: float = 1e-3, mask: Tensor | None = None
) -> None:
    """Raises DisagreementError where two results are further apart than `tolerance` of the largest number in `right`.

    Args:
        found, right: tensors of one shape. mask: True where they count, broadcasting to that shape.
    """
    if found.shape != right.shape:
        raise DisagreementError(f"{where}: '{name}' gives shape {tuple(found.shape)}, not {tuple(right.shape)}")
    found, right = found.detach(), right.detach()
    apart = (found.double() - right.double()).abs()
    if mask is not None:
        apart = torch.where(mask, apart, 0.0)
    most = float(apart.max()) if apart.numel() else 0.0
    allowed = tolerance * max(float(right.double().abs().max()) if right.numel() else 0.0, 1e-12)
    # Turned round so that NaN does not pass.
    if not most <= allowed:
        raise DisagreementError(f"{where}: '{name}' is off by {most:.3g}, {allowed:.3g} is allowed; nothing was timed")


@contextmanager
def switch_kept() -> Iterator[None]:
    """Whatever is done to the kernels' switch is undone."""
    before = os.environ.get(kernels.SWITCH)
    try:
        yield
    finally:
        os.environ.pop(kernels.SWITCH, None)
        if before is not None:
            os.environ[kernels.SWITCH] = before


def has_kernel(device: torch.device) -> bool:
    """Whether float32 fields on the device are walked by a kernel."""
    with switch_kept():
        os.environ[kernels.SWITCH] = "auto"
        return kernels.chosen(device.type, torch.float32) != "plain"
