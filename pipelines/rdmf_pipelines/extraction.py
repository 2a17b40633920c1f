"""What `rdmf extract` says before and after the work."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rdmf.store import Failure, open_cache
from rdmf_pipelines.datasets import DatasetPlan
from rdmf_pipelines.report import clock, print_failures, print_table

if TYPE_CHECKING:
    from rdmf_extract.pipeline import ExtractSummary
    from rdmf_extract.shards import Shard

RANDOM_WEIGHTS = "the video encoder ran on RANDOM WEIGHTS: these features exercise the pipeline and mean nothing"


def default_out(out: Path | None, plan: DatasetPlan) -> Path:
    """Where the cache goes: as asked, or features/NAME.h5."""
    return out if out is not None else Path("features", f"{plan.name}.h5")


def tell_plan(plan: DatasetPlan) -> None:
    """The dataset in one line, and what was odd about it. Standard error is left to what stops the work or warns."""
    splits = ", ".join(f"{count} {split}" for split, count in plan.splits().items())
    print(f"{plan.name}: {len(plan.videos)} videos, queries: {splits}", flush=True)
    for remark in plan.remarks:
        print(f"note: {remark}", flush=True)
    if plan.missing:
        print(f"note: {len(plan.missing)} annotated videos have no file; the others are extracted", flush=True)


def tell_shard(shard: Shard | None, plan: DatasetPlan) -> None:
    """Which share of the work this is, where it is not all of it, and who says so."""
    if shard is None:
        return
    from rdmf_extract.shards import costs, share
    from rdmf_extract.summary import annotated_durations

    vids = share(costs(plan.videos, annotated_durations(plan.queries)), shard)
    off = "" if shard.source == "--shard" else "; --shard none does all"
    print(f"shard {shard} by {shard.source}: {len(vids)} of {len(plan.videos)} videos{off}", flush=True)


@contextmanager
def loud_warnings() -> Iterator[None]:
    """Warnings about encoders (random weights above all) come out as lines that nobody overlooks."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            print(f"WARNING: {warning.message}", file=sys.stderr)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def report(summary: ExtractSummary) -> bool:
    """The table, then one line per video without features; returns whether there are any."""
    missing = [Failure(vid, "file not found") for vid in summary.missing]
    print_table("Extraction", _rows(summary) if summary.made else _rows_of_a_share(summary))
    print_failures([*summary.failures, *missing])
    if not summary.made and not summary.stopped:
        print(
            f"{summary.cache} is not made yet: other shards are at work, and whichever ends last makes it. If none is "
            "any more, run this again with --shard none: it does what is left and makes the cache."
        )
    if summary.stopped:
        print(f"stopped early: {summary.stopped}; what is done is kept, run again to go on", file=sys.stderr)
    return bool(summary.failures or missing or summary.stopped)


def _counts(summary: ExtractSummary) -> str:
    elsewhere = f"{summary.elsewhere} by other runs, " if summary.elsewhere else ""
    return (
        f"{summary.done} done, {summary.skipped} were there, {elsewhere}{len(summary.failures)} failed, "
        f"{len(summary.missing)} without a file"
    )


def _rows_of_a_share(summary: ExtractSummary) -> list[tuple[str, str]]:
    from rdmf_extract.sources import parts_folder

    return [
        ("videos", _counts(summary)),
        ("rows", f"{summary.rows} new"),
        ("time", clock(summary.seconds)),
        ("parts", str(parts_folder(summary.cache))),
    ]


def _rows(summary: ExtractSummary) -> list[tuple[str, str]]:
    with open_cache(summary.cache) as cache:
        rows = [
            ("videos", _counts(summary)),
            ("in the cache", f"{len(cache.vids)} videos, {clock(float(cache.durations.sum()))} of video"),
            ("rows", f"{cache.n_rows} of {cache.d_video} numbers, {summary.rows} of them new"),
            ("queries", ", ".join(f"{len(cache.select(split))} {split}" for split in cache.splits)),
            ("sentences", f"{len(cache.texts)} distinct, tokens of {cache.d_text} numbers"),
        ]
        damaged = int((cache.recovered < 1).sum())
        short = int(cache.padded.sum())
        fingerprint, random_weights = cache.fingerprint, bool(cache.provenance.video.get("random_weights"))
    if damaged:
        rows.append(("damaged", f"{damaged} videos gave only part of their frames (their share is in the cache)"))
    if short:
        rows.append(("short", f"{short} videos are shorter than a window, which was filled with repeated frames"))
    if summary.takeovers:
        vid, reason = summary.takeovers[0]
        rows.append(("PyAV took over", f"{len(summary.takeovers)} videos, e.g. '{vid}': {reason}"))
    if summary.duration_differences:
        rows.append(("durations", _durations(summary.duration_differences)))
    rows += [
        ("time", clock(summary.seconds)),
        ("cache", str(summary.cache)),
        ("fingerprint", fingerprint),
    ]
    if random_weights:
        rows.append(("WARNING", RANDOM_WEIGHTS))
    return rows


def _durations(differences: list[tuple[str, float, float]]) -> str:
    vid, annotated, measured = max(differences, key=lambda entry: abs(entry[1] - entry[2]))
    return (
        f"{len(differences)} videos are longer or shorter than annotated, most of all '{vid}': {measured:.1f} s "
        f"measured, {annotated:.1f} s annotated"
    )
