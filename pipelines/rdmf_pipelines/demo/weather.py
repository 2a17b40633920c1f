"""Changes of the whole picture, on float32 pictures in place: darkness, weather, fire, water, shaking, captions."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rdmf_pipelines.demo.backgrounds import Picture
from rdmf_pipelines.demo.scenes import Event
from rdmf_pipelines.demo.vocabulary import COLOURS

FADE_SECONDS = 0.4
"""Changes fade in after their start and out before their end, so that the window holds all that is seen of them."""

BEHIND_OBJECTS = ("night", "fire", "flood")
_WORDS = (
    "BREAKING NEWS",
    "CHAPTER TWO",
    "MEANWHILE",
    "GOOD MORNING",
    "THE END OF IT",
    "LIVE FROM HERE",
    "SPECIAL OFFER",
)


def strength(event: Event, seconds: float) -> float:
    """How much of a change is seen at an instant: 0 outside [start, end), 1 well inside, linear over the fades."""
    if not event.start <= seconds < event.end:
        return 0.0
    # A head start of a quarter: the very first frame of the window shows something.
    rise = (seconds - event.start) / FADE_SECONDS + 0.25
    fall = (event.end - seconds) / FADE_SECONDS
    return float(min(rise, fall, 1.0))


def draw_scene(picture: Picture, event: Event, seconds: float) -> Picture:
    """The picture (H, W, 3) with a scene change or caption as it is at `seconds`; may work in place."""
    amount = strength(event, seconds)
    name = event.subject.what
    elapsed = seconds - event.start
    if name == "night":
        return _night(picture, amount, event.seed)
    if name == "rain":
        return _falling(picture, amount, elapsed, event.seed, streak=9, count=190, speed=330.0, shade=0.8)
    if name == "snow":
        return _falling(picture, amount, elapsed, event.seed, streak=0, count=150, speed=34.0, shade=1.0)
    if name == "fog":
        return _fog(picture, amount, elapsed, event.seed)
    if name == "monochrome":
        grey = picture @ np.array((0.299, 0.587, 0.114), np.float32)
        picture += (grey[..., None] - picture) * np.float32(amount)
        return picture
    if name == "fire":
        return _fire(picture, amount, elapsed, event.seed)
    if name == "flood":
        return _flood(picture, amount, elapsed)
    if name == "shake":
        return _shake(picture, amount, elapsed, event.seed)
    if name == "caption":
        return _caption(picture, amount, event)
    raise ValueError(f"no scene is called '{name}'")  # "zoom" is the camera's business


def _night(picture: Picture, amount: float, seed: int) -> Picture:
    height, width = picture.shape[:2]
    dark = picture * np.array((0.13, 0.14, 0.24), np.float32) + np.array((2, 3, 14), np.float32)
    rng = np.random.default_rng(seed)
    count = 45
    y, x = rng.integers(0, int(0.6 * height), count), rng.integers(0, width, count)
    dark[y, x] = 235
    dark[y[:15], np.minimum(x[:15] + 1, width - 1)] = 210
    moon_x, moon_y, radius = width * rng.uniform(0.25, 0.75), height * 0.17, 0.075 * min(height, width)
    v, u = np.ogrid[0:height, 0:width]
    moon = np.clip(radius - np.hypot(v - moon_y, u - moon_x), 0, 1)
    bite = np.clip(radius - np.hypot(v - moon_y + radius / 3, u - moon_x - radius / 2), 0, 1)
    dark += (np.array((245, 240, 205), np.float32) - dark) * np.clip(moon - bite, 0, 1)[..., None].astype(np.float32)
    picture += (dark - picture) * np.float32(amount)
    return picture


def _falling(
    picture: Picture, amount: float, elapsed: float, seed: int, *, streak: int, count: int, speed: float, shade: float
) -> Picture:
    """Rain (bright slanting streaks) or snow (soft white flakes); `speed` in pixels per second."""
    height, width = picture.shape[:2]
    layer = _flakes(height, width, seed, streak, count)
    down = int(speed * elapsed)
    sideways = down // 4 if streak else int(6 * np.sin(elapsed))
    alpha = np.roll(layer, (down, sideways), axis=(0, 1))[..., None] * np.float32(amount)
    if streak:
        picture *= np.float32(1 - 0.25 * amount)  # a rainy sky is darker
        picture += (np.array((205, 218, 235), np.float32) - picture) * alpha * np.float32(shade)
    else:
        picture += (np.float32(252) - picture) * alpha
    return picture


@lru_cache(maxsize=16)
def _flakes(height: int, width: int, seed: int, streak: int, count: int) -> Picture:
    rng = np.random.default_rng(seed)
    layer = np.zeros((height, width), np.float32)
    y, x = rng.integers(0, height, count), rng.integers(0, width, count)
    if streak:
        for i in range(streak):
            layer[(y + i) % height, (x + i // 4) % width] = 0.5 + 0.5 * i / streak
        return layer
    for dy, dx, alpha in (
        (0, 0, 1.0),
        (0, 1, 1.0),
        (1, 0, 1.0),
        (1, 1, 1.0),
        (-1, 0, 0.6),
        (0, -1, 0.6),
        (2, 1, 0.6),
        (1, 2, 0.6),
    ):
        at = (y + dy) % height, (x + dx) % width
        layer[at] = np.maximum(layer[at], alpha)
    return layer


@lru_cache(maxsize=8)
def _puffs(height: int, width: int, seed: int) -> Picture:
    """Smooth noise in [0, 1], periodic along both axes."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None, :] * width
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) * np.exp(-((np.hypot(fy, fx) / 3.5) ** 2))
    field = np.fft.irfft2(spectrum, s=(height, width))
    return np.asarray((field - field.min()) / np.ptp(field), dtype=np.float32)


