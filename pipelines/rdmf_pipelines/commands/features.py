"""`rdmf features info` and `rdmf features verify`: what is in a cache, and whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_LISTED = 10


def info(
    path: Annotated[Path, typer.Argument(help="A feature cache (.h5), or an index over parts.")],
    json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Say what is in a feature cache: videos, rows, seconds a row, splits, coverage, provenance, failures."""
    from rdmf.store import describe

    facts = describe(path)
    if json:
        _print_json(facts)
        return
    for line in _lines(facts):
        typer.echo(line)


def verify(
    path: Annotated[Path, typer.Argument(help="A feature cache (.h5), or an index over parts.")],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that read and hash at once. Default: one a core, 16 at most.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False,
) -> None:
    """Read a whole feature cache and list what is damaged, by video. Exit code 0: nothing; 1: something, listed."""
    from rdmf.store import verify as find_problems

    problems = find_problems(path, workers=workers)
    if json:
        listed = [{"where": problem.where, "what": problem.what} for problem in problems]
        _print_json({"path": str(path), "ok": not problems, "problems": listed})
    else:
        for problem in problems:
            typer.echo(str(problem))
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        typer.echo(f"{path}: {count} found" if problems else f"{path}: every checksum matches")
    if problems:
        raise typer.Exit(1)


def _print_json(value: Any) -> None:
    from json import dumps

    typer.echo(dumps(value, indent=2, allow_nan=False))


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    video, text, queries = facts["video"], facts["text"], facts["queries"]
    parts = f" over {len(facts['parts'])} parts" if facts["kind"] == "index" else ""
    yield f"{facts['path']}: {facts['kind']}{parts}, {facts['bytes'] / 1e6:,.1f} MB, schema {facts['schema']}"
    yield f"  made         {facts['created']} by {facts['writer']}, fingerprint {facts['fingerprint']}"
    yield (
        f"  video        {video['videos']:,} videos, {video['rows']:,} rows x {video['dim']} {facts['feature_dtype']}, "
        f"{video['seconds'] / 3600:,.2f} hours"
    )
    yield (
        f"  timeline     one row every {_seconds(video['step_seconds'])}, "
        f"each over {_seconds(video['window_seconds'])} (medians)"
    )
    decoders = ", ".join(f"{name or 'unknown'} ({count:,})" for name, count in video["decoders"].items())
    yield f"  decoded by   {decoders or 'nothing'}"
    yield f"  text         {text['sentences']:,} sentences, {text['tokens']:,} tokens x {text['dim']}"
    yield f"  queries      {queries['queries']:,}, {queries['windows']:,} windows, {queries['annotators']} annotators"
    for name, split in queries["splits"].items():
        yield f"    {name:<10} {split['queries']:,} queries on {split['videos']:,} videos{_gap(split)}"
    for stream in ("video", "text"):
        settings = ", ".join(f"{key}={_short(value)}" for key, value in facts["provenance"][stream].items())
        yield f"  {stream} by".ljust(15) + (settings or "(nothing recorded)")
    for key, value in facts["notes"].items():
        yield f"  {key}".ljust(15) + _short(value, 200)
    yield from _listing("missing", facts["missing_videos"], "queried videos have no features")
    failures = [f"{failure['vid']}: {failure['reason']}" for failure in facts["failures"]]
    yield from _listing("failed", failures, "videos could not be extracted")


def _listing(label: str, items: list[str], meaning: str) -> Iterator[str]:
    if not items:
        return
    yield f"  {label:<12} {len(items):,} {meaning}:"
    for item in items[:_MOST_LISTED]:
        yield f"    {item}"
    if len(items) > _MOST_LISTED:
        yield f"    ... and {len(items) - _MOST_LISTED:,} more (--json lists all)"


def _gap(split: dict[str, Any]) -> str:
    missing = split["queries_without_video"]
    return f"; {missing:,} queries without features of their video" if missing else ""


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f} s"


def _short(value: Any, most: int = 40) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
