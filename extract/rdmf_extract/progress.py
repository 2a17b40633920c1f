"""How far an extraction is: numbers for anyone who listens, and a display for people."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

LINE_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class ProgressState:
    """A moment of an extraction.

    Attributes:
        stage: "sentences", "videos" or "writing".
        done: items of this stage finished so far, failures included.
        total: items that this stage has to do.
        failures: videos that failed in this run.
        rows: feature rows made in this run.
        rows_per_second: over the whole stage.
        seconds_left: estimate for this stage; None while nothing is known.
        note: a line worth showing, e.g. a video's reason for failing; "" for none.
    """

    stage: str
    done: int
    total: int
    failures: int = 0
    rows: int = 0
    rows_per_second: float = 0.0
    seconds_left: float | None = None
    note: str = ""


class ProgressCallback(Protocol):
    """Called often and from the caller's thread; must return at once."""

    def __call__(self, state: ProgressState) -> None: ...


class ProgressDisplay:
    """A live bar on a terminal; off a terminal, one line now and then, so that logs stay readable.

    Use it as a context manager and hand it over as `progress`:

        with ProgressDisplay() as progress:
            extract(..., progress=progress)
    """

    def __init__(self, console: Console | None = None, *, line_every_seconds: float = LINE_EVERY_SECONDS) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True)
        self._every = line_every_seconds
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._last_line = time.monotonic()

    def __call__(self, state: ProgressState) -> None:
        if state.note:
            self._console.print(state.note, style="yellow", markup=False, highlight=False, soft_wrap=True)
        if self._bar is not None:
            self._show(self._bar, state)
        elif time.monotonic() - self._last_line >= self._every:
            self._last_line = time.monotonic()
            self._console.print(_line(state), markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> ProgressDisplay:
        if self._console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}"),
                console=self._console,
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self, bar: Progress, state: ProgressState) -> None:
        if self._task is None or state.stage != self._stage:
            if self._task is not None:
                bar.remove_task(self._task)
            self._task = bar.add_task(state.stage, total=state.total, detail="")
            self._stage = state.stage
        bar.update(self._task, completed=state.done, total=state.total, detail=_detail(state))


def _line(state: ProgressState) -> str:
    detail = _detail(state)
    return f"{state.stage}: {state.done} of {state.total}" + (f", {detail}" if detail else "")


def _detail(state: ProgressState) -> str:
    parts = []
    if state.rows:
        parts.append(f"{state.rows_per_second:.1f} rows/s")
    if state.failures:
        parts.append(f"{state.failures} failed")
    if state.seconds_left is not None:
        parts.append(f"{clock(state.seconds_left)} left")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """A duration for people: "42 s", "3:05", "1:02:03"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
