"""A feature cache of noise in the shape of a real one: its contents do not matter for how long anything takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rdmf.store import Provenance, QueryRecord, TextRecord, VideoRecord, write_cache

CLIP_SECONDS = 2.0


@dataclass(frozen=True)
class Shape:
    """How many videos, of how many clips; widths of the features."""

    videos: int
    clips: int
    d_video: int
    d_text: int


#: QVHighlights with SlowFast and CLIP features has 2816 numbers a clip and 512 a word; here are fewer videos.
FULL = Shape(videos=96, clips=75, d_video=2816, d_text=512)
TINY = Shape(videos=8, clips=12, d_video=16, d_text=8)


def make_cache(path: Path, shape: Shape) -> Path:
    """Two queries a video, one to five windows each, as in QVHighlights; 8 to 24 words. One split: train."""
    rng = np.random.default_rng(0)
    seen, asked, said = [], [], []
    clips = shape.clips
    for number in range(shape.videos):
        starts = np.arange(clips) * CLIP_SECONDS
        features = rng.standard_normal((clips, shape.d_video), dtype=np.float32)
        times = np.stack((starts, starts + CLIP_SECONDS), 1)
        seen.append(VideoRecord(f"v{number}", features, times, clips * CLIP_SECONDS))
        for which in range(2):
            text = f"sentence {which} about video {number}"
            words = rng.standard_normal((int(rng.integers(8, 25)), shape.d_text), dtype=np.float32)
            said.append(TextRecord(text, words))
            cuts = np.sort(rng.choice(clips + 1, 2 * min(5, int(rng.geometric(0.55))), replace=False)) * CLIP_SECONDS
            windows = tuple((float(a), float(b)) for a, b in cuts.reshape(-1, 2))
            asked.append(QueryRecord(f"{number}-{which}", f"v{number}", text, "train", windows=windows))
    made = Provenance(video={"encoder": "noise", "dim": shape.d_video}, text={"encoder": "noise", "dim": shape.d_text})
    return write_cache(path, made, seen, said, asked)
