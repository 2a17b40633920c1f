"""The demo's videos: plans are what they promise, and the pixels show what the plans say, when they say it."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rdmf.evaluation import moment_metrics, query_blind_oracle
from rdmf.store import InputError
from rdmf_pipelines.demo import vocabulary
from rdmf_pipelines.demo.render import frames, render, render_all
from rdmf_pipelines.demo.scenes import BACKGROUNDS, CAMERAS, FPS, Event, VideoPlan, plan_videos, query_rows
from rdmf_pipelines.demo.vocabulary import COLOURS, Subject, all_subjects, phrasings

PLANS = plan_videos(seed=3, n_train=120, n_test=40)
SUBJECTS = [s for kind in ("action", "caption", "scene") for s in all_subjects(kind)]


def plan_with(*events: Event, duration: float = 2.0, **changes: object) -> VideoPlan:
    """A short, still, noiseless video."""
    plan = VideoPlan("v", "train", duration, 96, 128, "clouds", "still", 0.0, 5, events)
    return dataclasses.replace(plan, **changes)  # type: ignore[arg-type]


def decoded(path: Path) -> NDArray[np.uint8]:
    import av

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_equal_arguments_give_equal_plans_and_other_seeds_other_ones() -> None:
    assert plan_videos(seed=3, n_train=5, n_test=2) == plan_videos(seed=3, n_train=5, n_test=2)
    assert plan_videos(seed=3, n_train=5, n_test=2) != plan_videos(seed=4, n_train=5, n_test=2)


def test_more_videos_leave_the_others_as_they_were() -> None:
    few = {p.vid: p for p in plan_videos(seed=3, n_train=4, n_test=3)}
    many = {p.vid: p for p in PLANS}
    assert all(many[vid] == plan for vid, plan in few.items())


def test_no_training_video_shows_a_held_out_composition_and_test_videos_do() -> None:
    shown = Counter((plan.split, event.subject.held_out) for plan in PLANS for event in plan.events)
    assert shown["train", True] == 0
    assert shown["test", True] > 40


def test_every_word_of_a_held_out_composition_is_learnt_in_other_company() -> None:
    learnt = [e.subject for p in PLANS if p.split == "train" for e in p.events]
    for colour, shape in vocabulary.HELD_OUT_OBJECTS:
        assert sum(s.colour == colour and s.kind == "action" for s in learnt) > 10
        assert sum(s.shape == shape for s in learnt) > 10
    for colour, place in vocabulary.HELD_OUT_CAPTIONS:
        assert any(s.colour == colour and s.kind == "caption" for s in learnt)
        assert any(s.place == place for s in learnt)


def test_all_kinds_of_events_backgrounds_and_cameras_occur() -> None:
    names = {e.subject.what for p in PLANS for e in p.events}
    assert names == {*vocabulary.ACTIONS, *vocabulary.SCENES, "caption"}
    assert {p.background for p in PLANS} == set(BACKGROUNDS)
    assert {p.camera for p in PLANS} == set(CAMERAS)


def test_events_lie_on_the_frame_grid_inside_the_video_and_tracks_do_not_overlap_themselves() -> None:
    for plan in PLANS:
        for actions in (True, False):
            track = [e for e in plan.events if (e.subject.kind == "action") == actions]
            assert track, plan.vid
            for event in track:
                assert 0 <= event.start < event.end <= plan.duration
                assert event.start * FPS == pytest.approx(round(event.start * FPS))
            for before, after in itertools.pairwise(track):
                assert before.end < after.start


def test_no_object_acts_while_the_picture_is_without_colours() -> None:
    for plan in PLANS:
        for grey in (e for e in plan.events if e.subject.what == "monochrome"):
            assert not any(
                e.subject.kind == "action" and e.start < grey.end and grey.start < e.end for e in plan.events
            )


def test_videos_hold_several_events_and_rivals_that_differ_in_one_word() -> None:
    assert min(len(p.subjects()) for p in PLANS) >= 2
    rivals = 0
    for plan in PLANS:
        actions = [s for s in plan.subjects() if s.kind == "action"]
        rivals += any(
            (a.colour == b.colour) + (a.shape == b.shape) + (a.what == b.what) == 2 for a in actions for b in actions
        )
    assert rivals > len(PLANS) / 3


def test_no_sentence_asks_for_two_things() -> None:
    owners: dict[str, Subject] = {}
    for subject in SUBJECTS:
        sentences = phrasings(subject)
        assert len(set(sentences)) == len(sentences) >= 4
        for sentence in sentences:
            assert owners.setdefault(sentence, subject) == subject


def test_query_rows_tell_when_and_what() -> None:
    rows = query_rows(PLANS, seed=3)
    assert [row["qid"] for row in rows] == list(range(len(rows)))
    by_video = {p.vid: p for p in PLANS}
    phrased = Counter((row["vid"], str(row["relevant_windows"])) for row in rows if row["split"] == "train")
    assert set(phrased.values()) == {3}
    for row in rows:
        plan = by_video[row["vid"]]
        (subject,) = [s for s in plan.subjects() if row["query"] in phrasings(s)]
        assert [tuple(w) for w in row["relevant_windows"]] == list(plan.windows(subject))
        assert row["type"].endswith("(new)") == subject.held_out
    assert any(len(row["relevant_windows"]) == 2 for row in rows)


def test_guessing_without_looking_hits_little() -> None:
    rows = [row for row in query_rows(PLANS, seed=3) if row["split"] == "test"]
    assert moment_metrics(query_blind_oracle(rows), rows)["R1@0.5"] < 27


def test_too_few_videos_are_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        plan_videos(seed=0, n_train=0, n_test=1)


@pytest.mark.parametrize(
    "subject", SUBJECTS[::7] + [s for s in SUBJECTS if s.kind == "scene"], ids=lambda s: f"{s.what}-{s.colour}"
)
def test_every_frame_of_the_window_shows_the_event_and_no_other_frame_does(subject: Subject) -> None:
    event = Event(subject, 0.6, 1.5, 11)
    changed = [
        bool((with_event != without).any())
        for with_event, without in zip(frames(plan_with(event)), frames(plan_with()), strict=True)
    ]
    assert changed == [0.6 <= n / FPS < 1.5 for n in range(20)]


@pytest.mark.parametrize("what", vocabulary.ACTIONS)
@pytest.mark.parametrize("colour", ["red", "green", "purple"])
def test_the_file_shows_the_colour_while_the_object_is_there(tmp_path: Path, what: str, colour: str) -> None:
    event = Event(Subject("action", what, colour=colour, shape="star"), 0.5, 1.5, 2)
    pictures = decoded(render(plan_with(event, background="gradient", noise=4.0), tmp_path / "v.mp4")).astype(float)
    away = np.abs(pictures - np.array(COLOURS[colour])).sum(axis=-1)  # (frames, H, W)
    share = (away < 120).mean(axis=(1, 2))
    inside = (np.arange(20) >= 5) & (np.arange(20) < 15)
    assert len(pictures) == 20
    assert share[~inside].max() < 0.0005
    assert share[inside].min() > 0.0015
    assert share[inside].mean() > 0.005


def test_night_is_dark_and_snow_is_bright(tmp_path: Path) -> None:
    def brightness(what: str) -> NDArray[np.float64]:
        plan = plan_with(Event(Subject("scene", what), 0.5, 1.5, 2))
        return np.asarray(decoded(render(plan, tmp_path / f"{what}.mp4")).mean(axis=(1, 2, 3)))

    night, snow = brightness("night"), brightness("snow")
    assert night[8:12].max() < 0.4 * night[:5].min()
    assert snow[8:12].min() > 1.03 * snow[:5].max()


def test_the_same_plan_gives_the_same_file(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLANS[0], duration=2.0)
    first, second = render(plan, tmp_path / "a.mp4"), render(plan, tmp_path / "b.mp4")
    assert first.read_bytes() == second.read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_render_all_draws_only_what_is_missing_or_was_planned_otherwise(tmp_path: Path) -> None:
    plans = [plan_with(vid=f"v{i}", duration=0.5, seed=i) for i in range(3)]
    paths, drawn = render_all(plans, tmp_path, workers=2)
    assert (sorted(paths), drawn) == (["v0", "v1", "v2"], 3)
    assert render_all(plans, tmp_path, workers=2) == (paths, 0)
    before = paths["v0"].read_bytes()
    paths["v1"].unlink()
    plans[2] = dataclasses.replace(plans[2], background="bricks")
    told: list[int] = []
    assert render_all(plans, tmp_path, workers=1, on_done=told.append)[1] == 2
    assert told == [1, 2]
    assert paths["v0"].read_bytes() == before
    assert paths["v1"].exists()
