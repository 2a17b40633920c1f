"""Other exact ways of K diffusion steps than the package's own: what `diffuse` was chosen over.

Each takes `(field (B, L, d), mask (B, L), rate (1,) or (d,), steps)` and gives what `diffuse_by_steps` gives, with
whatever in the padding.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rdmf.model.diffusion import diffuse, diffuse_by_steps, in_place, mirrored, step_kernel

Way = Callable[[Tensor, Tensor, Tensor, int], Tensor]
#: Beyond so many clips an (L, L) basis is out of the question; one for each video well before that.
SQUARE, SQUARE_EACH = 2000, 500
LOOP = "plain loop"


def banded(field: Tensor, mask: Tensor, rate: Tensor, steps: int, tile: int = 32) -> Tensor:
    """Tiles of the mirrored field, each `tile` + 2K rows, times one banded matrix; one rate for all channels only."""
    batch, length, width = field.shape
    device = field.device
    lengths, tiles = mask.sum(1)[:, None], -(-length // tile)
    place = torch.remainder(torch.arange(-steps, tiles * tile + steps, device=device)[None], 2 * lengths)
    inside = torch.where(place < lengths, place, 2 * lengths - 1 - place)  # (B, tiles * tile + 2K)
    rows = inside + length * torch.arange(batch, device=device)[:, None]
    extended = field.reshape(-1, width).index_select(0, rows.reshape(-1)).reshape(batch, -1, width)
    seen = extended.as_strided(
        (batch, tiles, tile + 2 * steps, width), (extended.stride(0), tile * width, width, 1)
    )  # fmt: skip
    offset = torch.arange(tile + 2 * steps, device=device)[None] - torch.arange(tile, device=device)[:, None]
    coefficients = step_kernel(rate, steps)[0][offset.clamp(0, 2 * steps)]
    matrix = torch.where((offset >= 0) & (offset <= 2 * steps), coefficients, 0.0)  # (tile, tile + 2K)
    out = torch.matmul(matrix, seen).reshape(batch, tiles * tile, width)[:, :length]
    return torch.where(mask[..., None], out, field)


def dense(field: Tensor, mask: Tensor, rate: Tensor, steps: int) -> Tensor:
    """The map as a matrix for each video: what it makes of the unit vectors; one rate for all channels only."""
    unit = torch.eye(field.shape[1], device=field.device).expand(len(field), -1, -1)
    return torch.bmm(in_place(unit, mask, rate, steps), field)


@functools.lru_cache(32)
def _cosines(length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    mode = torch.arange(length, dtype=torch.float64)
    basis = torch.cos(math.pi * mode[:, None] * (mode[None] + 0.5) / length) * math.sqrt(2 / length)
    basis[0] /= math.sqrt(2)
    return basis.float().to(device), (4 * torch.sin(math.pi * mode / (2 * length)) ** 2).float().to(device)


def cosine(field: Tensor, mask: Tensor, rate: Tensor, steps: int) -> Tensor:
    """The DCT-II as a product with a cosine basis, eigenvalues to the K-th power, and back; video by video."""
    out = []
    for x, n in zip(field, mask.sum(1).tolist()):
        basis, mu = _cosines(n, field.device)
        y = basis.T @ ((1 - rate * mu[:, None]) ** steps * (basis @ x[:n]))
        out.append(nn.functional.pad(y, (0, 0, 0, len(x) - n)))
    return torch.stack(out)


def fourier(field: Tensor, mask: Tensor, rate: Tensor, steps: int) -> Tensor:
    """The same by the FFT of each video and its mirror image: a period of 2 n."""
    out = []
    for x, n in zip(field, mask.sum(1).tolist()):
        waves = torch.fft.rfft(torch.cat((x[:n], x[:n].flip(0))), dim=0)
        mu = 4 * torch.sin(math.pi * torch.arange(n + 1, device=field.device) / (2 * n)) ** 2
        y = torch.fft.irfft(waves * (1 - rate * mu[:, None]) ** steps, n=2 * n, dim=0)[:n]
        out.append(nn.functional.pad(y, (0, 0, 0, len(x) - n)))
    return torch.stack(out)


def ways_for(length: int, channels: int, *, kernel: bool) -> dict[str, Way]:
    """What can be done at that size at all, the plain loop first.

    Args:
        length: L. channels: rates, 1 for one that all channels share. kernel: whether there is a fused kernel.
    """
    ways: dict[str, Way] = {LOOP: diffuse_by_steps}
    if kernel:
        ways["kernel"] = diffuse
    ways |= {"in place": in_place, "mirrored": mirrored}
    if channels == 1:
        ways["banded"] = banded
        if length <= SQUARE_EACH:
            ways["dense"] = dense
    if length <= SQUARE:
        ways["cosine"] = cosine
    return ways | {"FFT": fourier}
