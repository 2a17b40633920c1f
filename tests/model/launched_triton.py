"""Every launch but its last step: what Triton makes of the arguments and compiles, for an H100 that need not be there.

Run by `test_triton.py` in a process of its own, for it tells Triton of a GPU that does not exist.
"""

from __future__ import annotations

from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from rdmf.model import triton_heat, triton_reaction, triton_suppress
from rdmf.train import triton_assignment


class Absent:
    """As much of a driver as is asked for before anything runs."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        return 0


class Bound:
    """A kernel that is bound and compiled instead of run."""

    def __init__(self, kernel: Any) -> None:
        self.kernel, self.made = kernel, set[str]()

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        assert all(0 < side < 2**16 for side in grid)
        return lambda *args, **options: self.made.add(
            self.kernel.run(*args, grid=grid, warmup=True, **options).hash
        )  # fmt: skip


def main() -> None:
    """Sizes of 1, odd ones and multiples of 16 must not make new kernels; other types must."""
    driver.set_active(Absent())
    bound = []
    for module in (triton_reaction, triton_heat):
        module.lanes_wanted = lambda device, each: 132 * each
        for way in ("forward_kernel", "backward_kernel"):
            setattr(module, way, Bound(getattr(module, way)))
            bound.append(getattr(module, way))
    dtypes = (torch.float32, torch.bfloat16)
    for dtype in dtypes:
        for batch, length, width in ((1, 75, 256), (3, 200, 64), (1, 1, 1), (2, 20000, 33)):
            a = torch.empty(batch, length, width, dtype=dtype)
            rates, lengths = torch.empty(4, batch, width), torch.full((batch,), length)
            triton_reaction.forward(a, a, rates, lengths, 2, 1.0, 4, False, dtype)
            triton_reaction.backward(a, a, rates, lengths, a, a, 2, 1.0, 4, False)
            triton_heat.forward(a, rates[0, 0], lengths, 3)
            triton_heat.backward(a, rates[0, 0], lengths, a, 3)
    # A rate's first number may or may not lie at a multiple of 16 bytes: two kernels of a type at most.
    counts = [len(kernel.made) for kernel in bound]
    assert all(len(dtypes) <= count <= 2 * len(dtypes) for count in counts), counts
    small = Bound(triton_suppress.keep_kernel), Bound(triton_assignment.assign_kernel)
    triton_suppress.keep_kernel, triton_assignment.assign_kernel = small
    for batch, count in ((1, 33), (2, 48), (16, 64)):
        triton_suppress.keep(torch.empty(batch, count, 2), 0.5)
    for batch, rows, columns in ((1, 3, 9), (7, 4, 16), (32, 4, 12)):
        triton_assignment.by_shortest_paths(torch.empty(batch, rows, columns).double(), torch.ones(batch, rows) > 0)
    assert [len(kernel.made) for kernel in small] == [1, 1], "one for every power of two"
    print("bound:", counts)


if __name__ == "__main__":
    main()
