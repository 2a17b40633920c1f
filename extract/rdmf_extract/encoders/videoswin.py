"""Video Swin Transformer T, S and B: torchvision's `swin3d_*` with Kinetics-400 weights, pooled before the classifier.

Weights come from the first of: a file that is given (torchvision's or the original authors' naming, .pth or
.safetensors), the torch hub cache, a download. Where none can be had and the caller allows it, the network is filled
with reproducible noise, which is said in a warning and in the provenance.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rdmf.store.errors import InputError
from rdmf_extract.encoders import download, swin_checkpoint
from rdmf_extract.encoders.base import Features, Frames, RandomWeightsWarning
from rdmf_extract.encoders.compute import (
    Normalise,
    check_frames,
    choose_device,
    choose_precision,
    computing,
    whole_steps,
)
from rdmf_extract.encoders.precision import recorded
from rdmf_extract.encoders.settings import choose_sampling
from rdmf_extract.encoders.weights import RANDOM, fill_random, load_strictly, read_weights, tensors_sha256
from rdmf_extract.sampling import Sampling

NAMES = ("videoswin-t", "videoswin-s", "videoswin-b")

# 32 frames over 2 s are 16 frames/s: the network learnt from 32 frames at about 15 frames/s, so each row sees motion
# at the speed and over the length it knows. Two seconds are also the clip of QVHighlights. Rows touch without
# overlapping, because a row costs seconds on a CPU; `stride=1` gives one-second borders for twice the time.
DEFAULTS = Sampling(fps=16.0, window_seconds=2.0, stride_seconds=2.0, frames_per_window=32, resize=256, crop=224)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_ROWS_AT_ONCE = {"cpu": 1, "cuda": 16}  # bounds activation memory: about 1 GiB a row of 32 frames in float32


class VideoSwinEncoder:
    """One vector a window, the mean over all its space-time patches; see `VideoEncoder` for the attributes."""

    def __init__(
        self,
        name: str,
        model: nn.Module,
        *,
        sampling: Sampling,
        weights: str,
        source: str,
        device: str,
        precision: str = "auto",
    ) -> None:
        """`model` is torchvision's network with its weights loaded; its classifier is taken off."""
        self.name, self.sampling, self.source = name, sampling, source
        self.dim = int(model.num_features)  # type: ignore[arg-type]
        model.head = nn.Identity()
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        sha256 = tensors_sha256(model.state_dict())
        self._model = model.eval().to(self.device)
        self._normalise = Normalise(MEAN, STD, self.device)
        self.provenance: dict[str, Any] = {
            "encoder": name,
            "weights": weights,
            "weights_sha256": sha256,
            "random_weights": weights == RANDOM,
            "mean": list(MEAN),
            "std": list(STD),
            "pooling": "mean over space and time after the last norm",
            "dim": self.dim,
            **sampling.as_dict(),
            **recorded(self.precision),
        }

    @torch.inference_mode()
    def encode(self, frames: Frames) -> Features:
        """(B, T, H, W, 3) uint8 to (B, dim) float32."""
        check_frames(frames, self.sampling)
        step = _ROWS_AT_ONCE.get(self.device.type, 1)
        parts = []
        for part, count in whole_steps(frames, step):
            batch = self._normalise(part).permute(0, 4, 1, 2, 3)  # (b, 3, T, H, W)
            with computing(self.precision, self.device):
                parts.append(self._model(batch)[:count].float())
        if not parts:
            return np.empty((0, self.dim), dtype=np.float32)
        return torch.cat(parts).cpu().numpy()


def build(
    name: str,
    *,
    weights: str | Path | None,
    allow_random: bool,
    device: str,
    precision: str = "auto",
    **settings: Any,
) -> VideoSwinEncoder:
    """One of `NAMES`: 768 numbers a row for T and S, 1024 for B.

    Args:
        name: which of the three.
        weights: a file; "random"; or None for Kinetics-400 from the torch hub cache or the network.
        allow_random: fall back to random weights, with a `RandomWeightsWarning`, where None finds nothing.
        device: "auto", "cpu", "cuda", ...
        precision: one of `PRECISIONS`.
        settings: see `choose_sampling`.

    Raises:
        InputError: weights that do not fit or cannot be had, or settings in conflict.
    """
    sampling = choose_sampling(DEFAULTS, **settings)
    model, official = _network(name)
    if weights is None:
        tensors, weights_name, source = _official_weights(name, official, allow_random=allow_random)
    elif weights == RANDOM:
        tensors, weights_name, source = None, RANDOM, RANDOM
    else:
        tensors, weights_name, source = read_weights(Path(weights)), "file", str(Path(weights).resolve())
    if tensors is None:
        fill_random(model)
    else:
        load_weights(model, tensors, where=f"weights '{source}'")
    return VideoSwinEncoder(
        name, model, sampling=sampling, weights=weights_name, source=source, device=device, precision=precision
    )


def load_weights(model: nn.Module, tensors: dict[str, Tensor], *, where: str) -> None:
    """Load a torchvision or an original state dict; a classifier is used for nothing and may be absent.

    Raises:
        InputError: naming the missing and unexpected tensors.
    """
    index = {k: v for k, v in model.state_dict().items() if k.endswith(".relative_position_index")}
    if swin_checkpoint.is_original(tensors):
        tensors = {**swin_checkpoint.to_torchvision(tensors), **index}
    features = {k: v for k, v in tensors.items() if not k.startswith("head.")}
    model.head = nn.Identity()
    load_strictly(model, features, where=where)


def _network(name: str) -> tuple[nn.Module, Any]:
    """torchvision's network, weights not loaded, and the entry of its official weights."""
    from torchvision.models import video

    size = name.rsplit("-", 1)[-1]
    weights = getattr(video, f"Swin3D_{size.upper()}_Weights").KINETICS400_V1
    # Construction draws from the global random state; whoever seeded it should find it as it was.
    with torch.random.fork_rng(devices=[]):
        return getattr(video, f"swin3d_{size}")(weights=None), weights


def _official_weights(name: str, official: Any, *, allow_random: bool) -> tuple[dict[str, Tensor] | None, str, str]:
    """Tensors (None for random), their name and where they were found."""
    filename = str(official.url).rsplit("/", 1)[-1]
    file = Path(torch.hub.get_dir()) / "checkpoints" / filename
    if not file.is_file():
        try:
            # torch.hub's rule: the file name ends in the first digits of its hash.
            prefix = filename.removesuffix(".pth").rsplit("-", 1)[-1]
            download.download(official.url, file, sha256_prefix=prefix)
        except (download.UnreachableError, OSError) as error:
            remedy = (
                f"fetch {official.url} where there is a network and put it at {file},"
                " or give the file (or an original Video Swin checkpoint) as weights"
            )
            if not allow_random:
                raise InputError(
                    f"video encoder '{name}': no Kinetics-400 weights in the cache and none to download ({error});"
                    f" {remedy}"
                ) from error
            warnings.warn(
                f"{name} RUNS ON RANDOM WEIGHTS: no Kinetics-400 weights in the cache and none to download ({error})."
                f" Its features are good for trying the pipeline and for nothing else. To mend it, {remedy}.",
                RandomWeightsWarning,
                stacklevel=4,
            )
            return None, RANDOM, RANDOM
    return read_weights(file), str(official), str(file)
