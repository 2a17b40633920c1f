"""Draws the coloured shapes and what they do, onto float32 pictures in place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rdmf_pipelines.demo.backgrounds import Picture
from rdmf_pipelines.demo.scenes import Event
from rdmf_pipelines.demo.vocabulary import COLOURS

_OUTLINE = np.array((24, 24, 28), np.float32)
_GOLDEN_ANGLE = np.pi * (3 - 5**0.5)


def draw_action(picture: Picture, event: Event, seconds: float) -> None:
    """Draw the object of an action event as it is at `seconds`, which lies in [event.start, event.end)."""
    progress = (seconds - event.start) / (event.end - event.start)
    _ACTIONS[event.subject.what](picture, event, seconds - event.start, progress, np.random.default_rng(event.seed))


def draw_shape(
    picture: Picture,
    shape: str,
    colour: NDArray[np.float32],
    x: float,
    y: float,
    radius: float,
    *,
    angle: float = 0.0,
    opacity: float = 1.0,
    squash: float = 1.0,
    outline: bool = True,
) -> None:
    """Blend a shape with soft edges and a little shading into `picture` (H, W, 3); parts outside are cut off.

    Args:
        x, y: centre in pixels. radius: of the circle around it, in pixels. angle: radians.
        opacity: 0 to 1. squash: height over width.
    """
    reach = int(np.ceil(radius * 1.15)) + 2
    top, bottom = max(int(y) - reach, 0), min(int(y) + reach + 1, picture.shape[0])
    left, right = max(int(x) - reach, 0), min(int(x) + reach + 1, picture.shape[1])
    if top >= bottom or left >= right or radius < 1:
        return
    v = ((np.arange(top, bottom, dtype=np.float32) - y) / squash)[:, None]
    u = (np.arange(left, right, dtype=np.float32) - x)[None, :]
    distance = _distance(
        shape, np.asarray(u, np.float32), np.asarray(v, np.float32), radius, angle
    )  # pixels, negative inside
    alpha = np.clip(0.5 - distance, 0, 1)[..., None] * np.float32(opacity)
    light = 1.0 - 0.22 * np.clip((u + v) / radius, -1, 1)[..., None]
    paint = colour * light
    if outline:
        edge = np.clip(distance + 0.05 * radius + 1.5, 0, 1)[..., None]
        paint = paint + (_OUTLINE - paint) * edge
    patch = picture[top:bottom, left:right]
    patch += (paint - patch) * alpha


def _distance(shape: str, u: Picture, v: Picture, radius: float, angle: float) -> Picture:
    """Signed distance in pixels, negative inside, of points (u, v) from the edge of a shape around the origin."""
    if shape == "circle":
        return np.hypot(u, v) - np.float32(0.92 * radius)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    p, q = c * u + s * v, c * v - s * u
    if shape == "square":
        return np.maximum(np.abs(p), np.abs(q)) - np.float32(0.78 * radius)
    corners, inner = (3, 0.5) if shape == "triangle" else (5, 0.42)
    # Fold the plane into the half sector between a tip (at `radius`) and a notch (at `inner * radius`).
    half = np.pi / corners
    turn = np.abs(np.mod(np.arctan2(p, -q) + half, 2 * half) - half)
    length = np.hypot(p, q)
    along, across = length * np.cos(turn), length * np.sin(turn)
    notch = inner * radius * np.array((np.cos(half), np.sin(half)))
    edge = notch - np.array((radius, 0.0))
    normal = np.array((edge[1], -edge[0])) / np.hypot(edge[0], edge[1])
    return np.asarray((along - radius) * normal[0] + across * normal[1], dtype=np.float32)


def _colour(event: Event) -> NDArray[np.float32]:
    return np.asarray(COLOURS[event.subject.colour], dtype=np.float32)


def _centre(picture: Picture, rng: np.random.Generator) -> tuple[float, float, float]:
    """A place (x, y) near the middle, and the picture's short side, in pixels."""
    height, width = picture.shape[:2]
    short = min(height, width)
    return (
        width / 2 + short * rng.uniform(-0.18, 0.18),
        height / 2 + short * rng.uniform(-0.12, 0.12),
        float(short),
    )


