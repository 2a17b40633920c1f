"""The CPU kernels, the C files beside this one: compiled once on this machine, for it, where a C compiler is."""

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

#: Set to "off" to do without them. (`rdmf.model.kernels` has the switch for every kind of kernel.)
SWITCH = "RDMF_NATIVE"
SOURCES = ("gray_scott.c", "heat.c", "norm.c", "pointwise.c", "rows.c", "spans.c")
HEADERS = ("numbers.h",)
# Products and sums become one instruction, which rounds once; ISO C alone would leave them two.
_FLAGS = (
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-std=c11",
    "-shared",
    "-fPIC",
)
#: Types that kernels read features in, and those in which they give results; the numbers are those of numbers.h.
KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
RESULTS = {torch.float32: 0, torch.bfloat16: 1}
#: What `pointwise` can do, in the order of pointwise.c.
POINTWISE = ("drop", "gelu", "gelu back", "add")
#: What a walk keeps in the caches grows with the square of its steps; more steps go in several walks.
MOST_STEPS = 16


def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None: switched off, no compiler, or nowhere to keep them. Never an error."""
    return None if os.environ.get(SWITCH, "").lower() in {"off", "0", "false"} else _built()


@functools.cache
def _built() -> ctypes.CDLL | None:
    """The file lies in the user's cache folder under a name made of the sources, the flags and the processor, so that
    machines sharing a home directory do not run each other's code."""
    if sys.platform == "win32":
        return None
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    sources = {name: (resources.files("rdmf.model") / name).read_bytes() for name in (*SOURCES, *HEADERS)}
    about = "\n".join((compiler, *_FLAGS, platform.machine(), _processor()))
    name = f"kernels-{hashlib.sha256(b''.join(sources.values()) + about.encode()).hexdigest()[:16]}.so"
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rdmf"
    try:
        if not (root / name).is_file():
            _compile(compiler, sources, root / name)
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


def _compile(compiler: str, sources: dict[str, bytes], target: Path) -> None:
    """Build into a temporary file beside the target and rename: many processes may start at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        for name, code in sources.items():
            (Path(folder) / name).write_bytes(code)
        built = Path(folder) / target.name
        for threads in (("-fopenmp",), ()):  # a compiler without OpenMP gives kernels of one thread
            command = [compiler, *_FLAGS, *threads, *(str(Path(folder) / name) for name in SOURCES), "-o", str(built)]
            if subprocess.run(command, capture_output=True, timeout=300, check=False).returncode == 0:
                built.replace(target)
                return
    raise RuntimeError(f"{compiler} does not compile the kernels")


def _declare(lib: ctypes.CDLL) -> ctypes.CDLL:
    whole, real, flag, pointer = ctypes.c_int64, ctypes.c_float, ctypes.c_int, ctypes.c_void_p
    reaction: list[Any] = [whole] * 5 + [flag, real, flag]
    heat: list[Any] = [whole] * 4 + [flag]
    lib.gray_scott_forward.argtypes = reaction + [pointer] * 9
    lib.gray_scott_backward.argtypes = reaction + [pointer] * 15
    lib.heat_forward.argtypes = heat + [pointer] * 4
    lib.heat_backward.argtypes = heat + [pointer] * 6
    lib.norm_forward.argtypes = [*[whole] * 3, flag, flag, real, flag, *[pointer] * 5]
    lib.norm_backward.argtypes = [*[whole] * 3, flag, flag, flag, *[pointer] * 8]
    lib.prepare_rows.argtypes = [whole, whole, flag, flag, whole, real, flag, *[pointer] * 4]
    lib.expected_overlap.argtypes = [whole, whole, whole, flag, *[pointer] * 4]
    lib.suppress.argtypes = [whole, whole, real, *[pointer] * 3]
    lib.pointwise.argtypes = [whole, *[flag] * 4, whole, flag, *[pointer] * 4]
    return lib


def _call(name: str, *arguments: Any) -> None:
    """Run a kernel; tensors, all contiguous and on the CPU, go in as their addresses."""
    lib = library()
    if lib is None:
        raise RuntimeError("the compiled kernels are gone: was the switch turned between forward and backward?")
    failed = getattr(lib, name)(*(a.data_ptr() if isinstance(a, Tensor) else a for a in arguments))
    if failed == 2:
        raise TypeError(f"{name} does not take these types")
    if failed:
        raise MemoryError(f"no memory for the scratch rows of {name}")


def gray_scott_forward(
    a: Tensor, s: Tensor, rates: Tensor, lengths: Tensor, steps: int, eta: float, scales: int, euler: bool
) -> tuple[Tensor, Tensor]:
    """At most MOST_STEPS steps on float32: see `rdmf.model.fused.gray_scott_steps`, whose arguments these are."""
    out = torch.empty_like(a), torch.empty_like(s)
    sizes = (*a.shape, steps, scales, euler, eta, torch.get_num_threads())
    _call("gray_scott_forward", *sizes, lengths, a, s, *rates, *out)
    return out


def gray_scott_backward(
    a: Tensor,
    s: Tensor,
    rates: Tensor,
    lengths: Tensor,
    x: Tensor,
    y: Tensor,
    steps: int,
    eta: float,
    scales: int,
    euler: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of both fields and of the rates (4, B, d), from those of the result, x and y."""
    to_a, to_s, to_rates = torch.empty_like(a), torch.empty_like(s), torch.zeros_like(rates)
    sizes = (*a.shape, steps, scales, euler, eta, torch.get_num_threads())
    _call("gray_scott_backward", *sizes, lengths, a, s, *rates, x, y, to_a, to_s, *to_rates)
    return to_a, to_s, to_rates


