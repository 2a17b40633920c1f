"""The original Video Swin Transformer checkpoints (MMAction's naming) under torchvision's parameter names.

Both implementations compute the same function; they differ in how they number stages: there a stage holds its blocks
and its down-sampling, here stages and down-samplings alternate in one list, so stage s becomes 2s and 2s + 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

_BLOCK = re.compile(r"layers\.(\d+)\.blocks\.(\d+)\.(.+)")
_DOWNSAMPLE = re.compile(r"layers\.(\d+)\.downsample\.(.+)")
_MLP = {"mlp.fc1.": "mlp.0.", "mlp.fc2.": "mlp.3."}  # activation and dropout sit between, at 1 and 2
_POSITION_INDEX = ".relative_position_index"


def is_original(names: Iterable[str]) -> bool:
    """True where parameter names are those of an original checkpoint, with or without its "backbone." prefix."""
    return any(name.removeprefix("backbone.").startswith("layers.") for name in names)


def torchvision_name(name: str) -> str:
    """The torchvision name of one original parameter; a name that no rule knows comes back unprefixed, unchanged."""
    name = name.removeprefix("backbone.")
    if name.startswith("cls_head.fc_cls."):
        return name.replace("cls_head.fc_cls.", "head.", 1)
    if match := _BLOCK.fullmatch(name):
        stage, block, rest = match.groups()
        for old, new in _MLP.items():
            if rest.startswith(old):
                rest = new + rest.removeprefix(old)
        return f"features.{2 * int(stage)}.{block}.{rest}"
    if match := _DOWNSAMPLE.fullmatch(name):
        stage, rest = match.groups()
        return f"features.{2 * int(stage) + 1}.{rest}"
    return name


def to_torchvision(tensors: Mapping[str, T]) -> dict[str, T]:
    """All parameters renamed; the position-index buffers, which the network computes itself, are left out."""
    return {torchvision_name(k): v for k, v in tensors.items() if not k.endswith(_POSITION_INDEX)}
