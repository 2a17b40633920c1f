"""Rows of many videos to full batches for the encoder, and its features back to their videos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rdmf_extract.decode.events import Finished
from rdmf_extract.encoders.base import VideoEncoder
from rdmf_extract.pool import Row


@dataclass
class _Video:
    features: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    rows: int = -1  # not known before the video's end
    end: Finished | None = None


@dataclass(frozen=True)
class EncodedVideo:
    """All features of a video: (L, dim) float32, and how its decoding went."""

    vid: str
    features: NDArray[np.float32]
    end: Finished


class RowBatcher:
    """Fills batches of `batch_rows` rows whatever videos they come from, so that short videos keep a GPU busy."""

    def __init__(self, encoder: VideoEncoder, batch_rows: int) -> None:
        self._encoder = encoder
        sampling = encoder.sampling
        shape = (batch_rows, sampling.frames_per_window, sampling.crop, sampling.crop, 3)
        self._frames: NDArray[np.uint8] = np.empty(shape, np.uint8)  # reused for every batch
        self._owners: list[tuple[str, int]] = []
        self._videos: dict[str, _Video] = {}
        self.rows = 0

    def add(self, row: Row) -> Iterator[EncodedVideo]:
        """Take a row; yield the videos that are complete once a batch that it filled is encoded."""
        self._videos.setdefault(row.vid, _Video())
        self._frames[len(self._owners)] = row.frames
        self._owners.append((row.vid, row.index))
        if len(self._owners) == len(self._frames):
            yield from self.flush()

    def finish(self, vid: str, rows: int, end: Finished) -> Iterator[EncodedVideo]:
        """No more rows of this video will come; yield it if all of them are encoded."""
        video = self._videos.setdefault(vid, _Video())
        video.rows, video.end = rows, end
        yield from self._complete([vid])

    def forget(self, vid: str) -> None:
        """Drop what there is of a video: it failed, or starts over."""
        self._videos.pop(vid, None)
        kept = [i for i, (owner, _) in enumerate(self._owners) if owner != vid]
        self._frames[: len(kept)] = self._frames[kept]
        self._owners = [self._owners[i] for i in kept]

    def flush(self) -> Iterator[EncodedVideo]:
        """Encode what waits, full batch or not; yield the videos that this completes."""
        if not self._owners:
            return
        features = self._encoder.encode(self._frames[: len(self._owners)])
        owners, self._owners = self._owners, []
        self.rows += len(owners)
        for (vid, index), vector in zip(owners, features, strict=True):
            self._videos[vid].features[index] = vector
        yield from self._complete(list(dict.fromkeys(vid for vid, _ in owners)))

    def _complete(self, vids: list[str]) -> Iterator[EncodedVideo]:
        for vid in vids:
            video = self._videos[vid]
            if video.end is not None and len(video.features) == video.rows:
                del self._videos[vid]
                yield EncodedVideo(vid, np.stack([video.features[i] for i in range(video.rows)]), video.end)
