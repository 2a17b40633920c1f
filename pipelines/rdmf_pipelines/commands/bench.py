"""`rdmf bench`: what takes how long here, side by side, and beside an earlier run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rdmf_pipelines.benching.plan import Group
    from rdmf_pipelines.benching.sheet import Sheet


def bench(
    only: Annotated[list[str] | None, typer.Option(help="Measure only this group (see --list); repeatable.")] = None,
    features: Annotated[
        Path | None, typer.Option(help="A feature cache of your own to measure on; default: one is made up.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model, in the groups that compare models; repeatable.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file, after every group.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Figures of an earlier run (its --json), to compare with.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny sizes: whether everything works, in a minute; not how fast it is.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    seconds: Annotated[
        float, typer.Option(min=0.0, help="Time for each way of each thing; everything has five turns at least.")
    ] = 0.2,
    memory: Annotated[
        float, typer.Option(min=0.1, help="GB that one prediction may take; a longer one is shown as needing more.")
    ] = 8.0,
    page: Annotated[
        Path | None, typer.Option(help="Write the figures as a Markdown page with the aims and a picture.")
    ] = None,
    from_: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Measure nothing: show, or write with --page, figures kept earlier; repeatable."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say which groups there are, and measure nothing.")] = False,
) -> int:
    """Measure, side by side in one run: reading a cache, the kernels, the matcher, training steps, evaluation, length.

    Medians and spread; each way of a thing is first seen to give the result of the others. Being slower than before is
    no failure: the exit code stays 0. Ctrl-C keeps what was measured.
    """
    from rdmf.evaluation.records import refuse_unwritable
    from rdmf.store.errors import InputError
    from rdmf_pipelines.benching.plan import GROUPS, chosen
    from rdmf_pipelines.pages import refuse_bare

    if list_:
        width = max(map(len, GROUPS))
        print("\n".join(f"{name:<{width}}  {group.about}" for name, group in GROUPS.items()))
        return 0
    before = _earlier(against)
    if page is not None and page.is_dir():
        raise InputError(f"--page {page}: is a folder; name the file to write, e.g. {page / 'performance.md'}")
    if page is not None:  # said before anything is measured
        refuse_bare(page, "--page")
        refuse_unwritable(page)
    if from_:
        _refuse_measuring(only, features, model, json, quick=quick)
        return _show_kept(from_, before, page)
    groups = chosen(only or [])
    _check_target(json)
    sheet, code = _measure(
        groups, features, model or [], json, quick=quick, device=device, seconds=seconds, memory=memory
    )
    _print(sheet, before)
    if page is not None and sheet.entries:
        _write_page(page, {json.as_posix() if json is not None else "performance.json": sheet})
    return code


def _earlier(against: Path | None) -> Sheet | None:
    from rdmf_pipelines.benching.sheet import load

    return load(against) if against is not None else None


def _refuse_measuring(
    only: list[str] | None, features: Path | None, model: list[str] | None, json: Path | None, *, quick: bool
) -> None:
    from rdmf.store.errors import InputError

    given = {"--only": only, "--features": features, "--model": model, "--json": json, "--quick": quick}
    extra = [name for name, value in given.items() if value]
    if extra:
        raise InputError(f"--from shows figures kept earlier and measures nothing; leave out {', '.join(extra)}")


def _show_kept(paths: list[Path], before: Sheet | None, page: Path | None) -> int:
    from rdmf_pipelines.benching.sheet import load

    sheets = {path.as_posix(): load(path) for path in paths}
    if page is None or before is not None:
        for sheet in sheets.values():
            _print(sheet, before)
    if page is not None:
        _write_page(page, sheets)
    return 0


def _write_page(page: Path, sheets: dict[str, Sheet]) -> None:
    from rdmf_pipelines.benching.document import write

    print("written: " + ", ".join(str(path) for path in write(page, sheets)))


def _check_target(json: Path | None) -> None:
    """Refuse a place that cannot be written to before anything is measured, not after."""
    import os

    from rdmf.store.errors import InputError

    if json is None:
        return
    if json.is_dir():
        raise InputError(f"--json {json}: is a folder; name the file to write, e.g. {json / 'performance.json'}")
    json.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(json.parent, os.W_OK):
        raise InputError(f"--json {json}: cannot write into {json.parent}; name another place")


def _measure(
    groups: dict[str, Group],
    features: Path | None,
    models: list[str],
    json: Path | None,
    *,
    quick: bool,
    device: str,
    seconds: float,
    memory: float,
) -> tuple[Sheet, int]:
    """The sheet, and the exit code: 0, 1 where ways of a thing disagree, 130 where it was interrupted."""
    import tempfile

    from rdmf.model.build import MODELS
    from rdmf.run import pick_device
    from rdmf.store import open_cache
    from rdmf_pipelines.benching.aims import TINY_SIZES
    from rdmf_pipelines.benching.bench import Bench, DisagreementError
    from rdmf_pipelines.benching.plan import refuse_unknown
    from rdmf_pipelines.benching.sheet import Sheet, machine, typed

    refuse_unknown("--model", "model", models, MODELS)
    if features is not None:
        with open_cache(features):
            pass
    where = pick_device(device)
    sheet = Sheet(typed("bench"), {**machine(str(where)), **({TINY_SIZES: "tiny (--quick)"} if quick else {})})
    code = 0
    with tempfile.TemporaryDirectory(prefix="rdmf-bench-") as folder:
        bench = Bench(
            sheet,
            where,
            Path(folder),
            quick=quick,
            seconds=seconds,
            models=[name for name in MODELS if name in models or not models],
            features=features,
            tell=lambda said: print(f"  {said}", file=sys.stderr, flush=True),
            memory_gb=memory,
        )
        try:
            with _ended_like_interrupted():
                for group in groups.values():
                    try:
                        group.measure(bench)
                    finally:
                        if json is not None:
                            sheet.save(json)
        except KeyboardInterrupt:
            print(f"interrupted; {len(sheet.entries)} figures measured", file=sys.stderr)
            code = 130
        except DisagreementError as error:
            print(f"error: {error}", file=sys.stderr)
            code = 1
    return sheet, code


@contextmanager
def _ended_like_interrupted() -> Iterator[None]:
    """What a scheduler sends before it kills ends the measurement as Ctrl-C does."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(sheet: Sheet, before: Sheet | None) -> None:
    """The tables, then what is aimed at."""
    from rdmf_pipelines.benching.aims import reached
    from rdmf_pipelines.benching.show import terminal

    print(terminal(sheet, before))
    aims = [f"{group}: {said.replace('**', '')}" for group, every in reached(sheet).items() for said in every]
    if aims:
        print("\n" + "\n".join(aims))
