"""What is known of videos and sentences besides their rows, and the checksums that tie both together.

`VideoTable` and `TextTable` are lists that grow by one while a part is written; `VideoFacts` and `TextFacts` are what
is read back to check rows against: flat arrays, so that a million videos cost their bytes and no more.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

import numpy as np

from rdmf.store.layout import Columns
from rdmf.store.records import Array, Failure, VideoRecord
from rdmf.store.strings import Strings


@dataclass
class VideoTable:
    """Columns about V videos, in the order of their rows; grows by `append`."""

    vids: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)
    annotated_durations: list[float] = field(default_factory=list)
    recovered: list[float] = field(default_factory=list)
    padded: list[bool] = field(default_factory=list)
    decoders: list[str] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)

    def append(self, record: VideoRecord, stored_features: Array, stored_times: Array) -> None:
        """Adds a video whose rows are stored as these arrays."""
        self.vids.append(record.vid)
        self.counts.append(len(stored_features))
        self.durations.append(float(record.duration))
        self.annotated_durations.append(float(record.annotated_duration))
        self.recovered.append(float(record.recovered))
        self.padded.append(bool(record.padded))
        self.decoders.append(record.decoder)
        self.digests.append(self.digest(len(self.vids) - 1, stored_features, stored_times))

    def digest(self, index: int, features: Array, times: Array) -> bytes:
        """sha256 (32 bytes) of everything about one video: rows, times, seconds, decoder, name."""
        numbers = (
            self.durations[index],
            self.annotated_durations[index],
            self.recovered[index],
            self.padded[index],
        )
        names = f"{self.decoders[index]}\0{self.vids[index]}".encode("utf-8", "replace")
        return video_digest(features, times, numbers, names)

    def extend(self, other: VideoTable) -> None:
        """Adds all videos of another table after these."""
        self.vids += other.vids
        self.counts += other.counts
        self.durations += other.durations
        self.annotated_durations += other.annotated_durations
        self.recovered += other.recovered
        self.padded += other.padded
        self.decoders += other.decoders
        self.digests += other.digests


@dataclass
class TextTable:
    """Columns about T distinct sentences, in the order of their token rows."""

    texts: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)


class VideoFacts:
    """All there is in a cache about its videos besides their rows.

    Attributes:
        vids: V names.
        digests: (V, 32) uint8, the recorded checksums.
    """

    def __init__(self, columns: Columns) -> None:
        self.vids = columns.strings("video/vid")
        self.digests = columns.array("video/sha256")
        self._durations = columns.array("video/duration")
        self._annotated = columns.array("video/annotated_duration")
        self._recovered = columns.array("video/recovered")
        self._padded = columns.array("video/padded")
        self._codes = columns.array("video/decoder_code")
        self._names = columns.strings("video/decoder_name")

    def sound(self, index: int, features: Array, times: Array) -> bool:
        """Whether a video's rows (L, d), their times (L, 2) and all else that is known of it match its checksum."""
        numbers = (
            float(self._durations[index]),
            float(self._annotated[index]),
            float(self._recovered[index]),
            bool(self._padded[index]),
        )
        names = self._names.raw(int(self._codes[index])) + b"\0" + self.vids.raw(index)
        return video_digest(features, times, numbers, names) == self.digests[index].tobytes()


class TextFacts:
    """All there is in a cache about its sentences besides their token rows: `texts` (T) and `digests` (T, 32) uint8."""

    def __init__(self, columns: Columns) -> None:
        self.texts: Strings = columns.strings("text/text")
        self.digests: Array = columns.array("text/sha256")

    def sound(self, index: int, tokens: Array) -> bool:
        """Whether a sentence's token rows (M, d) and its words match its checksum."""
        digest = hashlib.sha256(np.ascontiguousarray(tokens).data)
        digest.update(self.texts.raw(index))
        return digest.digest() == self.digests[index].tobytes()


def video_digest(features: Array, times: Array, numbers: tuple[float, float, float, bool], names: bytes) -> bytes:
    """sha256 (32 bytes) of everything about one video.

    Args:
        features: (L, d) as stored.
        times: (L, 2) float64 seconds.
        numbers: duration and annotated duration in seconds, share of the frames recovered, padded.
        names: the decoder's, a zero byte, the video's.
    """
    digest = hashlib.sha256(np.ascontiguousarray(features).data)
    digest.update(np.ascontiguousarray(times).data)
    digest.update(struct.pack("<ddd?", *numbers))
    digest.update(names)
    return digest.digest()


def text_digest(text: str, features: Array) -> bytes:
    """sha256 (32 bytes) of a sentence's token features (M, d) and its words."""
    digest = hashlib.sha256(np.ascontiguousarray(features).data)
    digest.update(text.encode("utf-8", "replace"))
    return digest.digest()


def digest_table(digests: list[bytes]) -> Array:
    """(N, 32) uint8 of N sha256 digests."""
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def settled_failures(failures: list[Failure]) -> list[Failure]:
    """One failure a video, the latest."""
    return list({failure.vid: failure for failure in failures}.values())
