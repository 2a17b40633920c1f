"""The rendered videos, made once a session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import HEIGHT, WIDTH, cut, every, render, scramble, sound


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small videos by name; see each line for what is odd about it."""
    home = tmp_path_factory.mktemp("clips")
    constant = render(home / "constant.mp4", every(0.1, 50))
    faststart = render(home / "faststart.mp4", every(0.1, 50), container_options={"movflags": "faststart"})
    halves = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    halves[:, WIDTH // 2 :] = 255  # right half white
    empty = home / "empty.mp4"
    empty.write_bytes(b"")
    text = home / "text.mp4"
    text.write_text("this is no video\n" * 50)
    return {
        "constant": constant,
        "second": render(home / "second.mp4", every(0.2, 20)),
        "variable": render(home / "variable.mp4", [0.0, 0.04, 0.08, 1.5, 1.6, 1.7, 3.9, 4.0]),
        "late_start": render(home / "late_start.mkv", every(0.1, 50), offset=3.0),
        "rotated": render(home / "rotated.mp4", every(0.1, 10), images=[halves] * 10, rotation=90),
        "upright": render(home / "upright.mp4", every(0.1, 10), images=[halves] * 10),
        "short": render(home / "short.mp4", every(0.1, 3)),
        "one_frame": render(home / "one_frame.mp4", [0.0]),
        "zero_frames": render(home / "zero_frames.avi", [], codec="mpeg4", options={"bf": "0"}),
        "webm": render(home / "vp8.webm", every(0.1, 20), codec="libvpx", options={"b": "200k"}),
        "ten_bit": render(home / "ten_bit.mp4", every(0.1, 20), pix_fmt="yuv420p10le"),
        "truncated": cut(faststart, home / "truncated.mp4", 0.75),
        "stump": cut(faststart, home / "stump.mp4", 0.35),
        "headless": cut(constant, home / "headless.mp4", 0.5),  # its index was at the end
        "damaged": scramble(faststart, home / "damaged.mp4", 0.45, 0.50),
        "audio_only": sound(home / "audio_only.wav"),
        "empty": empty,
        "text": text,
    }
