"""What a training step costs, and which part of it: RDMF and the published models at the size of the published loops.

    OMP_NUM_THREADS=1 python benchmarks/train_step.py [rdmf moment-detr ...] [--steps 8] [--set decoder.queries=16]

Batches of 32 queries about videos of 75 clips, features 2816 wide (SlowFast and CLIP on QVHighlights) and 512 for
words, hidden width 256, one thread, made-up features in a real cache. Medians of processor seconds, which other
processes on the machine stretch less than they stretch the clock; the clock stands beside them. "products" is what the
matrix products of the step alone would take at the speed that this machine has for them at that moment.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from rdmf.baselines import detr
from rdmf.config import Config, load_config, parse_overrides
from rdmf.model import build_model
from rdmf.predict import predict_split_arrays
from rdmf.store import Provenance, QueryRecord, TextRecord, VideoRecord, open_cache, write_cache
from rdmf.train import losses
from rdmf.train.augment import augment
from rdmf.train.data import Split
from rdmf.train.loop import parameter_groups
from rdmf.train.schedule import Average

MODELS = ("rdmf", "moment-detr", "qd-detr", "cg-detr", "univtg")
PARTS = ("data", "forward", "loss", "matching", "backward", "clip", "weights", "average")
CLIPS, BATCH, VIDEO_DIM, TEXT_DIM = 75, 32, 2816, 512
#: Samples a second of the authors' own loops, one thread, no loader processes: shared/golden/train-speed.json.
PUBLISHED = {
    "moment-detr": "moment_detr_1thread_nw0",
    "qd-detr": "qd_detr_1thread_nw0",
    "cg-detr": "cg_detr_1thread_nw0",
}
GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden" / "train-speed.json"


def make_cache(path: Path, videos: int = 96) -> Path:
    """Two queries a video, one to five windows each, as in QVHighlights; 8 to 24 words."""
    rng = np.random.default_rng(0)
    seen, asked, said = [], [], []
    for number in range(videos):
        starts = np.arange(CLIPS) * 2.0
        features = rng.standard_normal((CLIPS, VIDEO_DIM), dtype=np.float32)
        seen.append(VideoRecord(f"v{number}", features, np.stack((starts, starts + 2), 1), CLIPS * 2.0))
        for which in range(2):
            text = f"sentence {which} about video {number}"
            said.append(TextRecord(text, rng.standard_normal((int(rng.integers(8, 25)), TEXT_DIM), dtype=np.float32)))
            cuts = np.sort(rng.choice(CLIPS + 1, 2 * min(5, int(rng.geometric(0.55))), replace=False)) * 2.0
            windows = tuple((float(a), float(b)) for a, b in cuts.reshape(-1, 2))
            asked.append(QueryRecord(f"{number}-{which}", f"v{number}", text, "train", windows=windows))
    made = Provenance(video={"encoder": "noise", "dim": VIDEO_DIM}, text={"encoder": "noise", "dim": TEXT_DIM})
    return write_cache(path, made, seen, said, asked)


def settings_of(name: str, overrides: dict[str, Any]) -> Config:
    """The model's published settings; RDMF's are those for QVHighlights."""
    preset = "qvhighlights" if name == "rdmf" else name
    common = {"train.batch": BATCH, "train.ema": 0.99, "train.device": "cpu"}
    return load_config(preset, None, {**common, **(overrides if name == "rdmf" else {})})


class Bench:
    """One model and its data; `rdmf.train.step.Step` taken apart so that each part can be timed."""

    def __init__(self, config: Config, split: Split) -> None:
        torch.manual_seed(0)
        self.config, self.split = config, split
        self.model = build_model(config, VIDEO_DIM, TEXT_DIM).train()
        self.optimizer = torch.optim.AdamW(parameter_groups(self.model, config), lr=1e-4, fused=True)
        self.average = Average(self.model, 0.99)
        self.order = self._forever()
        self.spent: list[tuple[float, float]] = []
        self.matching = 0.0

    def _forever(self) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        while True:
            yield from (which for which in self.split.batches(BATCH, generator) if len(which) == BATCH)

    def timed(self, match: Callable[..., Any]) -> Callable[..., Any]:
        """The matcher, its time noted."""

        def wrapped(*arguments: Any) -> Any:
            begun = time.process_time()
            found = match(*arguments)
            self.matching += time.process_time() - begun
            return found

        return wrapped

    def step(self) -> dict[str, float]:
        """Processor seconds of each part, and "step" and "clock" for all together."""
        laps = [(time.process_time(), time.perf_counter())]

        def lap(value: Any) -> Any:
            laps.append((time.process_time(), time.perf_counter()))
            return value

        self.matching = 0.0
        data = self.config.data
        batch, targets = self.split.batch(next(self.order))
        batch, targets = lap(augment(batch, targets, warp=data.warp, noise=data.noise, blank=data.blank))
        output = lap(self.model(batch))
        loss, _ = lap(self.model.loss(output, batch, targets))
        self.optimizer.zero_grad(set_to_none=True)
        lap(loss.backward())
        limit = self.config.train.clip_norm
        lap(torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit, foreach=True))
        lap(self.optimizer.step())
        lap(self.average.update())
        between = [later[0] - earlier[0] for earlier, later in itertools.pairwise(laps)]
        parts = dict(zip((p for p in PARTS if p != "matching"), between))
        parts["loss"] -= self.matching
        return {
            **parts,
            "matching": self.matching,
            "step": laps[-1][0] - laps[0][0],
            "clock": laps[-1][1] - laps[0][1],
        }

    def products(self) -> float:
        """Billions of operations in the matrix products of a step."""
        batch, targets = self.split.batch(next(self.order))
        counter = FlopCounterMode(display=False)
        with counter:
            self.model.loss(self.model(batch), batch, targets)[0].backward()
        return float(counter.get_total_flops()) / 1e9


def product_speed() -> float:
    """Billions of operations a second of a product of the usual shape, now."""
    a, b = torch.randn(3200, 256), torch.randn(256, 256)
    taken = []
    for _ in range(9):
        begun = time.process_time()
        a @ b
        taken.append(time.process_time() - begun)
    return 2e-9 * 3200 * 256 * 256 / statistics.median(taken)


def report(name: str, split: Split, steps: int, overrides: dict[str, Any], published: dict[str, float]) -> None:
    """One model's table."""
    bench = Bench(settings_of(name, overrides), split)
    usual = losses.match, detr.match
    try:
        losses.match, detr.match = (bench.timed(match) for match in usual)
        speeds, found = [product_speed()], []
        bench.step()
        for _ in range(steps):
            found.append(bench.step())
            speeds.append(product_speed())
    finally:
        losses.match, detr.match = usual
    middle = {part: statistics.median(f[part] for f in found) for part in (*PARTS, "step", "clock")}
    whole, operations, speed = middle["step"], bench.products(), statistics.median(speeds)
    print(f"\n{name}: {sum(p.numel() for p in bench.model.parameters()) / 1e6:.2f} M parameters")
    for part in PARTS:
        spread = [f[part] for f in found]
        print(
            f"  {part:<10} {1e3 * middle[part]:8.1f} ms  {100 * middle[part] / whole:5.1f} %"
            f"   ({1e3 * min(spread):.1f} to {1e3 * max(spread):.1f})"
        )
    low, high = min(f["step"] for f in found), max(f["step"] for f in found)
    print(f"  {'step':<10} {1e3 * whole:8.1f} ms  ({1e3 * low:.1f} to {1e3 * high:.1f}); clock {middle['clock']:.2f} s")
    print(f"  products   {1e3 * operations / speed:8.1f} ms  ({operations:.0f} GFLOP at {speed:.0f} GFLOP/s)")
    rate = BATCH / whole
    against = "  ".join(f"{other} {rate / value:.2f}x" for other, value in published.items())
    print(f"  {rate:.1f} samples/s" + (f"; against the authors' own loops: {against}" if against else ""), flush=True)
    begun = time.process_time()
    predict_split_arrays(bench.model, split)
    print(f"  evaluation {len(split) / (time.process_time() - begun):.1f} queries/s")


def main() -> None:
    """A table a model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--set", action="append", default=[], help="a setting of RDMF")
    given = parser.parse_args()
    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.is_file() else {}
    published = {name: golden[key]["samples_per_s_at_median"] for name, key in PUBLISHED.items() if key in golden}
    print(f"{torch.get_num_threads()} thread(s), torch {torch.__version__}; batch {BATCH}, {CLIPS} clips")
    with tempfile.TemporaryDirectory() as folder, open_cache(make_cache(Path(folder) / "noise.h5")) as cache:
        split = Split.load(cache, cache.select("train"), device=torch.device("cpu"))
        for name in given.models:
            report(name, split, given.steps, parse_overrides(given.set), published)


if __name__ == "__main__":
    main()
