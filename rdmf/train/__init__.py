"""Training: cache in, run directory out."""

from rdmf.train.loop import train

__all__ = ["train"]
