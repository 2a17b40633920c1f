"""What the GPU kernels take of an H100's registers, and a row of instructions, by NVIDIA's assembler; without a GPU.

python benchmarks/kernel_registers.py          every configuration, for compute capability 9.0 (minutes)
python benchmarks/kernel_registers.py 80 120   those of N = 5 and K = 10, for other GPUs
"""

from __future__ import annotations

import sys
import time

from rdmf.model.triton_build import Kernel, build, every_kernel

FEW = [
    Kernel("gray_scott_forward", 5, scales=4),
    Kernel("gray_scott_backward", 5, scales=4),
    Kernel("gray_scott_forward", 5, euler=True),
    Kernel("gray_scott_backward", 5, euler=True),
    Kernel("heat_forward", 10),
    Kernel("heat_backward", 10),
]


def main() -> None:
    """A line a configuration."""
    asked = [int(word) for word in sys.argv[1:]]
    print(
        f"{'kernel':<22} {'steps':>5} {'':<6} {'fields':<6} {'sm':>4} {'registers':>9} {'spilled':>8} "
        f"{'a row':>7} {'code':>8} {'made in':>8}"
    )
    for capability in asked or [90]:
        for kernel in FEW if asked else every_kernel():
            begun = time.perf_counter()
            made = build(kernel, capability)
            told = (
                f"{made.resources[0]:>9} {made.resources[1] + made.resources[2]:>6} B" if made.resources else " " * 18
            )
            how = "euler" if kernel.euler else ""
            row = f"{made.instructions:>7.1f}" if made.instructions else " " * 7
            print(
                f"{kernel.name:<22} {kernel.steps:>5} {how:<6} {kernel.dtype:<6} {capability:>4} {told} {row} "
                f"{made.size:>6} B {time.perf_counter() - begun:>6.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
