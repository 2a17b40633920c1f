"""Settings that follow from the machine: how many decoders, how large a batch."""

from __future__ import annotations

import os
import sys

from rdmf_extract.launch import local_processes
from rdmf_extract.record import Described

# Frames in the batch of rows handed to the encoder. On a CPU larger ones are no faster, as networks take few at once
# there; they only hold memory, three times over (being encoded, waiting, being filled), and are waited for at the end.
FRAMES_PER_BATCH = {"cpu": 32, "gpu": 1024}
MOST_ROWS_PER_BATCH = 256
ROWS_TOGETHER = 4  # batches are a multiple of this where they can be: encoders fill up what they take at once


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
    rows = max(1, min(MOST_ROWS_PER_BATCH, frames // encoder.sampling.frames_per_window))
    return rows // ROWS_TOGETHER * ROWS_TOGETHER or rows