def heat_forward(field: Tensor, rate: Tensor, lengths: Tensor, steps: int) -> Tensor:
    """Any number of steps on float32: see `rdmf.model.fused.heat_steps`, whose arguments these are."""
    out = torch.empty_like(field)
    _call("heat_forward", *field.shape, steps, torch.get_num_threads(), lengths, rate, field, out)
    return out


def heat_backward(field: Tensor, rate: Tensor, lengths: Tensor, gradient: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The gradients of the field and of the rate (d,), from that of the result."""
    to_field, to_rate = torch.empty_like(field), field.new_zeros(field.shape[0], field.shape[2])
    sizes = (*field.shape, steps, torch.get_num_threads())
    _call("heat_backward", *sizes, lengths, rate, field, gradient, to_field, to_rate)
    return to_field, to_rate.sum(0)


def fresh_seed() -> Tensor:
    """(1,) int64 from torch's generator, so that runs repeat under a seed and go on where they stopped."""
    return torch.empty(1, dtype=torch.int64).random_(-(2**63), None)


def prepare_rows(table: Tensor, index: Tensor | None, eps: float, dropped: int, dtype: torch.dtype) -> Tensor:
    """See `rdmf.model.rows.prepared`.

    Args:
        table: (N, d). index: int64, any shape, -1 for a row of zeros; None: every row of the table, in order.
        dropped: of 65536 draws; 0: none.
        dtype: float32 or bfloat16.

    Returns:
        (R, d), a row for every number of the index.
    """
    table, index = table.contiguous(), None if index is None else index.contiguous()
    rows, width = len(table) if index is None else index.numel(), table.shape[1]
    out = table.new_empty(rows, width, dtype=dtype)
    sizes = (rows, width, KINDS[table.dtype], RESULTS[dtype], dropped, eps, torch.get_num_threads())
    _call("prepare_rows", *sizes, fresh_seed() if dropped else None, index, table, out)
    return out


def pointwise(what: str, x: Tensor, side: Tensor | None, dtype: torch.dtype, seed: Tensor, dropped: int) -> Tensor:
    """One of POINTWISE on x (any shape), and dropout: see `rdmf.model.dropout`.

    Args:
        side: of x's shape: the gradient for "gelu back", of x's type; what is added to for "add".
        dtype: of the result, float32 or bfloat16.
    """
    x, side = x.contiguous(), None if side is None else side.contiguous()
    out = torch.empty_like(x, dtype=dtype)
    kinds = (RESULTS[x.dtype], RESULTS[torch.float32 if side is None else side.dtype], RESULTS[dtype])
    _call("pointwise", x.numel(), POINTWISE.index(what), *kinds, dropped, torch.get_num_threads(), seed, x, side, out)
    return out


def norm_forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float, *, bent: bool) -> tuple[Tensor, Tensor]:
    """Layer norm of x (..., d), contiguous, float32 or bfloat16: see `rdmf.model.norm`.

    Args:
        weight, bias: (G, d) float32, contiguous; the first of G equal shares of the rows has the first of them.
        bent: the sigmoid of it.

    Returns:
        the same shape, bfloat16 or, bent, float32, and each row's mean and reciprocal deviation (R, 2).
    """
    width = x.shape[-1]
    rows = x.numel() // width
    out = torch.empty_like(x, dtype=torch.float32 if bent else torch.bfloat16)
    kept = weight.new_empty(rows, 2)
    sizes = (rows, width, len(weight), RESULTS[x.dtype], bent, eps, torch.get_num_threads())
    _call("norm_forward", *sizes, weight, bias, x, out, kept)
    return out, kept


def norm_backward(
    x: Tensor, weight: Tensor, kept: Tensor, bent: Tensor | None, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, in its type, and of weight and bias (G, d), from that of the result.

    Args:
        bent: the result, where it was a sigmoid.
    """
    width, gradient = x.shape[-1], gradient.contiguous()
    to_x, to_weight, to_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
    kinds = (RESULTS[x.dtype], RESULTS[gradient.dtype])
    sizes = (x.numel() // width, width, len(weight), *kinds, torch.get_num_threads())
    _call("norm_backward", *sizes, weight, kept, x, bent, gradient, to_x, to_weight, to_bias)
    return to_x, to_weight, to_bias


def expected_overlap(asked: Tensor, likely: Tensor, share: Tensor) -> Tensor:
    """Of spans (B, Q, 2) with spans (B, K, 2) that weigh `share` (B, K), all float32 as (start, end): (B, Q)."""
    sizes = (*asked.shape[:2], likely.shape[1], torch.get_num_threads())
    out = torch.empty_like(asked[..., 0], memory_format=torch.contiguous_format)
    _call("expected_overlap", *sizes, asked.contiguous(), likely.contiguous(), share.contiguous(), out)
    return out


def suppress(spans: Tensor, order: Tensor, limit: float) -> Tensor:
    """See `rdmf.model.spans.suppress`: float32 spans (B, Q, 2), their order (B, Q) int64, best first; (B, Q) bool."""
    keep = torch.empty(order.shape, dtype=torch.bool)
    _call("suppress", *order.shape, limit, spans.contiguous(), order.contiguous(), keep)
    return keep
