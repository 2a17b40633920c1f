"""Training: cache in, run directory out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdmf.train.loop import train

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    """`rdmf.train.train`, loaded on use: `rdmf.run` reads checkpoints from here and the loop reads runs."""
    if name == "train":
        from rdmf.train.loop import train

        return train
    raise AttributeError(name)
