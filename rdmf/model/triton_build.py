"""The Triton kernels compiled for a GPU that need not be there: proof that they do, their registers and instructions.

Triton's own compiler and NVIDIA's assembler, which its package carries, run on any machine.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from rdmf.model import triton_heat, triton_reaction
from rdmf.model.lines import AHEAD, HEAT_STEPS, LANES, REACTION_BACKWARD_AHEAD, REACTION_STEPS, TURN
from rdmf.model.triton_lines import OPTIONS, SIZES

_TYPES = {"rates": "*fp32", "rate": "*fp32", "to_rates": "*fp32", "to_rate": "*fp32", "lengths": "*i64"}


@dataclass(frozen=True)
class Kernel:
    """One configuration that can be launched.

    Attributes:
        name: gray_scott or heat, with _forward or _backward.
        steps: N or K of one launch.
        euler, scales: as in `rdmf.model.reaction.gray_scott`; without meaning for heat.
        dtype: of the fields, "fp32", "bf16" or "fp16".
    """

    name: str
    steps: int
    euler: bool = False
    scales: int = 1
    dtype: str = "fp32"


@dataclass(frozen=True)
class Built:
    """What the assembler made of it. Without its tools (`resources` None) only that it did.

    Attributes:
        size: bytes of machine code with its tables.
        resources: registers a thread, and bytes of stack and of local memory a thread, where spilled registers go.
        instructions: of the walk, for each row (two numbers in the reaction's kernels, one in the heat equation's).
    """

    size: int
    resources: tuple[int, int, int] | None
    instructions: float | None


def every_kernel() -> Iterator[Kernel]:
    """All that a launch can ask for, but for the number of scales: it only decides how often a short loop repeats."""
    for dtype in ("fp32", "bf16", "fp16"):
        for steps in range(1, REACTION_STEPS + 1):
            for euler in (False, True):
                for name in ("gray_scott_forward", "gray_scott_backward"):
                    yield Kernel(name, steps, euler, 4, dtype)
        for steps in range(1, HEAT_STEPS + 1):
            yield Kernel("heat_forward", steps, dtype=dtype)
            yield Kernel("heat_backward", steps, dtype=dtype)


def build(kernel: Kernel, capability: int = 90) -> Built:
    """Compile for compute capability 9.0 (H100, H200) or another, say 80 or 89; an error where it does not compile."""
    family, _, direction = kernel.name.rpartition("_")
    module: Any = triton_heat if family == "heat" else triton_reaction
    function = getattr(module, f"{direction}_kernel")
    ahead = REACTION_BACKWARD_AHEAD if kernel.name == "gray_scott_backward" else AHEAD
    every = {
        "ETA": 1.0,
        "STEPS": kernel.steps,
        "EULER": kernel.euler,
        "GROUPS": kernel.scales,
        "LANES": LANES,
        "AHEAD": ahead,
        "TURN": TURN,
    }
    constants = {name: value for name, value in every.items() if name in function.arg_names}
    types = _TYPES | dict.fromkeys(SIZES, "i32") | dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, f"*{kernel.dtype}") for name in function.arg_names}
    # PyTorch's memory begins at multiples of 16 bytes, which a launch makes use of.
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind.startswith("*")}
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=aligned)
    code = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=OPTIONS).asm["cubin"]
    return Built(len(code), _resources(code), _instructions(code))


def _told(code: bytes, what: str) -> str:
    """What NVIDIA's tool says of machine code; nothing where it is not there."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.is_file():
        return ""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        return subprocess.run([tool, what, file.name], capture_output=True, text=True, check=True).stdout


def _resources(code: bytes) -> tuple[int, int, int] | None:
    told = _told(code, "-res-usage")
    found = [re.search(rf"{word}:(\d+)", told) for word in ("REG", "STACK", "LOCAL")]
    return tuple(int(f.group(1)) for f in found) if all(found) else None  # type: ignore[union-attr, return-value]


def _instructions(code: bytes) -> float | None:
    """The walk is the longest of the loops: what lies between a jump and the place before it where it goes."""
    listed = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(.*?);", _told(code, "-sass"))
    places = {int(place, 16): number for number, (place, _) in enumerate(listed)}
    jumps = [(number, re.search(r"\bBRA\b.*?(0x[0-9a-f]+)", what)) for number, (_, what) in enumerate(listed)]
    loops = [number - places.get(int(to.group(1), 16), number) + 1 for number, to in jumps if to]
    return max(loops) / TURN if loops else None
