"""Damage done to a finished cache: NaN features cannot be written, only found."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rdmf.store import VideoRecord


class _Marker:
    """A row of values that occurs nowhere else, to be found again in the file."""

    values = np.array([1234.5, 77.25, 1234.5, 77.25, 1234.5, 77.25], np.float32)

    def put(self, video: VideoRecord) -> None:
        video.features[0] = self.values


NAN_ROW = _Marker()


def spoil_bytes(path: Path) -> None:
    """Overwrite the marked row in the file by NaN, as a failing disk or a foreign writer would."""
    content = path.read_bytes()
    marked = NAN_ROW.values.tobytes()
    assert content.count(marked) == 1
    path.write_bytes(content.replace(marked, np.full(len(NAN_ROW.values), np.nan, np.float32).tobytes()))
