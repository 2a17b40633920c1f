"""What can happen in a demo video, and the sentences that describe it.

A happening is one of three kinds:

- *action*: a coloured shape does something, e.g. a red circle bounces (colour x shape x action);
- *caption*: a coloured banner with writing on it is shown (colour x place);
- *scene*: the whole picture changes, e.g. night falls.

Some compositions are kept out of the training videos altogether: every colour, shape and place is learnt, but not those
pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 28, 36),
    "blue": (32, 66, 226),
    "green": (24, 178, 58),
    "yellow": (246, 222, 30),
    "purple": (168, 44, 214),
}
SHAPES = ("circle", "square", "triangle", "star")
ACTIONS = ("bounce", "grow", "multiply", "flash", "streak")
PLACES = ("top", "bottom")
SCENES = ("night", "rain", "snow", "fog", "monochrome", "fire", "flood", "shake", "zoom")

HELD_OUT_OBJECTS = frozenset({("red", "star"), ("blue", "circle"), ("green", "square"), ("yellow", "triangle")})
"""(colour, shape) pairs that no training video shows, neither as the answer to a query nor beside it."""

HELD_OUT_CAPTIONS = frozenset({("yellow", "top"), ("blue", "bottom")})
"""(colour, place) pairs of captions that no training video shows."""

SHAPE_WORDS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "ball", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
}

ACTION_PHRASES: dict[str, tuple[str, ...]] = {
    "bounce": (
        "a {colour} {shape} bounces on the ground",
        "a {colour} {shape} is bouncing up and down",
        "the bouncing {shape} is {colour}",
        "something {colour}, a {shape}, keeps bouncing",
    ),
    "grow": (
        "a {colour} {shape} grows until it is huge",
        "a {colour} {shape} gets bigger and bigger",
        "the {shape} that grows is {colour}",
        "a small {colour} {shape} swells up",
    ),
    "multiply": (
        "a {colour} {shape} turns into many",
        "there are lots of {colour} {shape}s",
        "one {colour} {shape} multiplies into a swarm",
        "many copies of a {colour} {shape} appear",
    ),
    "flash": (
        "a {colour} {shape} flashes",
        "a {colour} {shape} gives off rays of light",
        "a shining {colour} {shape} blinks on and off",
        "bright light flashes around a {colour} {shape}",
    ),
    "streak": (
        "a {colour} {shape} races along and leaves a trail",
        "a {colour} {shape} leaves a trail behind it",
        "a fast {colour} {shape} draws a streak",
        "the {shape} leaving a streak behind is {colour}",
    ),
}

CAPTION_PHRASES = (
    "a {colour} caption is shown at the {place}",
    "a {colour} banner with writing appears at the {place} of the picture",
    "there is text on a {colour} strip at the {place}",
    "words on {colour} at the {place} of the screen",
)

SCENE_PHRASES: dict[str, tuple[str, ...]] = {
    "night": ("day turns to night", "it gets dark and stars come out", "night falls", "a dark sky with stars"),
    "rain": ("it is raining", "rain pours down", "a heavy shower of rain", "raindrops fall over the scene"),
    "snow": ("it is snowing", "snow falls", "white snowflakes drift down", "a snow shower"),
    "fog": ("fog rolls in", "everything disappears in thick fog", "it gets foggy", "mist covers the scene"),
    "monochrome": (
        "the picture loses its colours",
        "the video turns black and white",
        "everything is in shades of grey",
        "the colours fade to monochrome",
    ),
    "fire": ("flames burn along the ground", "a fire breaks out", "the ground is on fire", "fire and flames"),
    "flood": (
        "water rises over the ground",
        "the scene is flooded",
        "a flood comes up",
        "blue water fills the lower half",
    ),
    "shake": (
        "the camera shakes",
        "the picture is shaken and blurred",
        "a shaky camera",
        "an earthquake jolts the camera",
    ),
    "zoom": (
        "the camera zooms in close",
        "the view zooms in",
        "a close-up of the background",
        "the camera moves up very close",
    ),
}


@dataclass(frozen=True)
class Subject:
    """What happens, without when: `kind` is action, caption or scene; the fields that do not apply are "".

    Attributes:
        kind: "action", "caption" or "scene".
        what: the action's or scene's name; "caption" for captions.
        colour: of the shape or of the caption's banner.
        shape: of an action's object.
        place: of a caption.
    """

    kind: str
    what: str
    colour: str = ""
    shape: str = ""
    place: str = ""

    @property
    def held_out(self) -> bool:
        """True where the composition must not occur in training videos."""
        return (self.colour, self.shape) in HELD_OUT_OBJECTS or (self.colour, self.place) in HELD_OUT_CAPTIONS


def phrasings(subject: Subject) -> list[str]:
    """Every sentence that may ask for `subject`: each template with each word for the shape."""
    if subject.kind == "scene":
        return list(SCENE_PHRASES[subject.what])
    if subject.kind == "caption":
        return [p.format(colour=subject.colour, place=subject.place) for p in CAPTION_PHRASES]
    words = SHAPE_WORDS[subject.shape]
    templates = ACTION_PHRASES[subject.what]
    return [_plural(t.format(colour=subject.colour, shape=word)) for t in templates for word in words]


def say(subject: Subject, n: int, rng: np.random.Generator) -> list[str]:
    """`n` different phrasings of `subject` in random order (fewer where there are fewer)."""
    all_of_them = phrasings(subject)
    return [all_of_them[i] for i in rng.permutation(len(all_of_them))[:n]]


def all_subjects(kind: str) -> list[Subject]:
    """Every subject of one kind, held-out compositions included."""
    if kind == "action":
        return [Subject("action", a, colour=c, shape=s) for a in ACTIONS for c in COLOURS for s in SHAPES]
    if kind == "caption":
        return [Subject("caption", "caption", colour=c, place=p) for c in COLOURS for p in PLACES]
    return [Subject("scene", s) for s in SCENES]


def _plural(sentence: str) -> str:
    return sentence.replace("boxs", "boxes")
