"""Settings that follow from the machine: how many decoders, how large a batch."""

from __future__ import annotations

import math
import os
import sys

from rdmf.store.cores import usable_cores
from rdmf_extract.launch import granted_cores, local_processes
from rdmf_extract.record import Described

# The most frames in the batch of rows handed to the encoder. On a CPU larger ones are no faster, as networks take few
# at once there; they only hold memory, three times over (being encoded, waiting, being filled), and the first and the
# last are waited for: so half of it is enough there where it makes whole `ROWS_TOGETHER`.
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
    return max(1, _cores()) if on_gpu(encoder) else fewest_workers()


def fewest_workers() -> int:
    """Decoder processes that there will be wherever the encoder runs."""
    return max(1, _cores() // 2)


def encoder_lanes(encoder: Described) -> int:
    """Pieces of a batch to be computed side by side: a core for each of PyTorch's threads in every one.

    All cores, those of the decoders too: these wait most of the time where a network on the CPU is what takes it, and
    where they do not, the system shares the cores out.
    """
    torch = sys.modules.get("torch")
    if torch is None or on_gpu(encoder):
        return 1
    return max(1, _cores() // int(torch.get_num_threads()))


def _cores() -> int:
    """Cores for this process: those it may use and was given, shared with others that a launcher started beside it."""
    cores = usable_cores()
    cores = min(cores, granted_cores(os.environ) or cores)
    return cores // local_processes(os.environ)


def default_batch(encoder: Described) -> int:
    most, each = FRAMES_PER_BATCH["gpu" if on_gpu(encoder) else "cpu"], encoder.sampling.frames_per_window
    rows = max(1, min(MOST_ROWS_PER_BATCH, most // each))
    if not on_gpu(encoder):
        rows = min(rows, math.ceil(most / 2 / each / ROWS_TOGETHER) * ROWS_TOGETHER)
    return rows // ROWS_TOGETHER * ROWS_TOGETHER or rows
