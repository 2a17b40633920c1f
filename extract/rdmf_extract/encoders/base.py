"""What the extraction pipeline asks of an encoder, and nothing of how it is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rdmf_extract.sampling import Sampling

Frames = NDArray[np.uint8]
Features = NDArray[np.float32]


class RandomWeightsWarning(UserWarning):
    """An encoder runs on random weights: its features exercise the pipeline and mean nothing."""


class VideoEncoder(Protocol):
    """Turns windows of frames into one feature vector each.

    Attributes:
        name: the registry's name, e.g. "videoswin-t".
        dim: length of a feature vector.
        sampling: which instants a window is made of and how large its frames are.
        provenance: JSON values; everything that affects a feature, the sampling included, and the precision where it is
            not float32 (`rdmf_extract.encoders.precision.recorded`).
        source: where the weights were found, for people and for finding them again; not part of the provenance,
            because the same weights may lie elsewhere on the next machine.
    """

    name: str
    dim: int
    sampling: Sampling
    provenance: dict[str, Any]
    source: str

    def encode(self, frames: Frames) -> Features:
        """(B, T, H, W, 3) uint8 RGB, already resized and cropped, to (B, dim) float32; rows do not affect each other.

        T is `sampling.frames_per_window`, H and W are `sampling.crop`.

        Raises:
            ValueError: another shape or dtype (a bug of the caller, not bad input).
        """


class TextEncoder(Protocol):
    """Turns sentences into token features.

    Attributes:
        name: the registry's name, a Hugging Face model name, or the folder's name for a local model.
        dim: length of a token's feature vector.
        max_tokens: longest sentence in tokens, special tokens included.
        provenance: JSON values; everything that affects a feature, as `VideoEncoder`'s.
        source: where model and tokenizer were found (see `VideoEncoder.source`).
    """

    name: str
    dim: int
    max_tokens: int
    provenance: dict[str, Any]
    source: str

    def encode(self, texts: Sequence[str]) -> list[Features]:
        """One (M_i, dim) float32 array per text, in order: the valid tokens, special ones included, padding left out.

        Raises:
            InputError: a text is empty, or longer than `max_tokens`.
        """
