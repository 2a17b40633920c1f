"""A text model by Hugging Face name or by path: local folder, then cache, then network, and a prompt refusal."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from rdmf.store.errors import InputError
from rdmf_extract.encoders import download
from rdmf_extract.encoders.text import HFTextEncoder

_HUB_NAME = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*", re.ASCII)


def build(name: str, *, device: str, precision: str = "auto", known: Sequence[str] = ()) -> HFTextEncoder:
    """The encoder called `name`.

    Args:
        name: a folder with config, weights and tokenizer as `save_pretrained` writes them, or a model name.
        device: "auto", "cpu", "cuda", ...
        precision: one of `PRECISIONS`.
        known: names to suggest from where `name` is not found.

    Raises:
        InputError: no such folder or model, a model that does not load, or no network to get it from. Offline this
            takes about as long as importing transformers.
    """
    folder = Path(name).expanduser() if name.startswith("~/") else Path(name)
    if folder.is_dir():
        resolved = folder.resolve()
        return _load(resolved.name, str(resolved), source=str(resolved), device=device, precision=precision)
    if not _HUB_NAME.fullmatch(name):
        raise InputError(
            f"text encoder '{name}': no such folder, nor a name that the Hugging Face Hub allows;"
            " give a folder with config, weights and tokenizer in it, or a model name"
        )
    cached = _cached_folder(name)
    if cached is not None:
        return _load(name, str(cached), source=str(cached), device=device, precision=precision)
    _require_reachable(name, known)
    return _load(name, name, source="Hugging Face Hub", device=device, precision=precision)


def _load(name: str, folder: str, *, source: str, device: str, precision: str) -> HFTextEncoder:
    try:
        return HFTextEncoder(name, folder, source=source, device=device, precision=precision)
    except (OSError, ValueError, KeyError, ImportError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(
            f"text encoder '{name}' does not load from '{folder}' ({reason}); it must be a text model with its"
            " config.json, weights and tokenizer files"
        ) from error


def _cached_folder(name: str) -> Path | None:
    """The newest snapshot of `name` in the Hugging Face cache, if it holds config, weights and a tokenizer."""
    import huggingface_hub

    try:
        snapshot = Path(huggingface_hub.snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):  # not cached, or not a name that the Hub allows
        return None
    weights = any(any(snapshot.glob(pattern)) for pattern in ("*.safetensors", "pytorch_model*.bin"))
    tokenizer = any(any(snapshot.glob(pattern)) for pattern in ("tokenizer*.json", "vocab*", "*.model"))
    return snapshot if weights and tokenizer and (snapshot / "config.json").is_file() else None


def _require_reachable(name: str, known: Sequence[str]) -> None:
    """Ask the Hub for the model by one short request before transformers starts its long ones."""
    from huggingface_hub import constants

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f" (nearest known name: '{near[0]}')" if near and near[0] != name else ""
    try:
        status = download.status_of(f"{constants.ENDPOINT}/api/models/{name}")
    except download.UnreachableError as error:
        raise InputError(
            f"text encoder '{name}'{hint} is not in the local cache and the Hugging Face Hub is out of reach ({error});"
            f" where there is a network run: hf download {name} --local-dir DIR, copy DIR here and give"
            " --text-encoder DIR; or use --text-encoder minilm, which needs no network"
        ) from error
    if status != 200:
        raise InputError(
            f"text encoder '{name}': the Hugging Face Hub has no such public model (HTTP status {status}){hint}"
        )
