"""What a run leaves on disk: configuration, weights, and everything needed to go on bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rdmf.files import write_atomically
from rdmf.store import InputError


def write_json(path: Path, values: Any) -> None:
    """JSON, indented, atomically."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def save_weights(path: Path, state: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Weights as safetensors, atomically."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    write_atomically(path, lambda p: save_file(tensors, p, metadata))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Weights of a run, on the CPU."""
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}; train a model first: rdmf train --features ...")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file ({error})") from None


def save_resume(path: Path, state: dict[str, Any]) -> None:
    """The full state of a training run, atomically."""
    write_atomically(path, lambda p: torch.save(state, p))


def load_resume(path: Path) -> dict[str, Any]:
    """The full state of a training run."""
    if not path.is_file():
        raise InputError(f"nothing to resume at {path.parent}: no resume.pt; leave out --resume to start anew")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler met in a damaged file
        raise InputError(f"{path}: damaged, cannot resume from it ({type(error).__name__})") from None
    return state
