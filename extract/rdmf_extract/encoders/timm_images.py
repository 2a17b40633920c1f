"""Any timm image model as a video encoder: each frame of a window by itself, then the mean over the window."""

from __future__ import annotations

import difflib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rdmf.store.errors import InputError
from rdmf_extract.encoders import download
from rdmf_extract.encoders.base import Features, Frames
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

PREFIX = "timm:"
_IMAGES_AT_ONCE = {"cpu": 4, "cuda": 256}  # on a CPU few images at once stay in its caches: 48 a second, 32 by 32s


class ImageEncoder:
    """A classification network without its classifier; see `VideoEncoder` for the attributes.

    Attributes:
        lanes: how many steps of a batch are computed side by side, each by as many threads as PyTorch was given. A step
            is the same whatever runs beside it, so features do not depend on it.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        *,
        sampling: Sampling,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        weights: str,
        source: str,
        device: str,
        precision: str = "auto",
    ) -> None:
        """`model` is a timm model whose classifier was reset; `weights` is their name for the provenance."""
        self.name, self.sampling, self.source = name, sampling, source
        self.dim = int(getattr(model, "head_hidden_size", None) or model.num_features)  # type: ignore[arg-type]
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        sha256 = tensors_sha256(model.state_dict())
        self._model = model.eval().to(self.device).to(memory_format=torch.channels_last)
        self._normalise = Normalise(mean, std, self.device)
        self.lanes = 1
        self._pool: ThreadPoolExecutor | None = None
        self.provenance: dict[str, Any] = {
            "encoder": name,
            "weights": weights,
            "weights_sha256": sha256,
            "random_weights": weights == RANDOM,
            "mean": list(mean),
            "std": list(std),
            "pooling": "the network's own over pixels, mean over the window's frames",
            "dim": self.dim,
            **sampling.as_dict(),
            **recorded(self.precision),
        }

    def encode(self, frames: Frames) -> Features:
        """(B, T, H, W, 3) uint8 to (B, dim) float32."""
        check_frames(frames, self.sampling)
        rows, per_row = frames.shape[:2]
        images = frames.reshape(-1, *frames.shape[2:])  # (B * T, H, W, 3)
        steps = list(whole_steps(images, _IMAGES_AT_ONCE.get(self.device.type, 16)))
        if not steps:
            return np.empty((0, self.dim), dtype=np.float32)
        if self.lanes > 1 and self._pool is None:
            self._pool = ThreadPoolExecutor(self.lanes, thread_name_prefix="lane")
        parts = list(map(self._step, steps) if self._pool is None else self._pool.map(self._step, steps))
        with torch.inference_mode():
            per_image = torch.cat(parts)  # (B * T, dim)
            return per_image.view(rows, per_row, -1).mean(dim=1).cpu().numpy()

    def _step(self, step: tuple[Frames, int]) -> Tensor:
        """(step, H, W, 3) images, of which the first count, to (count, dim)."""
        images, count = step
        with torch.inference_mode(), computing(self.precision, self.device):
            batch = self._normalise(images).permute(0, 3, 1, 2)  # channels-last in memory
            return self._model(batch)[:count].float()


def image_sampling(resolution: int, crop_share: float) -> Sampling:
    """Defaults of an image model: rows of one second, two frames each.

    Moments are annotated to about a second, so one-second rows lose nothing at their borders; the second frame costs
    little and steadies the row against motion blur and a cut.
    """
    return Sampling(
        fps=2.0,
        window_seconds=1.0,
        stride_seconds=1.0,
        frames_per_window=2,
        resize=max(resolution, round(resolution / crop_share)),
        crop=resolution,
    )


def build(
    name: str, *, weights: str | Path | None, device: str, precision: str = "auto", **settings: Any
) -> ImageEncoder:
    """`timm:NAME` with its ImageNet weights.

    Args:
        name: "timm:" and any name that timm knows, tag included or not.
        weights: a file of weights for that model; "random"; or None for timm's own, from the cache or the network.
        device: "auto", "cpu", "cuda", ...
        precision: one of `PRECISIONS`.
        settings: see `choose_sampling`.

    Raises:
        InputError: unknown model, weights that cannot be had or do not fit, or settings in conflict.
    """
    import timm

    architecture = name.removeprefix(PREFIX)
    base = architecture.split(".")[0]
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, timm.list_models(), n=1, cutoff=0.4)
        hint = f"; the nearest known is '{PREFIX}{near[0]}'" if near else ""
        raise InputError(f"video encoder '{name}': timm {timm.__version__} has no model '{base}'{hint}")
    try:
        config = timm.get_pretrained_cfg(architecture)
    except RuntimeError as error:  # timm's word for a tag it does not know
        tags = ", ".join(f"'{PREFIX}{tagged}'" for tagged in timm.list_pretrained(f"{base}.*")[:3])
        raise InputError(f"video encoder '{name}': '{base}' has no such weights; there are {tags or 'none'}") from error
    if config is None:
        raise InputError(f"video encoder '{name}': timm {timm.__version__} records no input settings for '{base}'")

    resolution = int(config.input_size[-1])
    sampling = choose_sampling(image_sampling(resolution, float(config.crop_pct or 1.0)), **settings)
    if config.fixed_input_size and sampling.crop != resolution:
        raise InputError(f"video encoder '{name}' takes frames of {resolution} px only, not {sampling.crop}")
    weights_name, source = f"{architecture} (timm)", "timm"
    if weights == RANDOM:
        model = timm.create_model(architecture, pretrained=False)
        fill_random(model)
        weights_name, source = RANDOM, RANDOM
    elif weights is not None:
        model = timm.create_model(architecture, pretrained=False)
        load_strictly(model, read_weights(Path(weights)), where=f"weights '{weights}'")
        weights_name, source = "file", str(Path(weights).resolve())
    else:
        model, source = _pretrained(name, architecture, config)
    model.reset_classifier(0)
    return ImageEncoder(
        name,
        model,
        sampling=sampling,
        mean=tuple(config.mean),
        std=tuple(config.std),
        weights=weights_name,
        source=source,
        device=device,
        precision=precision,
    )


def _pretrained(name: str, architecture: str, config: Any) -> tuple[nn.Module, str]:
    """The model with the weights that timm names for it: from the local caches, else downloaded."""
    import timm

    if not (config.hf_hub_id or config.url or config.file):
        raise InputError(f"video encoder '{name}': no weights are published for it; give a file of weights")
    cached = _cached_file(config)
    if cached is None:
        from huggingface_hub import constants

        address = f"{constants.ENDPOINT}/api/models/{config.hf_hub_id}" if config.hf_hub_id else config.url
        try:
            status = download.status_of(address)
            reason = "" if status == 200 else f"HTTP status {status}"
        except download.UnreachableError as error:
            reason = str(error)
        if reason:
            wanted = f"'{config.hf_hub_id}' from the Hugging Face Hub" if config.hf_hub_id else config.url
            raise InputError(
                f"video encoder '{name}': its weights are not in the local cache and cannot be downloaded ({reason});"
                f" fetch {wanted} where there is a network and give the file as weights,"
                " or use --video-encoder efficientnet-lite0, which needs no network"
            )
    overlay = {"file": str(cached)} if cached else None
    # With the classifier still in place timm loads strictly; without it, missing tensors would pass in silence.
    return timm.create_model(architecture, pretrained=True, pretrained_cfg_overlay=overlay), str(cached or "timm")


def _cached_file(config: Any) -> Path | None:
    """Where the weights already lie in the Hugging Face cache or the torch hub cache, if they do."""
    import huggingface_hub

    if config.hf_hub_id:
        filenames = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
        for filename in filenames:
            found = huggingface_hub.try_to_load_from_cache(config.hf_hub_id, filename)
            if isinstance(found, str):
                return Path(found)
    if config.url:
        file = Path(torch.hub.get_dir()) / "checkpoints" / str(config.url).rsplit("/", 1)[-1]
        if file.is_file():
            return file
    return None
