"""What the model is given: a batch of (query, video) pairs, padded, with masks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B queries, each with its own video of L_b <= L clips and M_b <= M tokens.

    Attributes:
        video: (B, L, d_v) clip features.
        video_mask: (B, L) bool, True where valid; the valid clips come first.
        edges: (B, L + 1) clip i covers [edges[i], edges[i + 1]) as a share of the video's duration; constant in
            padding.
        text: (B, M, d_t) token features.
        text_mask: (B, M) bool, True where valid.
        source: (B,) int64, equal for queries about the same video, on the host whatever the device; None where nobody
            asked.
    """

    video: Tensor
    video_mask: Tensor
    edges: Tensor
    text: Tensor
    text_mask: Tensor
    source: Tensor | None = None

    @property
    def lengths(self) -> Tensor:
        """(B,) number of valid clips."""
        return self.video_mask.sum(1)

    @property
    def centres(self) -> Tensor:
        """(B, L) centre of each clip as a share of the duration."""
        return (self.edges[:, 1:] + self.edges[:, :-1]) / 2

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device; itself where it already lies there."""
        if self.video.device == device:
            return self
        return dataclasses.replace(moved(self, device), source=self.source)


Part = TypeVar("Part")


def moved(part: Part, device: torch.device) -> Part:
    """A dataclass of tensors (some may be None) on a device."""
    values = {name: v if v is None else v.to(device, non_blocking=True) for name, v in vars(part).items()}
    return type(part)(**values)
