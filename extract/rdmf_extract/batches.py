"""Rows of many videos to full batches for the encoder, and its features back to their videos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rdmf_extract.decode.events import Finished
from rdmf_extract.encoders.base import Features, Frames, VideoEncoder
from rdmf_extract.pool import Row
from rdmf_extract.sampling import Sampling

#: A row of a batch: video, how often that video was begun before, row number.
Owner = tuple[str, int, int]


class BatchEncoder(Protocol):
    """Something that encodes batches, at once or meanwhile."""

    def submit(self, frames: Frames, owners: list[Owner]) -> None:
        """Take a batch, (B, T, H, W, 3) uint8, which may be reused afterwards; waits while too many are under way."""

    def finished(self, *, wait: bool) -> Iterator[tuple[list[Owner], Features]]:
        """The batches that are done, (B, dim) float32 each; with `wait`, all that were taken."""

    def notes(self) -> list[str]:
        """Lines that people should read, since the last call."""


class Inline:
    """Encodes each batch in this process before the next is taken."""

    def __init__(self, encoder: VideoEncoder) -> None:
        self._encoder = encoder
        self._done: list[tuple[list[Owner], Features]] = []

    def submit(self, frames: Frames, owners: list[Owner]) -> None:
        self._done.append((owners, self._encoder.encode(frames)))

    def finished(self, *, wait: bool) -> Iterator[tuple[list[Owner], Features]]:
        done, self._done = self._done, []
        yield from done

    def notes(self) -> list[str]:
        return []


def halved(features: Features) -> NDArray[np.floating[Any]]:
    """Rows as they will be stored, in float16: three hours of them are 28 MB at 1280 numbers a second.

    What does not fit into float16 stays as it is, so that the store can say what is wrong with it.
    """
    with np.errstate(over="ignore"):
        half = features.astype(np.float16)
    return half if np.isinf(half).sum() == np.isinf(features).sum() else features


@dataclass
class _Video:
    features: dict[int, NDArray[np.floating[Any]]] = field(default_factory=dict)
    rows: int = -1  # not known before the video's end
    end: Finished | None = None


@dataclass(frozen=True)
class EncodedVideo:
    """All features of a video: (L, dim), see `halved`, and how its decoding went."""

    vid: str
    features: NDArray[np.floating[Any]]
    end: Finished


class RowBatcher:
    """Fills batches of `batch_rows` rows whatever videos they come from, so that short videos keep a GPU busy."""

    def __init__(self, encoder: BatchEncoder, sampling: Sampling, batch_rows: int) -> None:
        self._encoder = encoder
        shape = (batch_rows, sampling.frames_per_window, sampling.crop, sampling.crop, 3)
        self._frames: NDArray[np.uint8] = np.empty(shape, np.uint8)  # reused for every batch
        self._owners: list[Owner] = []
        self._videos: dict[str, _Video] = {}
        self._begun: dict[str, int] = {}  # so that rows still being encoded when a video starts over are not its own
        self.rows = 0

    def add(self, row: Row) -> Iterator[EncodedVideo]:
        """Take a row; yield the videos that are complete by now."""
        self._videos.setdefault(row.vid, _Video())
        self._frames[len(self._owners)] = row.frames
        self._owners.append((row.vid, self._begun.get(row.vid, 0), row.index))
        if len(self._owners) == len(self._frames):
            self._submit()
            yield from self._collect(wait=False)

    def finish(self, vid: str, rows: int, end: Finished) -> Iterator[EncodedVideo]:
        """No more rows of this video will come; yield it if all of them are encoded."""
        video = self._videos.setdefault(vid, _Video())
        video.rows, video.end = rows, end
        yield from self._complete([vid])

    def forget(self, vid: str) -> None:
        """Drop what there is of a video: it failed, or starts over."""
        self._videos.pop(vid, None)
        self._begun[vid] = self._begun.get(vid, 0) + 1
        kept = [i for i, (owner, _, _) in enumerate(self._owners) if owner != vid]
        self._frames[: len(kept)] = self._frames[kept]
        self._owners = [self._owners[i] for i in kept]

    def flush(self) -> Iterator[EncodedVideo]:
        """Encode what waits, full batch or not; yield the videos that this completes."""
        self._submit()
        yield from self._collect(wait=True)

    def _submit(self) -> None:
        if self._owners:
            owners, self._owners = self._owners, []
            self._encoder.submit(self._frames[: len(owners)], owners)

    def _collect(self, *, wait: bool) -> Iterator[EncodedVideo]:
        for owners, features in self._encoder.finished(wait=wait):
            self.rows += len(owners)
            touched: dict[str, None] = {}
            for (vid, begun, index), vector in zip(owners, halved(features), strict=True):
                if begun == self._begun.get(vid, 0):
                    self._videos[vid].features[index] = vector
                    touched[vid] = None
            yield from self._complete(list(touched))

    def _complete(self, vids: list[str]) -> Iterator[EncodedVideo]:
        for vid in vids:
            video = self._videos[vid]
            if video.end is not None and len(video.features) == video.rows:
                del self._videos[vid]
                yield EncodedVideo(vid, _joined(video.features), video.end)


def _joined(rows: dict[int, NDArray[np.floating[Any]]]) -> NDArray[np.floating[Any]]:
    """(L, dim) of rows 0 to L - 1, which are given up one by one: those of a long video are never there twice."""
    dtype = np.result_type(*{row.dtype for row in rows.values()})
    joined = np.empty((len(rows), *rows[0].shape), dtype)
    for i in range(len(joined)):
        joined[i] = rows.pop(i)
    return joined
