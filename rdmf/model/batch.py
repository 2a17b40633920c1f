"""What the model is given: a batch of (query, video) pairs, padded, with masks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from rdmf.model.rows import Rows


class Features:
    """A field of `Batch` that may be given as `Rows`: whoever reads it has a tensor, gathered when it is first read."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, batch: Any, owner: type | None = None) -> Tensor:
        given: Tensor | Rows = vars(batch)[self.name]
        if isinstance(given, Rows):
            given = vars(batch)[self.name] = given.gathered()
        return given

    def __set__(self, batch: Any, given: Tensor | Rows) -> None:
        vars(batch)[self.name] = given


@dataclass(frozen=True)
class Batch:
    """B queries, each with its own video of L_b <= L clips and M_b <= M tokens.

    Attributes:
        video: (B, L, d_v) clip features; may be given as `Rows`, which are gathered when somebody looks at them.
        video_mask: (B, L) bool, True where valid; the valid clips come first.
        edges: (B, L + 1) clip i covers [edges[i], edges[i + 1]) as a share of the video's duration; constant in
            padding.
        text: (B, M, d_t) token features; or `Rows`.
        text_mask: (B, M) bool, True where valid.
        source: (B,) int64, equal for queries about the same video, on the host whatever the device; or what the model
            makes of it (`Grounder.arranged`), on the device; None where nobody asked.
    """

    video: Tensor
    video_mask: Tensor
    edges: Tensor
    text: Tensor
    text_mask: Tensor
    source: Tensor | tuple[Tensor, ...] | None = None

    @property
    def lengths(self) -> Tensor:
        """(B,) number of valid clips."""
        return self.video_mask.sum(1)

    @property
    def centres(self) -> Tensor:
        """(B, L) centre of each clip as a share of the duration."""
        return (self.edges[:, 1:] + self.edges[:, :-1]) / 2

    @property
    def stored(self) -> tuple[Tensor | Rows, Tensor | Rows]:
        """Video and text as they were given: for those who can do with rows of a table."""
        return vars(self)["video"], vars(self)["text"]

    @property
    def widths(self) -> tuple[int, int]:
        """d_v and d_t, without looking at the features."""
        video, text = self.stored
        return video.shape[-1], text.shape[-1]

    def gathered(self) -> Batch:
        """The same batch, its features in tensors."""
        return dataclasses.replace(self)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device; itself where it already lies there."""
        if self.video_mask.device == device:
            return self
        there = moved(dataclasses.replace(self, source=None), device)
        return dataclasses.replace(there, source=self.source)


for _name in ("video", "text"):  # not in the class, where a dataclass would take them for defaults
    setattr(Batch, _name, Features(_name))


def later(table: Tensor, index: Tensor) -> Tensor:
    """`Rows` to give to a `Batch`, whose field then reads as the tensor that they stand for."""
    return cast(Tensor, Rows(table, index))


Part = TypeVar("Part")


def moved(part: Part, device: torch.device) -> Part:
    """A dataclass of tensors (some may be None) on a device."""
    values = {name: v if v is None else v.to(device, non_blocking=True) for name, v in vars(part).items()}
    return type(part)(**values)
