"""The reaction's CPU kernel, `gray_scott.c`: compiled once on this machine, for this machine, where a C compiler is."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

#: Set to "off" to keep to PyTorch's own operations.
SWITCH = "RDMF_NATIVE"
_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-std=c11", "-shared", "-fPIC")


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel, or None: switched off, no compiler, or nowhere to keep it. Never an error.

    The file lies in the user's cache folder under a name made of the source, the flags and the processor, so that
    machines sharing a home directory do not run each other's code.
    """
    if os.environ.get(SWITCH, "").lower() in {"off", "0", "false"} or sys.platform == "win32":
        return None
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    source = (resources.files("rdmf.model") / "gray_scott.c").read_bytes()
    about = "\n".join((compiler, *_FLAGS, platform.machine(), _processor()))
    name = f"gray_scott-{hashlib.sha256(source + about.encode()).hexdigest()[:16]}.so"
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rdmf"
    try:
        if not (root / name).is_file():
            _compile(compiler, source, root / name)
        return _declare(ctypes.CDLL(str(root / name)))
    except (OSError, RuntimeError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    """What tells one kind of processor from another: `-march=native` code is for one kind only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _compile(compiler: str, source: bytes, target: Path) -> None:
    """Build into a temporary file beside the target and rename: many processes may start at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        code, built = Path(folder) / "gray_scott.c", Path(folder) / target.name
        code.write_bytes(source)
        for threads in (("-fopenmp",), ()):  # a compiler without OpenMP gives a kernel of one thread
            command = [compiler, *_FLAGS, *threads, str(code), "-o", str(built)]
            if subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0:
                built.replace(target)
                return
    raise RuntimeError(f"{compiler} does not compile the kernel")


def _declare(lib: ctypes.CDLL) -> ctypes.CDLL:
    whole, real, pointer = ctypes.c_int64, ctypes.c_float, ctypes.c_void_p
    head: list[Any] = [whole] * 5 + [real, ctypes.c_int] + [pointer] * 8
    lib.gray_scott_forward.argtypes, lib.gray_scott_forward.restype = head, None
    lib.gray_scott_backward.argtypes, lib.gray_scott_backward.restype = head + [pointer] * 7, None
    return lib


def usable(*fields: Tensor) -> bool:
    """Whether the kernel can take these fields: float32 on the CPU, and there is a kernel."""
    return all(f.device.type == "cpu" and f.dtype == torch.float32 for f in fields) and library() is not None


class NativeSteps(torch.autograd.Function):
    """N split steps by the compiled kernel; the arguments of `rdmf.model.split_steps.SplitSteps`, channels last."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, s: Tensor, rate_a: Tensor, rate_s: Tensor, feed: Tensor, decay: Tensor, extra: Any
    ) -> tuple[Tensor, Tensor]:
        """Fields (B, L, d); rates (B, 1, d); extra: (mask (B, L), steps, eta, scales)."""
        mask, steps, eta, scales = extra
        batch, length, width = a.shape
        fields = [f.contiguous() for f in (a, s)]
        rates = [r.reshape(batch, width).contiguous() for r in (rate_a, rate_s, feed, decay)]
        valid = mask.sum(1)
        states = a.new_empty((steps, 2, batch, length, width))
        lib = library()
        assert lib is not None
        ctx.sizes = (batch, length, width, steps, scales, eta, torch.get_num_threads())
        lib.gray_scott_forward(*ctx.sizes, *_at(valid, *fields, *rates, states))
        ctx.save_for_backward(valid, *fields, *rates, states)
        return states[-1, 0], states[-1, 1]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """States are kept by the forward pass; everything within a step is computed again."""
        saved = ctx.saved_tensors
        batch, length, width, *_, threads = ctx.sizes
        ga, gs = (torch.empty_like(f).copy_(g) for f, g in zip(saved[1:3], gradients))
        rates = [ga.new_zeros((batch, width)) for _ in range(4)]
        scratch = ga.new_empty((max(threads, 1), 2, length, width))
        lib = library()
        assert lib is not None
        lib.gray_scott_backward(*ctx.sizes, *_at(*saved, ga, gs, *rates, scratch))
        return ga, gs, *(r[:, None] for r in rates), None


def _at(*tensors: Tensor) -> list[int]:
    return [t.data_ptr() for t in tensors]
