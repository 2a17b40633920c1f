"""What crosses the border between the extractor and the trainer: records that check themselves at birth.

All times are in seconds of presentation time from the start of the video; every interval is half-open, [start, end).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf.store.errors import InputError

Array = NDArray[Any]
#: Note of an extraction: which annotations the cache holds. It says nothing of a cache made out of that one.
QUERIES_SHA256 = "queries_sha256"


@dataclass(frozen=True)
class VideoRecord:
    """The features of one video.

    Attributes:
        vid: name of the video, unique within a cache.
        features: (L, d_v) floating point, L >= 1; stored as float16 unless the cache says otherwise.
        times: (L, 2) float64, [t_start, t_end) of each row in seconds; starts do not decrease.
        duration: measured duration in seconds.
        annotated_duration: duration in seconds that the annotations claim, or NaN.
        decoder: which decoder gave the frames, e.g. "decord 0.6.0"; "import" for features made elsewhere.
        recovered: share of the video's frames that could be decoded, in (0, 1].
        padded: True where the video was shorter than one window and the window was filled by repeating frames.

    Raises:
        InputError: zero rows, shapes that do not fit, NaN or infinity, or times that run backwards.
    """

    vid: str
    features: Array
    times: Array
    duration: float
    annotated_duration: float = math.nan
    decoder: str = ""
    recovered: float = 1.0
    padded: bool = False

    def __post_init__(self) -> None:
        where = f"video '{self.vid}'"
        if self.features.ndim != 2 or not np.issubdtype(self.features.dtype, np.floating):
            raise InputError(
                f"{where}: features must be (clips, dim) floats, got {self.features.dtype} {self.features.shape}"
            )
        if self.features.shape[0] == 0:
            raise InputError(f"{where}: no feature rows; a video must give at least one")
        if self.times.shape != (self.features.shape[0], 2):
            raise InputError(f"{where}: {self.features.shape[0]} feature rows but times of shape {self.times.shape}")
        if not np.isfinite(self.features).all():
            bad = int(np.flatnonzero(~np.isfinite(self.features).all(axis=1))[0])
            raise InputError(f"{where}: NaN or infinity in feature row {bad}")
        if not np.isfinite(self.times).all() or (self.times[:, 1] <= self.times[:, 0]).any():
            raise InputError(f"{where}: a row's time interval is empty, reversed or not finite")
        if (np.diff(self.times[:, 0]) < 0).any():
            raise InputError(f"{where}: rows are not in order of time")
        if not (math.isfinite(self.duration) and self.duration > 0):
            raise InputError(f"{where}: duration {self.duration} is not a positive number of seconds")


@dataclass(frozen=True)
class QueryRecord:
    """One sentence about one video, with what annotators said of it.

    Attributes:
        qid: the dataset's own query id (kept as int or str, so that prediction files match).
        vid: the video it is about.
        text: the sentence.
        split: e.g. "train", "val", "test".
        windows: [(start, end), ...] seconds; empty where there is no moment annotation.
        saliency_clips: (S,) int, clip indices in units of `clip_length` that annotators scored.
        saliency_scores: (S, A) float, one column an annotator; both empty where there is no such annotation.
        clip_length: seconds per saliency clip (2.0 in QVHighlights).
        kind: query type, e.g. "action", "object", "scene"; "" where unknown.
        duration: duration in seconds that the annotation claims, or NaN.
    """

    qid: int | str
    vid: str
    text: str
    split: str
    windows: tuple[tuple[float, float], ...] = ()
    saliency_clips: tuple[int, ...] = ()
    saliency_scores: tuple[tuple[float, ...], ...] = ()
    clip_length: float = 2.0
    kind: str = ""
    duration: float = math.nan

    def __post_init__(self) -> None:
        where = f"query {self.qid!r} of video '{self.vid}'"
        if not self.text.strip():
            raise InputError(f"{where}: the sentence is empty")
        for start, end in self.windows:
            if not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
                raise InputError(f"{where}: window [{start}, {end}] is not 0 <= start < end in seconds")
        if len(self.saliency_clips) != len(self.saliency_scores):
            raise InputError(
                f"{where}: {len(self.saliency_clips)} saliency clips but {len(self.saliency_scores)} rows of scores"
            )


@dataclass(frozen=True)
class TextRecord:
    """Token features of one distinct sentence: (M, d_t) floating point, M >= 1, special tokens included."""

    text: str
    features: Array

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or self.features.shape[0] == 0:
            raise InputError(f"text '{self.text[:60]}': features must be (tokens, dim), got {self.features.shape}")
        if not np.isfinite(self.features).all():
            raise InputError(f"text '{self.text[:60]}': NaN or infinity in its token features")


@dataclass(frozen=True)
class Failure:
    """A video that could not be extracted, and why (one line)."""

    vid: str
    reason: str


@dataclass(frozen=True)
class Provenance:
    """Where a cache's features came from: everything that affects a feature, and things worth knowing that do not.

    Attributes:
        video: settings of the video stream (encoder, weights, weights_sha256, random_weights, fps, window, stride,
            frames_per_window, resize, crop, mean, std, pooling, dim, dtype, decoder, ...). JSON values only.
        text: settings of the text stream (encoder, weights_sha256, tokenizer, max_tokens, dim, dtype, ...).
        notes: dataset name, licence note, dates, host: carried along, not part of the fingerprint.
    """

    video: dict[str, Any]
    text: dict[str, Any]
    notes: dict[str, Any] = field(default_factory=dict)
