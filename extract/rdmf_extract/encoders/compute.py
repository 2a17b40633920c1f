"""Where and at which precision an encoder runs, and pixels to network input."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from rdmf.store.errors import InputError
from rdmf_extract.encoders.allocator import keep_freed_memory
from rdmf_extract.encoders.base import Frames
from rdmf_extract.encoders.precision import PRECISIONS
from rdmf_extract.sampling import Sampling


def gpu_count() -> int:
    """CUDA GPUs that PyTorch can use here; `torch.cuda.device_count` alone may count those whose driver is too old."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def choose_device(device: str) -> torch.device:
    """ "auto" is the GPU where there is one, else the CPU; anything else is PyTorch's own name for a device.

    Whoever chooses the CPU is about to run networks there: see `keep_freed_memory`.

    Raises:
        InputError: no such device, or none that computes here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device '{device}' is unknown; use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cpu":
        keep_freed_memory()
    elif chosen.type == "cuda":
        # Counted, not tried: whoever only asks shall not take memory on a GPU that others' processes are for.
        count = gpu_count()
        if not count:
            raise InputError(f"device '{device}' asked for, but PyTorch sees no CUDA GPU here; use auto or cpu")
        if (chosen.index or 0) >= count:
            raise InputError(f"device '{device}' asked for, but the last CUDA GPU here is cuda:{count - 1}")
    else:
        try:
            torch.zeros(1, device=chosen).item()  # "meta" takes numbers and gives none
        except (RuntimeError, AssertionError, ImportError) as error:
            why = str(error).partition("\n")[0].partition(". ")[0]
            raise InputError(f"device '{device}' cannot be used here ({why}); use auto, cpu, cuda or cuda:N") from None
    return chosen


def choose_precision(precision: str, device: torch.device) -> str:
    """ "auto" is bfloat16 on a GPU (float16 on older ones) and float32 on a CPU, where half of it would be slower.

    The one place where this is decided: whatever records or compares a precision has the word that comes from here.

    Returns:
        "float32", "bfloat16" or "float16".

    Raises:
        InputError: an unknown word, or float16 on a CPU.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision '{precision}' is unknown; use {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}")
    if precision == "float16" and device.type == "cpu":
        raise InputError("precision float16 is for GPUs; on a CPU use float32 or bfloat16")
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "float32"
    with torch.cuda.device(device):  # what is asked next is asked of the current GPU
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def computing(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which networks on `device` compute in a precision that `choose_precision` returned.

    Weights stay float32. The half ones are autocast's; float32 on a GPU is float32 throughout, never TF32.
    """
    if precision != "float32":
        return torch.autocast(device.type, dtype={"bfloat16": torch.bfloat16, "float16": torch.float16}[precision])
    return _NO_TF32 if device.type == "cuda" else nullcontext()


class _NoTF32:
    """Convolutions and matrix products of float32 on GPUs without TF32, which keeps 10 bits of a number's 23.

    PyTorch's switches hold for the whole process, in which several threads may be encoding (on Ray: frames and
    sentences): the first to enter turns them, the last to leave turns them back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = (True, "highest")

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision())
                torch.backends.cudnn.allow_tf32 = False
                torch.set_float32_matmul_precision("highest")
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                torch.backends.cudnn.allow_tf32 = self._before[0]
                torch.set_float32_matmul_precision(self._before[1])


_NO_TF32 = _NoTF32()


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
