"""Frame sizes: short side resized, aspect kept, square centre cut out, all on uint8."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def resized(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) with the short side equal to `short_side` and the aspect kept, rounded to whole pixels."""
    scale = short_side / min(width, height)
    return max(short_side, round(width * scale)), max(short_side, round(height * scale))


def upright(image: NDArray[np.uint8], rotation_degrees: int) -> NDArray[np.uint8]:
    """Apply a display rotation (counter-clockwise degrees, as FFmpeg reports it), to the nearest quarter turn."""
    turns = round(rotation_degrees / 90) % 4
    return np.rot90(image, turns) if turns else image


def center_crop(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The (side, side, 3) centre of an (H, W, 3) image: a view, no copy."""
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]
