"""One video and one sentence through a trained run, with the extractor that the run was trained on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rdmf.store.errors import InputError

if TYPE_CHECKING:
    from rdmf.run import Run
    from rdmf_extract.encoders.base import TextEncoder, VideoEncoder

SPARKS = "▁▂▃▄▅▆▇█"
PLAIN_SPARKS = "_.-:=+*#"


@dataclass(frozen=True)
class Prediction:
    """What a run found.

    Attributes:
        video: the file. query: the sentence. duration: measured, in seconds.
        moments: ((start, end, score), ...) in seconds, best first.
        times: (L, 2) seconds of each feature row. saliency: (L,) in [0, 1].
        run: the run directory. fingerprint: of the features it was trained on.
        recovered: share of the video's frames that could be decoded.
        mismatch: settings in which this extraction differs from the training's; empty unless that was allowed.
        scale: the saliency at the bottom and at the top of a drawing: 0 and 1, or the curve's own ends where its height
            means nothing (`rdmf.model.base.Grounder.saliency_has_zero`).
    """

    video: Path
    query: str
    duration: float
    moments: tuple[tuple[float, float, float], ...]
    times: np.ndarray[Any, np.dtype[np.float64]]
    saliency: np.ndarray[Any, np.dtype[np.float64]]
    run: Path
    fingerprint: str
    recovered: float = 1.0
    mismatch: tuple[str, ...] = ()
    scale: tuple[float, float] = (0.0, 1.0)

    def as_json(self) -> dict[str, Any]:
        """JSON values; "pred_relevant_windows" is the official name of the moments."""
        return {
            "video": str(self.video),
            "vid": self.video.stem,
            "query": self.query,
            "duration": self.duration,
            "pred_relevant_windows": [list(m) for m in self.moments],
            "moments": [{"start": s, "end": e, "score": p} for s, e, p in self.moments],
            "saliency": self.saliency.tolist(),
            "times": self.times.tolist(),
            "run": str(self.run),
            "fingerprint": self.fingerprint,
            "recovered": self.recovered,
            "mismatch": list(self.mismatch),
        }


@dataclass(frozen=True)
class Seen:
    """A video and a sentence as a model takes them.

    Attributes:
        rows: (L, d_v) as the training's cache would hold them. times: (L, 2) seconds. duration: seconds.
        tokens: (M, d_t). recovered: share of the video's frames that could be decoded.
    """

    rows: np.ndarray[Any, Any]
    times: np.ndarray[Any, Any]
    duration: float
    tokens: np.ndarray[Any, Any]
    recovered: float


class Predictor:
    """A run together with its extractor, ready for any number of videos and sentences."""

    def __init__(self, run: Run, *, device: str = "auto", allow_mismatch: bool = False) -> None:
        """Build the extractor anew from what the run records of it.

        Raises:
            InputError: the run's features were made elsewhere, or the extractor as it can be built here differs (fields
                named) and `allow_mismatch` is off.
        """
        from rdmf.run import pick_device
        from rdmf.store import differing_fields
        from rdmf_extract.decode.choice import policy_of
        from rdmf_extract.encoders.registry import encoders_from_provenance
        from rdmf_extract.pipeline import extraction_provenance

        pick_device(device)
        made = run.provenance
        _refuse_foreign(run)
        try:
            self.video_encoder, self.text_encoder = encoders_from_provenance(made, device)
        except InputError:
            if not allow_mismatch:
                raise
            self.video_encoder, self.text_encoder = _nearest_encoders(made.video, made.text, device)
        self.run, self.device = run, device
        self.decoder = policy_of(made.video)
        here = extraction_provenance(self.video_encoder, self.text_encoder, decoder=self.decoder, notes={})
        self.mismatch = tuple(differing_fields(here, made))
        if self.mismatch and not allow_mismatch:
            raise InputError(
                f"features computed here would differ from those {run.path} was trained on ("
                + "; ".join(self.mismatch[:4])
                + "); make these equal, or go on regardless with --allow-mismatch"
            )
        widths = (self.video_encoder.dim, self.text_encoder.dim)
        if widths != (run.model.video_dim, run.model.text_dim):
            raise InputError(
                f"{run.path} takes features of {run.model.video_dim} and {run.model.text_dim} numbers, the encoders "
                f"here give {widths[0]} and {widths[1]}"
            )

    def features(self, video: Path, query: str) -> Seen:
        """What the model is given for `video` and `query`.

        Raises:
            InputError: no usable video, or a sentence that is empty or too long for the text encoder.
        """
        from rdmf_extract.pipeline import extract_one

        check_query(query)
        # The sentence first: it is refused in a moment, a long video takes minutes.
        tokens = self.text_encoder.encode([query])[0]
        record = extract_one(video, self.video_encoder, decoder=self.decoder)
        return Seen(
            rows=_as_stored(record.features, self.run.provenance.video),
            times=record.times,
            duration=record.duration,
            tokens=_as_stored(tokens, self.run.provenance.text),
            recovered=record.recovered,
        )

    def __call__(self, video: Path, query: str, *, top_k: int = 5) -> Prediction:
        """Moments and saliency of `video` for `query`.

        Raises:
            InputError: see `features`.
        """
        seen = self.features(video, query)
        found = self.run.predict_features(
            seen.rows, seen.times, seen.duration, seen.tokens, top_k=top_k, device=self.device
        )
        saliency = np.asarray(found["saliency"], dtype=np.float64)
        own = not self.run.model.saliency_has_zero and np.ptp(saliency) > 0
        return Prediction(
            video=video,
            query=query,
            duration=seen.duration,
            moments=tuple((float(s), float(e), float(p)) for s, e, p in found["pred_relevant_windows"]),
            times=np.asarray(found["times"], dtype=np.float64),
            saliency=saliency,
            run=self.run.path,
            fingerprint=self.run.fingerprint,
            recovered=seen.recovered,
            mismatch=self.mismatch,
            scale=(float(saliency.min()), float(saliency.max())) if own else (0.0, 1.0),
        )


def check_query(query: str) -> None:
    """Refuse a sentence without words.

    Raises:
        InputError: nothing but white space.
    """
    if not query.strip():
        raise InputError('the sentence is empty; say what to look for, e.g. rdmf predict VIDEO "a dog jumps"')


def sparkline(
    saliency: np.ndarray[Any, Any],
    columns: int = 72,
    *,
    sparks: str = SPARKS,
    scale: tuple[float, float] = (0.0, 1.0),
) -> str:
    """The curve as one line of at most `columns` block characters; each shows the highest value it covers.

    Args:
        saliency: (L,) within `scale`, which are the values of the lowest and of the highest block.
    """
    saliency = (saliency - scale[0]) / (scale[1] - scale[0])
    count = len(saliency)
    edges = np.linspace(0, count, min(columns, count) + 1).astype(int)
    peaks = [float(np.max(saliency[a:b])) for a, b in itertools.pairwise(edges)]
    return "".join(sparks[min(int(p * len(sparks)), len(sparks) - 1)] for p in peaks)


def _refuse_foreign(run: Run) -> None:
    for stream, made in (("video", run.provenance.video), ("text", run.provenance.text)):
        name = made.get("encoder")
        if not isinstance(name, str) or name.startswith("import") or not name:
            raise InputError(
                f"{run.path} was trained on {stream} features that were imported, not extracted by rdmf, so they "
                "cannot be computed for a new video; train on a cache made by `rdmf extract` to use predict"
            )


def _nearest_encoders(video: dict[str, Any], text: dict[str, Any], device: str) -> tuple[VideoEncoder, TextEncoder]:
    """The encoders of the recorded names and sampling, whatever weights, versions and precisions they have here."""
    from rdmf_extract.encoders.registry import build_text_encoder, build_video_encoder

    seeing = build_video_encoder(
        str(video["encoder"]),
        fps=video.get("fps"),
        window=video.get("window_seconds"),
        stride=video.get("stride_seconds"),
        frames_per_window=video.get("frames_per_window"),
        resolution=video.get("crop"),
        weights="random" if video.get("random_weights") else None,
        device=device,
        precision=_nearest_precision(video, device),
    )
    reading = build_text_encoder(str(text["encoder"]), device=device, precision=_nearest_precision(text, device))
    return seeing, reading


def _nearest_precision(made: dict[str, Any], device: str) -> str:
    """The recorded one; the device's own where it has not that."""
    from rdmf_extract.encoders.compute import choose_device, choose_precision
    from rdmf_extract.encoders.precision import precision_of

    try:
        return choose_precision(precision_of(made), choose_device(device))
    except InputError:
        return "auto"


def _as_stored(features: np.ndarray[Any, Any], made: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Features rounded as the cache rounded them, so that the model sees what it was trained on."""
    stored = np.float32 if made.get("dtype") == "float32" else np.float16
    return np.asarray(features, dtype=np.float32).astype(stored).astype(np.float32)
