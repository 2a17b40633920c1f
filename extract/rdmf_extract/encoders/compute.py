"""Where and at which precision an encoder runs, and pixels to network input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from rdmf.store.errors import InputError
from rdmf_extract.encoders.allocator import keep_freed_memory
from rdmf_extract.encoders.base import Frames
from rdmf_extract.sampling import Sampling


def choose_device(device: str) -> torch.device:
    """ "auto" is the GPU where there is one, else the CPU; anything else is PyTorch's own name for a device.

    Whoever chooses the CPU is about to run networks there: see `keep_freed_memory`.

    Raises:
        InputError: no such device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device '{device}' is unknown; use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device '{device}' asked for, but PyTorch sees no CUDA GPU here; use auto or cpu")
    if chosen.type == "cpu":
        keep_freed_memory()
    return chosen


def half_precision(device: torch.device) -> AbstractContextManager[object]:
    """Autocast to bfloat16 (float16 on older GPUs) on a GPU; nothing on a CPU, where it would be slower."""
    if device.type != "cuda":
        return nullcontext()
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.autocast("cuda", dtype=dtype)


def check_frames(frames: Frames, sampling: Sampling) -> None:
    """Raise ValueError unless `frames` is (B, frames_per_window, crop, crop, 3) uint8."""
    wanted = (sampling.frames_per_window, sampling.crop, sampling.crop, 3)
    if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[1:] != wanted:
        raise ValueError(f"frames must be (B, {', '.join(map(str, wanted))}) uint8, got {frames.dtype} {frames.shape}")


def whole_steps(frames: Frames, step: int) -> Iterator[tuple[Frames, int]]:
    """(`step` items, how many of them count) at a time, the last step filled up with zeros.

    A network is then always called with the same shape. Libraries choose their kernels by shape, and two kernels differ
    in the last digits; so what is encoded together with an item, or after a run was broken off, cannot touch it.
    """
    for first in range(0, len(frames), step):
        part = frames[first : first + step]
        count = len(part)
        if count < step:
            part = np.concatenate([part, np.zeros((step - count, *part.shape[1:]), part.dtype)])
        yield part, count


class Normalise:
    """(pixel / 255 - mean) / std, folded into one multiplication and one addition per channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        means, stds = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
        self._scale = (1 / (255 * stds)).float().to(device)
        self._shift = (-means / stds).float().to(device)
        self._device = device

    def __call__(self, frames: Frames) -> Tensor:
        """(..., 3) uint8 to float32 of the same shape on the device; channels stay last in memory."""
        # Frames may come read-only from another process's memory; PyTorch wants writable ones even to read them.
        owned = np.require(frames, requirements=["C", "W"])
        pixels = torch.from_numpy(owned).to(self._device, non_blocking=True)
        return pixels.float().mul_(self._scale).add_(self._shift)
