"""Settings that follow from the machine: how many decoders, how large a batch."""

from __future__ import annotations

import os
import sys

from rdmf_extract.launch import local_processes
from rdmf_extract.record import Described

FRAMES_PER_BATCH = {"cpu": 128, "gpu": 1024}  # frames in the batch of rows handed to the encoder
MOST_ROWS_PER_BATCH = 256


def on_gpu(encoder: Described) -> bool:
    device = getattr(encoder, "device", None)
    if device is not None:
        return str(device).startswith("cuda")
    torch = sys.modules.get("torch")  # an encoder that does not say where it runs and loaded no torch runs on the CPU
    return torch is not None and bool(torch.cuda.is_available())


def default_workers(encoder: Described) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores //= local_processes(os.environ)
    return max(1, cores if on_gpu(encoder) else cores // 2)


def default_batch(encoder: Described) -> int:
    frames = FRAMES_PER_BATCH["gpu" if on_gpu(encoder) else "cpu"]
    return max(1, min(MOST_ROWS_PER_BATCH, frames // encoder.sampling.frames_per_window))
