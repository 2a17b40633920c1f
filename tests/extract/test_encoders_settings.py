"""Which sampling follows from the settings a user gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdmf.store.errors import InputError
from rdmf_extract.encoders.settings import choose_sampling
from rdmf_extract.sampling import Sampling

DEFAULT = Sampling(fps=16.0, window_seconds=2.0, stride_seconds=2.0, frames_per_window=32, resize=256, crop=224)


def test_nothing_given_keeps_the_default() -> None:
    assert choose_sampling(DEFAULT) == DEFAULT


@pytest.mark.parametrize(
    ("given_settings", "fps", "window", "stride", "frames"),
    [
        ({"fps": 4.0}, 4.0, 2.0, 2.0, 8),
        ({"window": 1.0}, 16.0, 1.0, 1.0, 16),
        ({"frames_per_window": 8}, 4.0, 2.0, 2.0, 8),
        ({"fps": 8.0, "frames_per_window": 8}, 8.0, 1.0, 1.0, 8),
        ({"window": 4.0, "frames_per_window": 8}, 2.0, 4.0, 4.0, 8),
        ({"fps": 0.25}, 0.25, 4.0, 4.0, 1),
        ({"stride": 0.5}, 16.0, 2.0, 0.5, 32),
        ({"window": 1.03}, 16 / 1.03, 1.03, 1.03, 16),
    ],
)
def test_what_is_left_open_follows(
    given_settings: dict[str, float], fps: float, window: float, stride: float, frames: int
) -> None:
    chosen = choose_sampling(DEFAULT, **given_settings)  # type: ignore[arg-type]
    assert chosen.fps == pytest.approx(fps)
    assert chosen.window_seconds == pytest.approx(window)
    assert chosen.stride_seconds == pytest.approx(stride)
    assert chosen.frames_per_window == frames


def test_resolution_keeps_the_margin_that_is_cropped_away() -> None:
    chosen = choose_sampling(DEFAULT, resolution=112)
    assert (chosen.resize, chosen.crop) == (128, 112)


@given(
    window=st.floats(0.1, 30, allow_nan=False),
    frames=st.integers(1, 64),
    stride=st.floats(0.1, 30, allow_nan=False),
    resolution=st.integers(1, 600),
)
def test_a_chosen_sampling_chooses_itself(window: float, frames: int, stride: float, resolution: int) -> None:
    """What a cache records rebuilds the same sampling, exactly."""
    once = choose_sampling(DEFAULT, window=window, frames_per_window=frames, stride=stride, resolution=resolution)
    again = choose_sampling(
        DEFAULT,
        fps=once.fps,
        window=once.window_seconds,
        stride=once.stride_seconds,
        frames_per_window=once.frames_per_window,
        resolution=once.crop,
    )
    assert again == once


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fps": 0.0}, "fps must be a positive number"),
        ({"window": float("nan")}, "window must be a positive number"),
        ({"stride": -1.0}, "stride must be"),
        ({"frames_per_window": 0}, "frames per window must be at least 1"),
        ({"resolution": 0}, "resolution must be at least 1"),
        ({"fps": 3.0, "window": 1.5}, "4.5 frames, not a whole number"),
        ({"fps": 3.0, "window": 1.0, "frames_per_window": 4}, "leave one of the three out"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        choose_sampling(DEFAULT, **settings)  # type: ignore[arg-type]
