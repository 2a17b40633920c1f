"""What is known of videos and sentences besides their rows, and the checksums that tie both together."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

import numpy as np

from rdmf.store.records import Array, Failure, VideoRecord


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
        digest = hashlib.sha256(np.ascontiguousarray(features).data)
        digest.update(np.ascontiguousarray(times).data)
        digest.update(
            struct.pack(
                "<ddd?",
                self.durations[index],
                self.annotated_durations[index],
                self.recovered[index],
                self.padded[index],
            )
        )
        digest.update(self.decoders[index].encode("utf-8", "replace") + b"\0")
        digest.update(self.vids[index].encode("utf-8", "replace"))
        return digest.digest()

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


def text_digest(text: str, features: Array) -> bytes:
    """sha256 (32 bytes) of a sentence's token features and its words."""
    digest = hashlib.sha256(np.ascontiguousarray(features).data)
    digest.update(text.encode("utf-8", "replace"))
    return digest.digest()


def settled_failures(failures: list[Failure], vids: set[str]) -> list[Failure]:
    """One failure a video, the latest, and none of a video that has features after all."""
    latest = {failure.vid: failure for failure in failures}
    return [failure for vid, failure in latest.items() if vid not in vids]
