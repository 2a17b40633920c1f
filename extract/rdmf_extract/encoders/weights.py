"""Reading weights from files, loading them strictly, hashing them, and filling a network reproducibly without any."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rdmf.store.errors import InputError

RANDOM = "random"
"""What to pass as `weights` to ask for random ones."""


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, dtypes, shapes and bytes in order of name: the same weights from another file hash the same."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file or a PyTorch checkpoint (`state_dict` or `model` inside is unwrapped).

    Pickled code is never run: a checkpoint is read with PyTorch's weights-only loader.

    Raises:
        InputError: no such file, unreadable, or no tensors in it.
    """
    if not path.is_file():
        raise InputError(f"weights '{path}': no such file; give a .pth or .safetensors file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: object = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise many kinds for a file that is not theirs
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise InputError(
            f"weights '{path}' cannot be read ({reason}); give a PyTorch state dict (.pth) or a .safetensors file"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise InputError(f"weights '{path}' holds no tensors by name; give a state dict")
    return tensors


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Load every tensor of `model` from `tensors`, and nothing else.

    Raises:
        InputError: naming the first missing, unexpected or wrongly shaped tensors; the model is then unchanged.
    """
    own = model.state_dict()
    problems = [
        _listing("missing", sorted(own.keys() - tensors.keys())),
        _listing("unexpected", sorted(tensors.keys() - own.keys())),
        _listing(
            "of another shape",
            [
                f"{name} {tuple(tensors[name].shape)} for {tuple(own[name].shape)}"
                for name in sorted(own.keys() & tensors.keys())
                if own[name].shape != tensors[name].shape
            ],
        ),
    ]
    if any(problems):
        raise InputError(f"{where} does not fit {type(model).__name__}: " + "; ".join(p for p in problems if p))
    model.load_state_dict(dict(tensors), strict=True)


def _listing(what: str, names: list[str], shown: int = 4) -> str:
    if not names:
        return ""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} {what}: " + ", ".join(names[:shown]) + more


@torch.no_grad()
def fill_random(model: nn.Module, *, seed: int = 0) -> None:
    """Overwrite every matrix and kernel of `model` with normal noise drawn from its own name and `seed`.

    Noise has standard deviation 1/sqrt(fan-in), so that activations keep their scale at any depth. Vectors (biases,
    norms) are set to zero or one by name. NumPy draws it, tensor by tensor, so the result depends neither on
    PyTorch's version, nor its global random state, nor the order of construction.
    """
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            continue
        noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(tuple(parameter.shape))
        fan_in = math.prod(parameter.shape[1:])
        parameter.copy_(torch.from_numpy((noise / math.sqrt(fan_in)).astype(np.float32)))
