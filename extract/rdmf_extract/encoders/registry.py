"""Encoders by name. Torch and the model libraries load only when an encoder is built."""

from __future__ import annotations

import difflib
import warnings
from pathlib import Path
from typing import Any

from rdmf.store.errors import InputError
from rdmf.store.records import Provenance
from rdmf_extract.encoders.base import RandomWeightsWarning, TextEncoder, VideoEncoder
from rdmf_extract.encoders.precision import precision_of

VIDEO_ENCODERS = ("videoswin-t", "videoswin-s", "videoswin-b", "efficientnet-lite0", "timm:NAME")
"""What a user may choose; NAME stands for any timm model."""

TEXT_ENCODERS = ("bert-base-uncased", "minilm", "NAME", "PATH")
"""What a user may choose; NAME and PATH stand for any Hugging Face text model."""


def build_video_encoder(
    name: str,
    *,
    fps: float | None = None,
    window: float | None = None,
    stride: float | None = None,
    frames_per_window: int | None = None,
    resolution: int | None = None,
    weights: str | Path | None = None,
    allow_random: bool = True,
    device: str = "auto",
    precision: str = "auto",
) -> VideoEncoder:
    """The video encoder called `name`.

    Args:
        name: one of `VIDEO_ENCODERS`.
        fps: frames looked at per second; with the next three, see `rdmf_extract.encoders.settings.choose_sampling`.
        window: seconds a feature row sees.
        stride: seconds between the starts of rows.
        frames_per_window: frames a row sees.
        resolution: side in pixels of the square frames that the network gets.
        weights: a file of weights; "random"; or None for the published ones.
        allow_random: let VideoSwin, the default encoder, run on random weights (with a warning) where the published
            ones cannot be had. Other encoders never fall back: there is always efficientnet-lite0, which can be had.
        device: "auto" (the GPU if there is one), "cpu", "cuda", ...
        precision: what the network computes in, one of `PRECISIONS`; "auto" is float32 on a CPU, bfloat16 on a GPU.

    Raises:
        InputError: an unknown name (the nearest known is named), settings in conflict, weights that are not to be had
            or do not fit, or a precision that is unknown or that the device has not.
    """
    if name not in VIDEO_ENCODERS and not name.startswith("timm:"):
        near = difflib.get_close_matches(name.lower(), VIDEO_ENCODERS, n=1, cutoff=0.3)
        hint = f"the nearest known is '{near[0]}'" if near else "known are " + ", ".join(VIDEO_ENCODERS)
        raise InputError(f"video encoder '{name}' is unknown; {hint}")
    settings: dict[str, Any] = {
        "fps": fps,
        "window": window,
        "stride": stride,
        "frames_per_window": frames_per_window,
        "resolution": resolution,
        "device": device,
        "precision": _precision_on(device, precision),
    }
    if name.startswith("videoswin-"):
        from rdmf_extract.encoders import videoswin

        return videoswin.build(name, weights=weights, allow_random=allow_random, **settings)
    if name == "efficientnet-lite0":
        from rdmf_extract.encoders import efficientnet_lite0

        return efficientnet_lite0.build(weights=weights, **settings)
    from rdmf_extract.encoders import timm_images

    return timm_images.build(name, weights=weights, **settings)


def build_text_encoder(name: str, *, device: str = "auto", precision: str = "auto") -> TextEncoder:
    """The text encoder called `name`: "minilm", a Hugging Face model name, or a folder with such a model.

    Args:
        name: see above.
        device, precision: see `build_video_encoder`.

    Raises:
        InputError: the model is not to be had (what to do instead is said), or is none; or a precision that is unknown
            or that the device has not.
    """
    if not name.strip():
        raise InputError("text encoder '' is unknown; known are " + ", ".join(TEXT_ENCODERS))
    precision = _precision_on(device, precision)
    if name == "minilm":
        from rdmf_extract.encoders import minilm

        return minilm.build(device=device, precision=precision)
    from rdmf_extract.encoders import hub_text

    return hub_text.build(name, device=device, precision=precision, known=TEXT_ENCODERS[:2])


def _precision_on(device: str, precision: str) -> str:
    """What `precision` means on `device`; a wrong word is refused here, before weights are read or downloaded."""
    from rdmf_extract.encoders.compute import choose_device, choose_precision

    return choose_precision(precision, choose_device(device))


