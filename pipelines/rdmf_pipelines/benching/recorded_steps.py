"""A training step on a GPU: launched operation by operation, and recorded as a graph; and what the GPU does in it."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from rdmf.config import Config, load_config
from rdmf.model import build_model
from rdmf.store import open_cache
from rdmf.train.data import Split
from rdmf.train.loop import choose_queries, parameter_groups
from rdmf.train.optimizer import AdamW
from rdmf.train.precision import precision
from rdmf.train.recorded import SIGHTS, RecordedStep
from rdmf.train.schedule import Average
from rdmf.train.step import Step
from rdmf_pipelines.benching.bench import Bench
from rdmf_pipelines.benching.made_up import TINY, Shape, make_cache
from rdmf_pipelines.benching.settings import overrides_of, preset_of
from rdmf_pipelines.benching.sheet import entry
from rdmf_pipelines.benching.train_step import RATE, Stepping

GROUP = "step on a GPU"
LAUNCHED, RECORDED = "launched", "recorded"
OPERATIONS, BUSY, FLOOR = "operations", "busy", "matrix products alone"
#: What operations on the device are called by: the first expression that a kernel's name fits.
KINDS = {
    "reaction, diffusion, matching": r"(forward|backward|keep|assign)_kernel",
    "matrix products": r"gemm|nvjet|cutlass::Kernel|xmma|splitK|gemv|cublas",
    "attention": r"fmha|flash|sdpa|softmax|SoftMax",
    "norms": r"layer_norm|GammaBeta",
    "optimiser": r"multi_tensor_apply|adam",
    "gathering, sorting, scans": r"gather|scatter|index|[Ss]ort|topk|TopK|scan|cum",
    "sums": r"reduce",
    "elementwise and copies": r"elementwise|Memcpy|Memset|copy|fill|Cat",
}
ABOUT = (
    "*Launched* operation by operation, as PyTorch does it; *recorded* whole as a CUDA graph, as `rdmf train` does it "
    "on a GPU; *busy*, what the device's operations take one after the other, by kind below. *Matrix products alone* "
    "at the speed that a large product has here ({speed:.0f} TFLOP/s in bfloat16). 75 clips, features 768 wide."
)


def variants(models: tuple[str, ...], *, quick: bool) -> dict[str, tuple[str, dict[str, Any]]]:
    """{label: (preset, settings)}: the paper's settings, RDMF's own at the paper's batch, the published models."""
    small = {"model.hidden": 32, "train.batch": 4} if quick else {}
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for name in models:
        if name == "rdmf":
            found["rdmf --preset paper, batch 16"] = ("paper", {"data.holdout": 0.0, **small})
            found["rdmf, 100 moment queries, batch 16"] = (
                preset_of(name),
                {"data.holdout": 0.0, "train.batch": 16, **small},
            )
        else:
            found[f"{name}, batch 32"] = (preset_of(name), overrides_of(name, quick=quick))
    return found


def measure(bench: Bench) -> None:
    """A line a model; nothing where there is no GPU."""
    if not bench.on_gpu:
        return
    path = make_cache(bench.folder / "steps.h5", TINY if bench.quick else Shape(400, 75, 768, 768))
    speed = product_speed(bench)
    bench.sheet.about[GROUP] = ABOUT.format(speed=speed / 1e12)
    for label, (preset, settings) in variants(tuple(bench.models), quick=bench.quick).items():
        bench.tell(f"{GROUP}: {label}")
        config = load_config(preset, None, settings)
        with open_cache(path) as cache:
            learn, _ = choose_queries(cache, config)
            split = Split.load(cache, learn, device=bench.device, max_tokens=config.data.max_tokens)
        _one(bench, label, config, split, speed)


def product_speed(bench: Bench) -> float:
    """Operations a second of a large product in bfloat16."""
    size = 256 if bench.quick else 8192
    a, b = (torch.randn(size, size, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    taken = bench.turns({"product": lambda: a @ b}, turns=9)["product"]
    return 2.0 * size**3 / sorted(taken)[len(taken) // 2]


def make(config: Config, split: Split) -> Step:
    """A new model's step on the split's device."""
    torch.manual_seed(0)
    device = split.rows.device
    model = build_model(config, split.rows.shape[1], split.tokens.shape[1]).to(device).train()
    optimizer = AdamW(parameter_groups(model, config), lr=1e-4, fused=True)
    return Step(model, optimizer, Average(model, 0.99), config, amp=precision(config.train.amp, device))


def _one(bench: Bench, label: str, config: Config, split: Split, speed: float) -> None:
    size, turns = min(config.train.batch, len(split)), 2 if bench.quick else 7
    order = _forever(split, size)
    step = make(config, split)

    def launched() -> None:
        which = next(order)
        step(*split.batch(which, split.shape(which, halved=True)), 1e-4)

    for _ in range(2):
        launched()
    taken = {LAUNCHED: [_timed(bench, launched) for _ in range(turns)]}
    kinds, count = kinds_of(launched)
    recorded = RecordedStep(make(config, split), split)
    # Every shape often enough, and once more: what is timed is replays.
    for _ in range((SIGHTS + 2) * 4):
        recorded(next(order), 1e-4)

    def ten() -> None:
        for _ in range(10):
            recorded(next(order), 1e-4)

    taken[RECORDED] = [_timed(bench, ten) / 10 for _ in range(turns)]
    for name, seconds in taken.items():
        told = entry(GROUP, label, name, seconds)
        more = {RATE: size / told.seconds} | ({OPERATIONS: count} if name == RECORDED else {})
        bench.add(replace(told, more=more))
    bench.add(entry(GROUP, label, BUSY, [sum(kinds.values())]))
    stepping = Stepping(config, split, device=bench.device, wait=bench.wait, clock=time.perf_counter)
    bench.add(entry(GROUP, label, FLOOR, [stepping.products() / speed]))
    for kind, share in kinds.items():
        bench.add(entry(GROUP, label, kind, [share]))


def _forever(split: Split, size: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    while True:
        yield from (which for which in split.batches(size, generator) if len(which) == size)


def _timed(bench: Bench, work: Any) -> float:
    bench.wait()
    begun = time.perf_counter()
    work()
    bench.wait()
    return time.perf_counter() - begun


def kinds_of(work: Any) -> tuple[dict[str, float], float]:
    """Seconds that the device's operations of some work take, by kind, most first; and how many there are."""
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profile:
        work()
        torch.cuda.synchronize()
    seconds: Counter[str] = Counter()
    count = 0.0
    for event in profile.events():
        # What the optimiser calls itself spans its kernels, which are events of their own.
        if event.device_type == torch._C._autograd.DeviceType.CUDA and not event.name.startswith("Optimizer."):
            kind = next((k for k, pattern in KINDS.items() if re.search(pattern, event.name)), "other")
            seconds[kind] += event.device_time / 1e6
            count += 1
    return dict(seconds.most_common()), count
