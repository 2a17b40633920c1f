"""Textures that the camera looks at, as float32 pictures larger than the frame, and the camera's path over them."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]

MARGIN = 1.5
"""Side of the texture, in units of the frame's longer side, so that the camera has room to move."""


def texture(kind: str, side: int, rng: np.random.Generator) -> Picture:
    """A (side, side, 3) float32 picture in [0, 255] of muted colours, so that the objects stand out from it."""
    dark, light = _palette(rng)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side  # (side, side) each, in [0, 1)
    if kind == "gradient":
        angle = rng.uniform(0, 2 * np.pi)
        mix = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) + 0.5
    elif kind == "clouds":
        mix = _noise(side, 2.0, rng)
    elif kind == "grass":
        mix = 0.75 * _noise(side, 0.9, rng, stretch=4.0) + 0.25 * _noise(side, 2.0, rng)
    elif kind == "pebbles":
        mix = np.abs(2 * _noise(side, 1.6, rng) - 1) ** 0.7
    elif kind == "bricks":
        mix = _bricks(x, y, rows=int(rng.integers(9, 14))) * 0.8 + 0.2 * _noise(side, 1.0, rng)
    elif kind == "stripes":
        angle, n = rng.uniform(0, np.pi), rng.uniform(5, 11)
        mix = 0.5 + 0.5 * np.sin(2 * np.pi * n * (x * np.cos(angle) + y * np.sin(angle)))
        mix = 0.85 * mix + 0.15 * _noise(side, 1.5, rng)
    else:
        raise ValueError(f"no background is called '{kind}'")
    mixed = dark + (light - dark) * np.clip(mix, 0, 1)[..., None]  # (side, side, 3)
    return np.asarray(mixed, dtype=np.float32)


class Camera:
    """A window on a texture that stays, pans, sways or creeps closer."""

    def __init__(self, kind: str, height: int, width: int, duration: float, rng: np.random.Generator) -> None:
        self.height, self.width, self.duration, self.kind = height, width, duration, kind
        self.side = int(MARGIN * max(height, width))
        self._phase = rng.uniform(0, 2 * np.pi)
        self._direction = rng.choice((-1.0, 1.0))

    def view(self, texture: Picture, seconds: float, closeness: float = 0.0) -> Picture:
        """What is seen at an instant, (height, width, 3); `closeness` in [0, 1] zooms in up to four times."""
        travel = seconds / self.duration  # 0 to 1 over the video
        x = y = 0.5
        scale = 1.0
        if self.kind == "pan":
            x += self._direction * 0.8 * (travel - 0.5)
        elif self.kind == "sway":
            x += 0.3 * np.sin(1.1 * seconds + self._phase)
            y += 0.2 * np.sin(0.8 * seconds)
        elif self.kind == "creep":
            scale = 1.0 + 0.3 * (travel if self._direction > 0 else 1 - travel)
        scale *= 1.0 + 3.0 * closeness
        return _crop(texture, x, y, scale, self.height, self.width)


def _crop(texture: Picture, x: float, y: float, scale: float, height: int, width: int) -> Picture:
    """Nearest-neighbour crop whose corner runs over the free margin as x and y run over [0, 1]."""
    side = texture.shape[0]
    top = y * (side - height / scale)
    left = x * (side - width / scale)
    if scale == 1.0:
        first_row, first_column = int(top), int(left)
        return texture[first_row : first_row + height, first_column : first_column + width].copy()
    rows = np.clip((top + (np.arange(height) + 0.5) / scale).astype(np.intp), 0, side - 1)
    columns = np.clip((left + (np.arange(width) + 0.5) / scale).astype(np.intp), 0, side - 1)
    return texture[rows[:, None], columns[None, :]]


def _palette(rng: np.random.Generator) -> tuple[Picture, Picture]:
    hue = rng.uniform()
    dark = colorsys.hsv_to_rgb(hue, rng.uniform(0.1, 0.4), rng.uniform(0.35, 0.5))
    light = colorsys.hsv_to_rgb((hue + rng.uniform(-0.15, 0.15)) % 1, rng.uniform(0.05, 0.3), rng.uniform(0.65, 0.85))
    return 255 * np.asarray(dark, np.float32), 255 * np.asarray(light, np.float32)


def _noise(side: int, exponent: float, rng: np.random.Generator, stretch: float = 1.0) -> Picture:
    """(side, side) noise in [0, 1] whose spectrum falls as frequency ** -exponent; `stretch` is vertical."""
    fy = np.fft.fftfreq(side)[:, None] * stretch
    fx = np.fft.rfftfreq(side)[None, :]
    radius = np.hypot(fy, fx)
    radius[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((side, side))) * radius**-exponent
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, s=(side, side))
    low, high = np.percentile(field, [2, 98])
    return np.asarray(np.clip((field - low) / (high - low), 0, 1), dtype=np.float32)


def _bricks(x: Picture, y: Picture, rows: int) -> Picture:
    row = np.floor(y * rows)
    u = np.mod(x * rows / 2 + 0.5 * np.mod(row, 2), 1)
    v = np.mod(y * rows, 1)
    mortar = (u < 0.06) | (v < 0.12)
    shade = np.mod(np.sin(12.9 * row + 78.2 * np.floor(x * rows / 2 + 0.5 * np.mod(row, 2))) * 437.5, 1)
    return np.asarray(np.where(mortar, 1.0, 0.1 + 0.45 * shade), dtype=np.float32)
