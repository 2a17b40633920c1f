"""`rdmf demo`: the whole way once, on videos drawn here, with nothing downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

SHOWN = ("R1@0.5", "R1@0.7", "mIoU", "saliency mAP")
ENOUGH = 100
"""Videos below which the training has too few examples for its numbers to mean much."""

NAMES = {
    "query-blind oracle": "best query-blind guess on this split",
    "query-blind": "query-blind guess, chosen in training",
    "text-only": "text-only guess, chosen in training",
}


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything; run again with the same one to go on.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the videos and of the training.")] = 0,
    videos: Annotated[int, typer.Option(min=8, help="How many videos; three quarters of them to learn from.")] = 160,
) -> None:
    """Render videos, extract, train, evaluate, predict, and write a report.

    Known things happen in the videos at known times, and some combinations of colour, shape and place occur only in the
    held-out ones. The default takes about five minutes on two cores.
    """
    import sys
    import time

    from rdmf_pipelines.demo import steps

    started = time.monotonic()
    steps.require_packages()
    place = steps.Place(out)
    if steps.claim(place, seed=seed, videos=videos):
        print(f"going on in {out}: what is done is kept")
    try:
        steps.draw(place, seed=seed, videos=videos)
        steps.extract(place)
        steps.learn(place, seed=seed)
        metrics = steps.evaluate(place)
        _, command = steps.predict_and_report(place)
    except KeyboardInterrupt:
        print(f"interrupted; what is done is kept in {out}: the same command goes on from there", file=sys.stderr)
        raise
    print()
    _show(metrics)
    if videos < ENOUGH:
        print(f"  {videos} videos teach little: this shows that everything runs, not what the model can do")
    print(
        f"\ntotal: {time.monotonic() - started:.0f} s. Look at {place.report}, and try the model yourself:\n  {command}"
    )


def _show(metrics: dict[str, Any]) -> None:
    """Held-out metrics in percent, beside guesses that never see the video."""
    print(f"{metrics['queries'] + metrics['queries_without_video']} held-out queries, percent")
    width = max(map(len, NAMES.values()))
    print(f"  {'':{width}}" + "".join(f"{name:>14}" for name in SHOWN))
    rows = {
        "rdmf": metrics["metrics"],
        **{NAMES[k]: metrics["baselines"][k] for k in NAMES if k in metrics["baselines"]},
    }
    for name, values in rows.items():
        print(f"  {name:{width}}" + "".join(f"{values.get(column, float('nan')):>14.1f}" for column in SHOWN))
    new = {kind: row for kind, row in metrics["by_type"].items() if kind.endswith("(new)")}
    count = sum(int(row["queries"]) for row in new.values())
    if count:
        share = sum(row["queries"] * row["R1@0.5"] for row in new.values()) / count
        print(f"  of these, {count} ask for compositions that no training video shows: R1@0.5 {share:.1f}")