def _fog(picture: Picture, amount: float, elapsed: float, seed: int) -> Picture:
    puffs = np.roll(_puffs(*picture.shape[:2], seed), int(14 * elapsed), axis=1)
    alpha = (np.float32(amount) * (0.5 + 0.4 * puffs))[..., None]
    picture += (np.float32(222) - picture) * alpha
    return picture


def _fire(picture: Picture, amount: float, elapsed: float, seed: int) -> Picture:
    height, width = picture.shape[:2]
    rise = np.roll(_puffs(height, width, seed), -int(70 * elapsed), axis=0)
    x = np.arange(width, dtype=np.float32) / width
    tongues = 0.5 + 0.25 * np.sin(38 * x + 5 * elapsed) + 0.25 * np.sin(61 * x - 8.3 * elapsed)
    level = np.linspace(1, 0, height, dtype=np.float32)[:, None]  # 1 at the top, 0 at the bottom
    heat = amount * (0.2 + 0.2 * tongues + 0.25 * rise) - level
    heat = np.clip(5 * heat, 0, 1)[..., None]
    flame = np.concatenate([np.full_like(heat, 255), 70 + 175 * heat**2, 10 + 90 * heat**4], axis=2)
    picture += (flame - picture) * np.minimum(2 * heat, 0.95)
    return picture


def _flood(picture: Picture, amount: float, elapsed: float) -> Picture:
    height, width = picture.shape[:2]
    x = np.arange(width, dtype=np.float32)
    level = height * (1 - 0.42 * amount) + 3 * np.sin(x / 9 + 3 * elapsed) + 2 * np.sin(x / 4 - 4 * elapsed)
    depth = np.arange(height, dtype=np.float32)[:, None] - level[None, :]  # pixels below the surface
    wet = np.clip(depth, 0, 1)[..., None]
    crest = np.exp(-((depth / 2.5) ** 2))[..., None]
    ripple = 18 * np.sin(depth / 3.5 + x / 14 - 5 * elapsed)[..., None]
    water = np.array((38, 120, 168), np.float32) + ripple
    picture += (water - picture) * wet * np.float32(0.8)
    picture += (np.float32(240) - picture) * crest * np.float32(0.7)
    return picture


def _shake(picture: Picture, amount: float, elapsed: float, seed: int) -> Picture:
    rng = np.random.default_rng([seed, int(elapsed * 1000)])
    reach = max(1, round(13 * amount))
    dy, dx = rng.integers(-reach, reach + 1, 2)
    moved = np.roll(picture, (int(dy), int(dx)), axis=(0, 1))
    # The shutter is open while the camera jolts: ghosts along the way.
    vertical = bool(rng.random() < 0.5)
    blurred = moved / 5
    for i in range(1, 5):
        blurred += np.roll(moved, round(i * reach / 4), axis=0 if vertical else 1) / 5
    return np.asarray(blurred, dtype=np.float32)


def _caption(picture: Picture, amount: float, event: Event) -> Picture:
    height, width = picture.shape[:2]
    band = _banner(width, int(0.24 * height), event.subject.colour, event.seed)
    deep = band.shape[0]
    top = int(0.05 * height) if event.subject.place == "top" else height - deep - int(0.05 * height)
    patch = picture[top : top + deep]
    patch += (band - patch) * np.float32(0.95 * amount)
    return picture


@lru_cache(maxsize=8)
def _banner(width: int, height: int, colour: str, seed: int) -> Picture:
    """A strip (height, width, 3) of the colour with words in the middle of it."""
    rgb = COLOURS[colour]
    ink = (20, 20, 20) if 0.3 * rgb[0] + 0.6 * rgb[1] + 0.1 * rgb[2] > 120 else (250, 250, 250)
    image = Image.new("RGB", (width, height), rgb)
    font = ImageFont.load_default(size=int(0.45 * height))
    words = _WORDS[seed % len(_WORDS)]
    ImageDraw.Draw(image).text((width / 2, height / 2), words, font=font, fill=ink, anchor="mm")
    return np.asarray(image, dtype=np.float32)
