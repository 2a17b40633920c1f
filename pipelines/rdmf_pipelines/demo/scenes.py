"""Plans the demo's videos: what happens in each, when, over which background, under which camera. Pure data, no pixels.

Two tracks run in every video: objects that do things, one after another, and changes of the scene (or captions), which
may overlap the objects in time. Happenings of one video share colours, shapes and actions with each other, so that a
query is answered only by all of its words together; when and for how long each happens is random, so that no window
fits without looking.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rdmf.store.errors import InputError
from rdmf_pipelines.demo.vocabulary import Subject, all_subjects, say

BACKGROUNDS = ("gradient", "clouds", "bricks", "stripes", "grass", "pebbles")
CAMERAS = ("still", "pan", "sway", "creep")
SIZES = ((160, 208), (160, 160), (160, 192), (192, 160))  # height, width in pixels
FPS = 10
SHORTEST_PAUSE = 1.0  # seconds between happenings of one track
TRAIN, TEST = "train", "test"


@dataclass(frozen=True)
class Event:
    """`subject` happens during [start, end) seconds; `seed` decides how it looks (position, size, direction)."""

    subject: Subject
    start: float
    end: float
    seed: int


@dataclass(frozen=True)
class VideoPlan:
    """All that is needed to draw one video, and to know what it shows.

    Attributes:
        vid: name of the video and stem of its file.
        split: "train" or "test".
        duration: seconds, a whole number of frames at `FPS`.
        height, width: pixels, both even.
        background, camera: one of `BACKGROUNDS`, one of `CAMERAS`.
        noise: standard deviation of the sensor noise, in grey levels of 255.
        seed: of the background's texture and the camera's path.
        events: in order of start; events of one track do not overlap.
    """

    vid: str
    split: str
    duration: float
    height: int
    width: int
    background: str
    camera: str
    noise: float
    seed: int
    events: tuple[Event, ...]

    def windows(self, subject: Subject) -> tuple[tuple[float, float], ...]:
        """When `subject` happens: [(start, end), ...] seconds, in order."""
        return tuple((e.start, e.end) for e in self.events if e.subject == subject)

    def subjects(self) -> list[Subject]:
        """The different things that happen, in order of their first start."""
        return list(dict.fromkeys(e.subject for e in self.events))


def plan_videos(*, seed: int, n_train: int, n_test: int) -> list[VideoPlan]:
    """Plan `n_train` training and `n_test` held-out videos; equal arguments give equal plans.

    Held-out compositions occur in test videos only. Adding videos leaves the plans of the others as they were.

    Raises:
        InputError: fewer than one video in a split.
    """
    if n_train < 1 or n_test < 1:
        raise InputError(f"the demo needs at least one training and one test video, not {n_train} and {n_test}")
    plans = []
    for split_number, (split, count) in enumerate(((TRAIN, n_train), (TEST, n_test))):
        for i in range(count):
            rng = np.random.default_rng([seed, split_number, i])
            plans.append(_plan_one(f"{split}_{i:03d}", split, rng))
    return plans


def query_rows(plans: list[VideoPlan], *, seed: int) -> list[dict[str, Any]]:
    """The queries of `plans` in the QVHighlights JSON-lines form, with "split" and "type" besides.

    A training happening is asked for in three phrasings, a held-out one in one. "type" is the subject's kind, with
    " (new)" after it where the composition occurs in no training video.
    """
    rows: list[dict[str, Any]] = []
    for number, plan in enumerate(plans):
        rng = np.random.default_rng([seed, 7, number])
        for subject in plan.subjects():
            for text in say(subject, 3 if plan.split == TRAIN else 1, rng):
                rows.append(
                    {
                        "qid": len(rows),
                        "vid": plan.vid,
                        "query": text,
                        "duration": plan.duration,
                        "split": plan.split,
                        "type": subject.kind + (" (new)" if subject.held_out else ""),
                        "relevant_windows": [list(w) for w in plan.windows(subject)],
                    }
                )
    return rows


def write_plans(plans: list[VideoPlan], path: Path) -> None:
    """Write the plans as JSON lines: the ground truth of everything that the videos show."""
    text = "".join(json.dumps(dataclasses.asdict(plan)) + "\n" for plan in plans)
    path.write_text(text, encoding="utf-8")


def _plan_one(vid: str, split: str, rng: np.random.Generator) -> VideoPlan:
    duration = int(rng.integers(24 * FPS, 40 * FPS)) / FPS
    height, width = SIZES[rng.integers(len(SIZES))]
    actions = _action_track(duration, split, rng)
    scenes = _scene_track(duration, split, actions, rng)
    return VideoPlan(
        vid=vid,
        split=split,
        duration=duration,
        height=height,
        width=width,
        background=str(rng.choice(BACKGROUNDS)),
        camera=str(rng.choice(CAMERAS)),
        noise=float(np.round(rng.uniform(2, 9), 1)),
        seed=int(rng.integers(2**31)),
        events=tuple(sorted([*actions, *scenes], key=lambda e: e.start)),
    )


def _action_track(duration: float, split: str, rng: np.random.Generator) -> list[Event]:
    """Objects doing things, one after another: two to four of them, with pauses."""
    spans = _spans(duration, shortest=2.5, longest=9.0, fewest=2, most=4, rng=rng)
    events: list[Event] = []
    for start, end in spans:
        allowed = _allowed("action", split, rng)
        used = [e.subject for e in events]
        fresh = [s for s in allowed if s not in used]
        rivals = [s for s in fresh if any(_shared_words(s, u) == 2 for u in used)]
        # Half of the objects differ from an earlier one in a single word: only the whole sentence tells them apart.
        pool = rivals if rivals and rng.random() < 0.5 else fresh
        events.append(Event(pool[rng.integers(len(pool))], start, end, int(rng.integers(2**31))))
    return events


def _scene_track(duration: float, split: str, actions: list[Event], rng: np.random.Generator) -> list[Event]:
    """Changes of the scene and captions: one to three, sometimes the same one twice."""
    spans = _spans(duration, shortest=3.0, longest=12.0, fewest=1, most=3, rng=rng)
    events: list[Event] = []
    for start, end in spans:
        busy = any(a.start < end and start < a.end for a in actions)
        again = [e.subject for e in events if not (busy and e.subject.what == "monochrome")]
        if again and rng.random() < 0.2:
            subject = again[rng.integers(len(again))]
        else:
            pool = _allowed("scene" if rng.random() < 0.7 else "caption", split, rng)
            used = {e.subject for e in events}
            # Without colours nobody could say which object is the red one.
            pool = [s for s in pool if s not in used and not (busy and s.what == "monochrome")]
            subject = pool[rng.integers(len(pool))]
        events.append(Event(subject, start, end, int(rng.integers(2**31))))
    return events


def _allowed(kind: str, split: str, rng: np.random.Generator) -> list[Subject]:
    """Subjects of a kind that may occur in a split; half of a test video's choices are from the held-out ones alone."""
    subjects = all_subjects(kind)
    if split == TRAIN:
        return [s for s in subjects if not s.held_out]
    held_out = [s for s in subjects if s.held_out]
    return held_out if held_out and rng.random() < 0.5 else subjects


def _spans(
    duration: float, *, shortest: float, longest: float, fewest: int, most: int, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """`fewest` to `most` disjoint intervals of log-uniform lengths, in seconds on the frame grid, in random places."""
    count = int(rng.integers(fewest, most + 1))
    lengths = np.exp(rng.uniform(np.log(shortest), np.log(longest), count))
    while lengths.sum() + SHORTEST_PAUSE * len(lengths) > duration:
        lengths = lengths[:-1]
    free = duration - lengths.sum() - SHORTEST_PAUSE * len(lengths)
    # Cuts of the free time at uniform places: the pauses before each interval, and what remains at the end.
    cuts = np.sort(rng.uniform(0, free, len(lengths)))
    starts = cuts + np.concatenate([[0.0], np.cumsum(lengths[:-1] + SHORTEST_PAUSE)])
    return [(round(a * FPS) / FPS, round((a + n) * FPS) / FPS) for a, n in zip(starts, lengths)]


def _shared_words(a: Subject, b: Subject) -> int:
    return (a.colour == b.colour) + (a.shape == b.shape) + (a.what == b.what)
