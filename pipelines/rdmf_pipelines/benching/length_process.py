"""One prediction in a process of its own, for `rdmf_pipelines.benching.lengths`: prints its seconds and peak memory.

python -m rdmf_pipelines.benching.length_process '{"model": "rdmf", "length": 75, ...}'
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdmf.model import build_model
from rdmf.predict import predict_one
from rdmf_pipelines.benching.lengths import WIDTH, WORDS
from rdmf_pipelines.benching.settings import settings_of
from rdmf_pipelines.benching.turns import in_turns, processor_clock

STATUS = Path("/proc/self/status")
#: A first prediction of so many clips loads and compiles whatever is loaded and compiled but once.
WARM_CLIPS = 16
#: What takes longer than so many seconds is not done again.
LONG = 5.0


def main(asked: dict[str, Any]) -> dict[str, Any]:
    """{"seconds": [...], "peak": bytes}, or {"too much": True}.

    Args:
        asked: model, length (clips), quick, device, seconds (enough), limit (GB beyond what the process has when it is
            ready), threads, patience (processor seconds, after which the system ends this process).
    """
    spent = resource.getrusage(resource.RUSAGE_SELF)
    patience = math.ceil(spent.ru_utime + spent.ru_stime) + asked["patience"]
    resource.setrlimit(resource.RLIMIT_CPU, (patience, resource.RLIM_INFINITY))
    torch.set_num_threads(asked["threads"])
    torch.manual_seed(0)
    device = torch.device(asked["device"])
    rng = np.random.default_rng(0)
    model = build_model(settings_of(asked["model"], quick=asked["quick"]), WIDTH, WIDTH).to(device)
    tokens = rng.standard_normal((WORDS, WIDTH))

    def predicting(length: int) -> Callable[[], object]:
        # As a cache gives them: half as large as what the model works on.
        features: Any = rng.standard_normal((length, WIDTH), dtype=np.float32).astype(np.float16)
        edges = np.linspace(0, 1, length + 1)
        return lambda: predict_one(model, features, edges, float(length), tokens, top_k=10, device=device)

    predicting(WARM_CLIPS)()
    predict = predicting(asked["length"])
    allow_more(asked["limit"], device)
    try:
        peak, first = peak_of(predict, device)
        wait = (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)
        clock = time.perf_counter if device.type == "cuda" else None
        more = {"seconds": asked["seconds"], "turns": 9, "least": 3}
        times = in_turns({"": predict}, clock=clock, wait=wait, **more)[""] if first < LONG else [first]
    except (MemoryError, RuntimeError) as error:  # torch's own error for it is a RuntimeError
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        return {"too much": True}
    return {"seconds": times, "peak": peak}


def allow_more(gigabytes: float, device: torch.device) -> None:
    """Take no more than so much beyond what this process has now: running out is then an error here, and the machine
    goes on."""
    if device.type == "cuda":
        which = device.index if device.index is not None else torch.cuda.current_device()
        total, held = torch.cuda.get_device_properties(which).total_memory, torch.cuda.memory_reserved(which)
        torch.cuda.set_per_process_memory_fraction(min(1.0, (held + gigabytes * 1e9) / total), which)
    elif STATUS.exists() and gigabytes < 1e6:
        bytes_now = 1024 * _status("VmSize")
        resource.setrlimit(resource.RLIMIT_AS, (bytes_now + int(gigabytes * 1e9), resource.RLIM_INFINITY))


def peak_of(predict: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Bytes that a call takes at the most beyond what was held before it, and its seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        begun = time.perf_counter()
        predict()
        torch.cuda.synchronize(device)
        return float(torch.cuda.max_memory_allocated(device) - held), time.perf_counter() - begun
    clock = processor_clock()
    if not STATUS.exists():  # no way to forget the peak of loading: what the call adds to it, in kilobytes or bytes
        unit = 1 if sys.platform == "darwin" else 1024
        before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, clock()
        predict()
        spent = clock() - begun
        return float(unit * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)), spent
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    held, begun = _status("VmRSS"), clock()
    predict()
    return 1024.0 * (_status("VmHWM") - held), clock() - begun


def _status(field: str) -> int:
    """Kilobytes, as the system counts them."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
