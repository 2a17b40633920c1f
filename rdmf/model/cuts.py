"""Walls along time where a video cuts to something else: anisotropic diffusion (Perona and Malik, 1990).

The paper lets features diffuse alike everywhere (Eq. 1-3, 7-8), across cuts too. Here what flows between two clips is
multiplied by exp(-walls between them), so that fields even out within a shot and keep its borders. Not in the paper.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: No wall is higher: exp(-20) lets nothing through, and sums over hours of video stay exact enough in float32.
HIGHEST = 20.0
#: Up to so many clips the flow is one product with an (L, L) matrix for each time scale.
DENSE = 128
#: How far each clip looks for walls, in clips.
FAR = 8


def inflow(field: Tensor, share: Tensor, distance: int) -> Tensor:
    """What the differences from the clips `distance` before and after bring to each clip, (B, L, d) to the same.

    Args:
        share: (B, L - distance), bool or in [0, 1]: how much of the flow gets from clip i to clip i + distance.
    """
    if distance >= field.shape[1]:
        return torch.zeros_like(field)  # nothing is that far away
    flux = (field[:, distance:] - field[:, :-distance]) * share[..., None].to(field.dtype)
    return nn.functional.pad(flux, (0, 0, 0, distance)) - nn.functional.pad(flux, (0, 0, distance, 0))


class Walls:
    """What stands between the clips of each video.

    Args:
        heights: (B, L) between each clip and the one before, not negative; 0 at the first clip and in padding.
        mask: (B, L) bool, valid clips first.
    """

    def __init__(self, heights: Tensor, mask: Tensor) -> None:
        self.heights, self.mask = heights, mask
        self._upto = heights.cumsum(1)
        self._matrices: dict[int, Tensor] = {}

    def through(self, distance: int) -> Tensor:
        """The share of a flow that gets from clip i to clip i + distance, (B, L - distance); 0 into padding."""
        both = self.mask[:, distance:] & self.mask[:, :-distance]
        return torch.exp(self._upto[:, :-distance] - self._upto[:, distance:]) * both

    def spread(self, field: Tensor, scales: int = 1) -> Tensor:
        """`rdmf.model.reaction.spread` through the walls, (B, L, d, ...) to the same."""
        parts = field.unflatten(2, (scales, -1)).flatten(3)  # (B, L, scales, n)
        if field.shape[1] <= DENSE:
            found = torch.einsum("bgij,bjgn->bign", self._matrix(scales).to(field.dtype), parts)
        else:
            reaches = [inflow(part, self.through(2**g), 2**g) for g, part in enumerate(parts.unbind(2))]
            found = torch.stack(reaches, 2)
        return found.reshape(field.shape)

    def _matrix(self, scales: int) -> Tensor:
        """(B, scales, L, L), made once for all steps."""
        if scales not in self._matrices:
            self._matrices[scales] = torch.stack([self._laplacian(2**g) for g in range(scales)], 1)
        return self._matrices[scales]

    def _laplacian(self, distance: int) -> Tensor:
        if distance >= self.mask.shape[1]:
            return torch.zeros_like(self.heights)[..., None] * self.mask[:, None]
        share = self.through(distance)
        leaves = nn.functional.pad(share, (0, distance)) + nn.functional.pad(share, (distance, 0))
        enters = torch.diag_embed(share, offset=distance)
        return enters + enters.transpose(1, 2) - torch.diag_embed(leaves)

    def openness(self) -> Tensor:
        """What gets from each clip to those 1, ..., FAR before and after it, (B, L, 2 FAR); 0 beyond the ends.

        Each half's sum tells how far the next wall is, both how long the shot is.
        """
        length = self.mask.shape[1]
        found = []
        for distance in range(1, FAR + 1):
            share = self.through(distance) if distance < length else self._upto[:, :0]
            room = min(distance, length)
            found += [nn.functional.pad(share, (room, 0)), nn.functional.pad(share, (0, room))]
        return torch.stack(found, -1)

    def changes(self) -> Tensor:
        """(B, L, 2) in [0, 1]: how surely a shot starts with each clip, and how surely one ends with it."""
        cut = 1 - torch.exp(-self.heights)
        place = torch.arange(cut.shape[1], device=cut.device)
        starts = torch.where(place == 0, 1.0, cut)
        ends = torch.where(place + 1 == self.mask.sum(1, keepdim=True), 1.0, nn.functional.pad(cut[:, 1:], (0, 1)))
        return torch.stack((starts, ends), -1)


class Cuts(nn.Module):
    """Walls where neighbouring clips differ: (distance / scale)^2, the distance being 1 - cosine of the features.

    Args:
        scale: the distance at which a wall lets 1/e through, at the start; learnt.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, video: Tensor, mask: Tensor) -> Walls:
        """Features (B, L, d_v) and their mask (B, L)."""
        unit = nn.functional.normalize(video.float(), dim=-1)
        both = mask[:, 1:] & mask[:, :-1]
        distance = (1 - (unit[:, 1:] * unit[:, :-1]).sum(-1)).clamp_min(0)
        height = (distance.square() * torch.exp(-2 * self.scale)).clamp_max(HIGHEST)
        return Walls(nn.functional.pad(torch.where(both, height, 0), (1, 0)), mask)
