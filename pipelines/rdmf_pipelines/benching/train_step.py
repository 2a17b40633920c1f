"""A training step of every model, split by part: data, forward, loss, matching, backward, update."""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode

from rdmf.baselines import detr
from rdmf.config import Config
from rdmf.model import build_model
from rdmf.store import open_cache
from rdmf.train import losses, matcher
from rdmf.train.augment import augment
from rdmf.train.data import Split
from rdmf.train.loop import choose_queries, parameter_groups
from rdmf.train.optimizer import AdamW
from rdmf.train.precision import precision
from rdmf.train.schedule import Average
from rdmf_pipelines.benching.bench import Bench
from rdmf_pipelines.benching.settings import BATCH, settings_of, variants
from rdmf_pipelines.benching.sheet import entry

GROUP = "training step"
STEP, PRODUCTS = "step", "matrix products alone"
PARTS = ("data", "forward", "loss", "matching", "backward", "clip", "weights", "average")
RATE = "samples a second"
#: {threads: {model: key of train-speed.json}}, samples a second of the authors' own loops without loader processes.
PUBLISHED = {
    1: {
        "moment-detr": "moment_detr_1thread_nw0",
        "qd-detr": "qd_detr_1thread_nw0",
        "cg-detr": "cg_detr_1thread_nw0",
    },
    2: {"moment-detr": "moment_detr_nw0", "qd-detr": "qd_detr_nw0"},
}
GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden" / "train-speed.json"
ABOUT = (
    "Batches of {batch} queries, features {d_video} wide for clips and {d_text} for words. *Matrix products alone* is "
    "what those of the step would take at the speed that this machine has for them at the moment.{published}"
)
ABOUT_PUBLISHED = (
    " *Of NAME's loop*: samples a second as a multiple of those that the authors' own loop reached on such a core, on "
    "another day."
)


class Stepping:
    """One model and its data; `rdmf.train.step.Step` taken apart so that each part can be timed.

    Args:
        config: the settings. split: what to learn from. wait: until the device is done. clock: seconds.
    """

    def __init__(
        self,
        config: Config,
        split: Split,
        *,
        device: torch.device,
        wait: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        torch.manual_seed(0)
        self.config, self.split, self.device, self.wait, self.clock = config, split, device, wait, clock
        self.size = min(config.train.batch, len(split))
        self.model = build_model(config, split.rows.shape[1], split.tokens.shape[1]).to(device).train()
        self.optimizer = AdamW(parameter_groups(self.model, config), lr=1e-4, fused=True)
        self.average = Average(self.model, 0.99)
        self.amp = precision(config.train.amp, device)
        self.order = self._forever()
        self.matching = 0.0

    def _forever(self) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        while True:
            yield from (which for which in self.split.batches(self.size, generator) if len(which) == self.size)

    def now(self) -> float:
        """Seconds, once the device is done."""
        self.wait()
        return self.clock()

    def timed(self, match: Callable[..., Any]) -> Callable[..., Any]:
        """The matcher, its time noted."""

        def wrapped(*arguments: Any) -> Any:
            begun = self.now()
            found = match(*arguments)
            self.matching += self.now() - begun
            return found

        return wrapped

    def step(self) -> dict[str, float]:
        """Seconds of each part, and of all together."""
        laps = [self.now()]

        def lap(value: Any) -> Any:
            laps.append(self.now())
            return value

        self.matching = 0.0
        batch, targets = lap(self.split.batch(next(self.order)))
        output = lap(self.forward(batch, targets))
        loss, _ = lap(self.model.loss(output, self.batch, self.targets))
        self.optimizer.zero_grad(set_to_none=True)
        lap(loss.backward())
        limit = self.config.train.clip_norm
        lap(torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit, foreach=True) if limit else None)
        lap(self.optimizer.step())
        self.average.update()
        lap(None)
        between = [later - earlier for earlier, later in itertools.pairwise(laps)]
        parts = dict(zip((p for p in PARTS if p != "matching"), between))
        parts["loss"] -= self.matching
        return {STEP: laps[-1] - laps[0], **parts, "matching": self.matching}

    def forward(self, batch: Any, targets: Any) -> Any:
        """The output for a batch, augmented as the settings say; `batch` and `targets` keep what came of that."""
        data = self.config.data
        self.batch, self.targets = augment(batch, targets, warp=data.warp, noise=data.noise, blank=data.blank)
        with torch.autocast(self.device.type, self.amp or torch.bfloat16, enabled=self.amp is not None):
            return self.model(self.batch)

    def products(self) -> float:
        """Operations in the matrix products of a step."""
        batch, targets = self.split.batch(next(self.order))
        counter = FlopCounterMode(display=False)
        with counter:
            output = self.forward(batch, targets)
            self.model.loss(output, self.batch, self.targets)[0].backward()
        return float(counter.get_total_flops())

    def product_speed(self) -> float:
        """Operations a second of a product of the usual shape, now."""
        kind = self.amp or torch.float32
        a = torch.randn(3200, 256, device=self.device, dtype=kind)
        b = torch.randn(256, 256, device=self.device, dtype=kind)
        taken = []
        for _ in range(9):
            begun = self.now()
            a @ b
            taken.append(self.now() - begun)
        return 2.0 * 3200 * 256 * 256 / statistics.median(taken)


def published_rates(*, threads: int = 1) -> dict[str, float]:
    """{model: samples a second of its authors' loop}; empty where that measurement is not beside this."""
    if not GOLDEN.is_file():
        return {}
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    keys = PUBLISHED[threads]
    return {name: golden[key]["samples_per_s_at_median"] for name, key in keys.items() if key in golden}


def measure(bench: Bench) -> None:
    """A line a model."""
    # Those loops ran on one CPU thread and on features of this width.
    alike = not (bench.on_gpu or bench.quick or bench.features) and torch.get_num_threads() == 1
    rates = published_rates() if alike else {}
    with open_cache(bench.cache) as cache:
        learn, _ = choose_queries(cache, settings_of("rdmf", quick=bench.quick))
        split = Split.load(cache, learn, device=bench.device)
        about = {"batch": min(BATCH, len(split)), "d_video": cache.d_video, "d_text": cache.d_text}
        bench.sheet.about[GROUP] = ABOUT.format(**about, published=ABOUT_PUBLISHED if rates else "")
        for label, (name, extra) in variants(list(bench.models), quick=bench.quick).items():
            bench.tell(f"{GROUP}: {label}")
            config = settings_of(name, quick=bench.quick, extra=extra)
            clock = time.perf_counter if bench.on_gpu else time.process_time
            _one(bench, label, Stepping(config, split, device=bench.device, wait=bench.wait, clock=clock), rates)


def _one(bench: Bench, label: str, stepping: Stepping, rates: dict[str, float]) -> None:
    match = stepping.timed(matcher.match)
    with patch.object(losses, "match", match), patch.object(detr, "match", match):
        speeds, found = [stepping.product_speed()], []
        stepping.step()
        for _ in range(2 if bench.quick else 7):
            found.append(stepping.step())
            speeds.append(stepping.product_speed())
    rate = stepping.size / statistics.median(f[STEP] for f in found)
    more = {RATE: rate, **{f"of {other}'s loop": rate / known for other, known in rates.items()}}
    for part in (STEP, *PARTS):
        taken = [f[part] for f in found]
        if any(taken):
            bench.add(entry(GROUP, label, part, taken, more=more if part == STEP else None))
    operations = stepping.products()
    bench.add(entry(GROUP, label, PRODUCTS, [operations / speed for speed in speeds]))