def _bounce(picture: Picture, event: Event, elapsed: float, progress: float, rng: np.random.Generator) -> None:
    x, y, short = _centre(picture, rng)
    radius = short * rng.uniform(0.14, 0.19)
    height, rate = short * rng.uniform(0.3, 0.42), rng.uniform(0.7, 1.1)
    drift = short * rng.uniform(-0.15, 0.15)
    hop = abs(np.sin(np.pi * rate * elapsed))  # 0 on the ground, 1 at the top
    ground = y + short * 0.3
    x += drift * (progress - 0.5) * 2
    shadow = np.zeros(3, np.float32)
    draw_shape(
        picture, "circle", shadow, x, ground, radius * (1.3 - 0.5 * hop), opacity=0.55, squash=0.25, outline=False
    )
    squash = 0.78 + 0.22 * min(hop * 3, 1)
    at = ground - radius * squash * 0.9 - height * hop
    draw_shape(picture, event.subject.shape, _colour(event), x, at, radius, squash=squash)


def _grow(picture: Picture, event: Event, elapsed: float, progress: float, rng: np.random.Generator) -> None:
    x, y, short = _centre(picture, rng)
    radius = short * (0.1 + 0.5 * progress**0.8)
    draw_shape(picture, event.subject.shape, _colour(event), x, y, radius, angle=rng.uniform(-0.2, 0.2))


def _multiply(picture: Picture, event: Event, elapsed: float, progress: float, rng: np.random.Generator) -> None:
    height, width = picture.shape[:2]
    short = min(height, width)
    copies, radius = int(rng.integers(11, 17)), short * rng.uniform(0.075, 0.095)
    spread = min(0.25 + elapsed / 0.8, 1.0)
    spin = rng.uniform(0, 2 * np.pi) + 0.5 * elapsed
    for i in range(copies):
        away = spread * short * 0.44 * np.sqrt((i + 0.3) / copies)
        turn = spin + i * _GOLDEN_ANGLE
        x, y = width / 2 + away * np.cos(turn), height / 2 + away * np.sin(turn)
        draw_shape(picture, event.subject.shape, _colour(event), x, y, radius, angle=0.3 * np.sin(turn))


def _flash(picture: Picture, event: Event, elapsed: float, progress: float, rng: np.random.Generator) -> None:
    x, y, short = _centre(picture, rng)
    radius = short * rng.uniform(0.15, 0.2)
    rays, rate = int(rng.integers(8, 13)), rng.uniform(1.2, 1.8)
    strength = 0.7 + 0.3 * np.cos(2 * np.pi * rate * elapsed)
    height, width = picture.shape[:2]
    v = np.arange(height, dtype=np.float32)[:, None] - y
    u = np.arange(width, dtype=np.float32)[None, :] - x
    turn, distance = np.arctan2(v, u), np.hypot(u, v)
    beam = np.clip(1.5 * np.cos(rays * (turn + 0.4 * elapsed)) - 0.2, 0, 1) * np.exp(
        -((distance / (3.2 * radius)) ** 2)
    )
    glow = np.exp(-((distance / (1.7 * radius)) ** 2))
    picture += (255 - picture) * (strength * np.maximum(beam, glow))[..., None]
    draw_shape(picture, event.subject.shape, _colour(event) * np.float32(0.8 + 0.25 * strength), x, y, radius)


def _streak(picture: Picture, event: Event, elapsed: float, progress: float, rng: np.random.Generator) -> None:
    height, width = picture.shape[:2]
    short = min(height, width)
    radius = short * rng.uniform(0.1, 0.13)
    pace, phase = rng.uniform(2.0, 2.8), rng.uniform(0, 2 * np.pi)
    tilt = rng.uniform(0.4, 0.8)
    copies = 12
    for i in range(copies, -1, -1):
        age = min(i * 0.09, elapsed)
        turn = phase + pace * (elapsed - age)
        x = width / 2 + 0.36 * short * np.cos(turn)
        y = height / 2 + 0.36 * short * np.sin(2 * turn * tilt)
        fresh = 1 - i / (copies + 1)
        head = i == 0
        draw_shape(
            picture,
            event.subject.shape if head else "circle",
            _colour(event),
            x,
            y,
            radius * (1.15 if head else 0.35 + 0.45 * fresh),
            opacity=1.0 if head else 0.35 + 0.4 * fresh,
            outline=head,
        )


_Draw = Callable[[Picture, Event, float, float, np.random.Generator], None]
_ACTIONS: dict[str, _Draw] = {
    "bounce": _bounce,
    "grow": _grow,
    "multiply": _multiply,
    "flash": _flash,
    "streak": _streak,
}
