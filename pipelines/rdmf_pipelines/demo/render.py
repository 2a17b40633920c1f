"""Draws planned videos frame by frame and writes them as H.264, in a few processes; keeps what is already there."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf.store.cores import usable_cores
from rdmf_pipelines.demo import backgrounds, objects, weather
from rdmf_pipelines.demo.scenes import FPS, VideoPlan

DRAWING_VERSION = 1
"""Raised when the same plan would be drawn differently, so that videos of an older rdmf are drawn again."""

_MANIFEST = "rendered.json"


def frames(plan: VideoPlan) -> Iterator[NDArray[np.uint8]]:
    """The video's frames, (height, width, 3) uint8 RGB; frame i is shown during [i, i + 1) / `FPS` seconds."""
    rng = np.random.default_rng(plan.seed)
    camera = backgrounds.Camera(plan.camera, plan.height, plan.width, plan.duration, rng)
    texture = backgrounds.texture(plan.background, camera.side, rng)
    grain = rng.standard_normal((4, plan.height, plan.width, 3)).astype(np.float32) * np.float32(plan.noise)
    for number in range(round(plan.duration * FPS)):
        seconds = number / FPS
        picture = _compose(plan, camera, texture, seconds)
        # Sensor noise: a few fields, shifted anew for every frame, look as good as fresh ones and are far cheaper.
        shift = tuple(int(n) for n in rng.integers(0, plan.height, 2))
        picture = picture + np.roll(grain[number % len(grain)], shift, axis=(0, 1))
        yield np.clip(picture, 0, 255).astype(np.uint8)


def _compose(plan: VideoPlan, camera: backgrounds.Camera, texture: backgrounds.Picture, seconds: float) -> Any:
    """The noiseless picture at an instant, (height, width, 3) float32: background, objects, weather, captions."""
    # Windows lie on the frame grid, as the same quotients: comparing floats is exact here.
    now = [e for e in plan.events if e.start <= seconds < e.end]
    changes = [e for e in now if e.subject.kind != "action"]
    closeness = max((weather.strength(e, seconds) for e in changes if e.subject.what == "zoom"), default=0.0)
    picture = camera.view(texture, seconds, closeness)
    for event in changes:
        if event.subject.what in weather.BEHIND_OBJECTS:
            picture = weather.draw_scene(picture, event, seconds)
    for event in now:
        if event.subject.kind == "action":
            objects.draw_action(picture, event, seconds)
    for event in changes:
        if event.subject.what not in (*weather.BEHIND_OBJECTS, "zoom"):
            picture = weather.draw_scene(picture, event, seconds)
    return picture


def render(plan: VideoPlan, path: Path) -> Path:
    """Write one video; the file is whole or absent. The same plan and FFmpeg version give the same bytes."""
    import av

    partial = path.with_name(path.name + ".partial")
    with av.open(str(partial), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = plan.width, plan.height, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "25", "g": "20", "threads": "1"}
        for picture in frames(plan):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    partial.replace(path)
    return path


def render_all(
    plans: Sequence[VideoPlan],
    folder: Path,
    *,
    workers: int = 2,
    on_done: Callable[[int], None] | None = None,
) -> tuple[dict[str, Path], int]:
    """Write every planned video that `folder` does not hold yet.

    Args:
        plans: what to draw.
        folder: made if absent; a file in it keeps which plan each video was drawn from.
        workers: processes.
        on_done: called with the number of videos written so far.

    Returns:
        path by video name, and how many videos were drawn now (the others were there already).
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest_path = folder / _MANIFEST
    drawn = _read_manifest(manifest_path)
    paths = {plan.vid: folder / f"{plan.vid}.mp4" for plan in plans}
    wanted = {plan.vid: _digest(plan) for plan in plans}
    missing = [p for p in plans if drawn.get(p.vid) != wanted[p.vid] or not paths[p.vid].exists()]
    if not missing:
        return paths, 0
    jobs = [(plan, paths[plan.vid]) for plan in missing]
    # Spawned, not forked: the parent may hold FFmpeg's and torch's threads. An executor, not a Pool: where a child
    # cannot even start, a Pool starts another one for ever.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        try:
            for count, done in enumerate(as_completed([pool.submit(_render_job, job) for job in jobs]), start=1):
                drawn[done.result()] = wanted[done.result()]
                if on_done is not None:
                    on_done(count)
        finally:
            # After Ctrl-C or an error: nothing new is begun, and what is done is remembered.
            pool.shutdown(wait=True, cancel_futures=True)
            _write_manifest(manifest_path, drawn)
    return paths, len(missing)


def default_workers() -> int:
    """As many processes as there are cores to run on, at most eight."""
    return max(1, min(8, usable_cores()))


def _render_job(job: tuple[VideoPlan, Path]) -> str:
    plan, path = job
    render(plan, path)
    return plan.vid


def _read_manifest(path: Path) -> dict[str, str]:
    """Digest by video name; empty where there is none or it cannot be read, so that all is drawn again."""
    try:
        drawn = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return drawn if isinstance(drawn, dict) else {}


def _write_manifest(path: Path, drawn: dict[str, str]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(drawn, indent=0, sort_keys=True), encoding="utf-8")
    partial.replace(path)


def _digest(plan: VideoPlan) -> str:
    text = json.dumps([DRAWING_VERSION, FPS, dataclasses.asdict(plan)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
