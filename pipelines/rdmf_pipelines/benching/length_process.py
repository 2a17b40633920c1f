"""One prediction in a process of its own, for `rdmf_pipelines.benching.lengths`: prints its seconds and peak memory.

python -m rdmf_pipelines.benching.length_process '{"model": "rdmf", "length": 75, ...}'
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdmf.model import build_model
from rdmf.predict import predict_one
from rdmf_pipelines.benching.lengths import WIDTH, WORDS
from rdmf_pipelines.benching.settings import settings_of
from rdmf_pipelines.benching.turns import in_turns

STATUS = Path("/proc/self/status")
#: A first prediction of so many clips loads and compiles whatever is loaded and compiled but once.
WARM_CLIPS = 16


def main(asked: dict[str, Any]) -> dict[str, Any]:
    """{"seconds": [...], "peak": bytes}, or {"too much": True}.

    Args:
        asked: model, length (clips), quick, device, seconds (enough), limit (GB beyond what the process has when it is
            ready), threads.
    """
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
        peak = peak_of(predict, device)
        wait = (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)
        times = in_turns({"": predict}, seconds=asked["seconds"], turns=9, least=2, wait=wait)[""]
    except (MemoryError, RuntimeError) as error:  # torch's own error for it is a RuntimeError
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        return {"too much": True}
    return {"seconds": times, "peak": peak}


def allow_more(gigabytes: float, device: torch.device) -> None:
    """Take no more than so much beyond what this process has now: running out is then an error here, and the machine
    goes on."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gigabytes * 1e9 / total), device)
    elif STATUS.exists() and gigabytes < 1e6:
        bytes_now = 1024 * _status("VmSize")
        resource.setrlimit(resource.RLIMIT_AS, (bytes_now + int(gigabytes * 1e9), resource.RLIM_INFINITY))


def peak_of(predict: Callable[[], object], device: torch.device) -> float:
    """Bytes that a call takes at the most beyond what was held before it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        predict()
        torch.cuda.synchronize(device)
        return float(torch.cuda.max_memory_allocated(device) - held)
    if not STATUS.exists():  # no way to forget the peak of loading: what the call adds to it
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        predict()
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    held = _status("VmRSS")
    predict()
    return 1024.0 * (_status("VmHWM") - held)


def _status(field: str) -> int:
    """Kilobytes, as the system counts them."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
