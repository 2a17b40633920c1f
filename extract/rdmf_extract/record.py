"""From encoders and encoded videos to the store's records."""

from __future__ import annotations

from typing import Any, Protocol

from rdmf.store import Provenance, VideoRecord
from rdmf_extract.batches import EncodedVideo
from rdmf_extract.decode.choice import DECORD_FIRST
from rdmf_extract.decode.policy import decoder_versions, pyav_version
from rdmf_extract.encoders.base import TextEncoder
from rdmf_extract.sampling import Sampling
from rdmf_extract.windows import row_times

FEATURE_DTYPE = "float16"


class Described(Protocol):
    """What is recorded of a video encoder, wherever it runs; see `VideoEncoder`."""

    @property
    def dim(self) -> int: ...

    @property
    def sampling(self) -> Sampling: ...

    @property
    def provenance(self) -> dict[str, Any]: ...


def video_record(video: EncodedVideo, encoder: Described, *, annotated_duration: float) -> VideoRecord:
    """The store's record of an encoded video: rows timed, the last one cut at the video's end.

    Raises:
        InputError: the encoder gave NaN or infinity.
    """
    end, sampling = video.end, encoder.sampling
    return VideoRecord(
        vid=video.vid,
        features=video.features,
        times=row_times(len(video.features), end.duration, sampling),
        duration=end.duration,
        annotated_duration=annotated_duration,
        decoder=end.decoder,
        recovered=end.recovered,
        padded=end.duration < sampling.window_seconds - 1e-6,
    )


def extraction_provenance(
    video_encoder: Described, text_encoder: TextEncoder, *, decoder: str = "auto", notes: dict[str, Any]
) -> Provenance:
    """Everything that affects a feature of these encoders here, decoders and their versions included."""
    return Provenance(
        video={
            **video_encoder.provenance,
            **video_encoder.sampling.as_dict(),
            "dim": video_encoder.dim,
            **decoder_settings(decoder, video_encoder.sampling),
            "dtype": FEATURE_DTYPE,
        },
        text={**text_encoder.provenance, "dim": text_encoder.dim, "dtype": FEATURE_DTYPE},
        notes=notes,
    )


def decoder_settings(policy: str, sampling: Sampling) -> dict[str, str]:
    """The settings that tell a cache's decoder: those named in `choice.FIELDS`, or some of them.

    "decord-first" is recorded as "auto", which it was once for all samplings, so that earlier caches still fit. Where
    "auto" means PyAV, "sparse" says so, and Decord's version plays no part: a machine without it makes the same cache.
    """
    if policy == "auto" and sampling.sparse:
        return {"decoder": "auto", "sparse": "pyav", "pyav": pyav_version()}
    return {"decoder": "auto" if policy == DECORD_FIRST else policy, **decoder_versions()}
