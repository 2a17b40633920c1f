"""From encoders and encoded videos to the store's records."""

from __future__ import annotations

from typing import Any, Protocol

from rdmf.store import Provenance, VideoRecord
from rdmf_extract.batches import EncodedVideo
from rdmf_extract.decode.policy import decoder_versions
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
    """Everything that affects a feature of these encoders here, decoders and their versions included.

    Where rows look at little of a video, "auto" leaves it to PyAV (see `objection`). Caches made before it did so hold
    Decord's frames, a little different, hence a field of its own there and none elsewhere.
    """
    sparse = {"sparse": "pyav"} if decoder == "auto" and video_encoder.sampling.sparse else {}
    return Provenance(
        video={
            **video_encoder.provenance,
            **video_encoder.sampling.as_dict(),
            "dim": video_encoder.dim,
            "decoder": decoder,
            **sparse,
            **decoder_versions(),
            "dtype": FEATURE_DTYPE,
        },
        text={**text_encoder.provenance, "dim": text_encoder.dim, "dtype": FEATURE_DTYPE},
        notes=notes,
    )