def encoders_from_provenance(
    provenance: Provenance,
    device: str = "auto",
    *,
    weights: str | Path | None = None,
    text_encoder: str | None = None,
) -> tuple[VideoEncoder, TextEncoder]:
    """The same two encoders that made a cache, so that a new video gets comparable features.

    Args:
        provenance: of the cache. Where its `notes` hold "video_weights" or "text_encoder" (the encoders' `source`)
            and such a path exists here, weights are taken from it.
        device: see `build_video_encoder`. The encoders compute in the precision that the cache records, whatever the
            device; in float32 where it records none (float32, or made by a GPU before there was a choice).
        weights: file of the video encoder's weights, where the cache was not made from published ones.
        text_encoder: folder of the text model, where it was not loaded by a public name.

    Raises:
        InputError: an encoder cannot be built, or differs from the cache's in a field, which is named; or the cache was
            made in float16 and the device is a CPU.
    """
    return (
        _video_from_provenance(provenance, device, weights),
        _text_from_provenance(provenance, device, text_encoder),
    )


def _video_from_provenance(provenance: Provenance, device: str, weights: str | Path | None) -> VideoEncoder:
    made = provenance.video
    name = _encoder_name(made, "video")
    if made.get("random_weights"):
        weights = "random"
        warnings.warn(
            f"the cache was made by {name} with RANDOM WEIGHTS; what a model says on such features means nothing",
            RandomWeightsWarning,
            stacklevel=3,
        )
    elif weights is None and made.get("weights") == "file":
        weights = _noted_path(provenance, "video_weights")
        if weights is None:
            raise InputError(
                f"video encoder '{name}' was used with weights from a file that is not known here"
                f" (weights_sha256 {str(made.get('weights_sha256'))[:12]}...); give that file as weights"
            )
    encoder = build_video_encoder(
        name,
        fps=made.get("fps"),
        window=made.get("window_seconds"),
        stride=made.get("stride_seconds"),
        frames_per_window=made.get("frames_per_window"),
        resolution=made.get("crop"),
        weights=weights,
        allow_random=False,
        device=device,
        precision=_recorded_precision(made, device, "video"),
    )
    _refuse_difference(encoder.provenance, made, "video", name)
    return encoder


def _text_from_provenance(provenance: Provenance, device: str, text_encoder: str | None) -> TextEncoder:
    made = provenance.text
    name = _encoder_name(made, "text")
    found = text_encoder or (None if name == "minilm" else _noted_path(provenance, "text_encoder")) or name
    encoder = build_text_encoder(str(found), device=device, precision=_recorded_precision(made, device, "text"))
    # A folder may be called otherwise on this machine; what is in it is compared by its hashes.
    _refuse_difference({**encoder.provenance, "encoder": name}, made, "text", name)
    return encoder


def _recorded_precision(made: dict[str, Any], device: str, stream: str) -> str:
    """The precision of a cache's features, where this device has it."""
    from rdmf_extract.encoders.compute import choose_device, choose_precision

    precision, chosen = precision_of(made), choose_device(device)
    try:
        return choose_precision(precision, chosen)
    except InputError as error:
        raise InputError(
            f"the cache's {stream} features were computed in {precision}, which device '{chosen}' has not; use a GPU,"
            " or go on in another precision with rdmf predict --allow-mismatch"
        ) from error


def _encoder_name(made: dict[str, Any], stream: str) -> str:
    name = made.get("encoder")
    if not isinstance(name, str) or name in {"", "import", "imported"}:
        raise InputError(
            f"the cache's {stream} features were not made by an encoder of rdmf ({name or 'none is recorded'}), so"
            " the same features cannot be computed for a new video"
        )
    return name


def _noted_path(provenance: Provenance, key: str) -> Path | None:
    value = provenance.notes.get(key)
    return Path(value) if isinstance(value, str) and value and Path(value).exists() else None


def _refuse_difference(here: dict[str, Any], made: dict[str, Any], stream: str, name: str) -> None:
    """What the encoder records must equal the cache's record; fields that others added (decoder, dtype) are theirs."""
    differing = [
        f"{stream}.{k}: {here[k]!r} here, {made.get(k)!r} in the cache" for k in here if here[k] != made.get(k)
    ]
    if differing:
        raise InputError(
            f"{stream} encoder '{name}' as it can be built here is not the one that made the cache ("
            + "; ".join(differing[:3])
            + "); use the same weights and versions, or extract the features again"
        )
