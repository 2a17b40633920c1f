"""Which code runs the steps along time: the compiled C kernels, the Triton kernels, or PyTorch's own operations.

`RDMF_KERNELS` chooses: `auto` (the default) takes Triton for CUDA tensors and the C kernels for CPU tensors wherever
they work, else PyTorch's operations; `plain` keeps to these everywhere; `native` or `triton` insists on that kind for
the device it is made for and is an error where it does not work. `RDMF_NATIVE=off` switches the C kernels off.
"""

from __future__ import annotations

import functools
import os
import warnings

import torch
from torch import Tensor

from rdmf.model import native

SWITCH = "RDMF_KERNELS"
CHOICES = ("auto", "plain", "native", "triton")
#: Fields that a kernel may be given. The state between steps is float32 always.
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
#: The oldest Triton that compiles the kernels: they carry tuples of rows through loops.
OLDEST_TRITON = (3, 3)


def chosen(device: str, dtype: torch.dtype) -> str:
    """What runs fields of this type: "native", "triton" or "plain".

    Args:
        device: a device's type, "cpu" or "cuda".
        dtype: of the fields and rates together; float64 is always plain.

    Raises:
        ValueError: the switch holds another word.
        RuntimeError: the switch insists on what does not work here.
    """
    word = os.environ.get(SWITCH, "").lower() or "auto"
    if word not in CHOICES:
        raise ValueError(f"{SWITCH}={word}: choose one of {', '.join(CHOICES)}")
    if word == "plain" or dtype not in DTYPES:
        return "plain"
    if device == "cuda" and word != "native":
        fault = triton_fault()
        if fault is None:
            return "triton"
        if word == "triton":
            raise RuntimeError(f"{SWITCH}=triton, but the Triton kernels do not work here: {fault}")
        _tell(fault)
    elif device == "cpu" and word == "triton" and _interpreted():
        return "triton"
    elif device == "cpu":
        if native.library() is not None:
            return "native"
        if word == "native":
            raise RuntimeError(f"{SWITCH}=native, but there is no C compiler here, or {native.SWITCH} is off")
    return "plain"


# The mark of `torch.compiler.assume_constant_result`, without the second that importing the compiler for it would take:
# what is traced calls `chosen` then and there, and keeps the answer.
chosen._dynamo_marked_constant = True  # type: ignore[attr-defined]


def compiled_for(*tensors: Tensor) -> bool:
    """Whether the C kernels run here on these tensors: on the CPU, and not while code is traced for `torch.compile`."""
    on_cpu = all(x.device.type == "cpu" for x in tensors)
    return on_cpu and not torch.compiler.is_compiling() and chosen("cpu", torch.float32) == "native"


def launched_for(*tensors: Tensor) -> bool:
    """Whether the Triton kernels run here on these tensors, and code is not traced for `torch.compile`."""
    kind = tensors[0].device.type
    return not torch.compiler.is_compiling() and chosen(kind, torch.float32) == "triton"


@functools.cache
def triton_fault() -> str | None:
    """Why the Triton kernels cannot run on this machine's GPU, found out by running the smallest of them; or None."""
    if torch.version.cuda is None:
        return "this PyTorch is not built for CUDA"
    try:
        if torch.cuda.get_device_capability() < (7, 5):
            return "the GPU is older than compute capability 7.5"
        import triton

        if tuple(int(part) for part in triton.__version__.split(".")[:2]) < OLDEST_TRITON:
            return f"Triton is {triton.__version__}, older than {'.'.join(map(str, OLDEST_TRITON))}"
        from rdmf.model import triton_heat

        field = torch.ones(1, 2, 1, device="cuda")
        lengths = torch.full((1,), 2, device="cuda")
        found = triton_heat.forward(field, torch.full((1,), 0.25, device="cuda"), lengths, 1)
        return None if bool((found == 1).all()) else "the smallest kernel gives wrong numbers"
    except Exception as error:  # whatever a compiler, a driver or a missing package says: there is another way
        return f"{type(error).__name__}: {error}".strip().splitlines()[0]


@functools.cache
def _tell(fault: str) -> None:
    warnings.warn(f"the steps along time run without fused GPU kernels, slower: {fault}", RuntimeWarning, stacklevel=4)


def _interpreted() -> bool:
    """Whether Triton, if it is imported, interprets kernels on the CPU: for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"
