"""Decoding of many videos at once, ahead of the encoder but never far ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rdmf_extract.decode.events import DecodeError, Finished, Frame, Restart
from rdmf_extract.decode.worker import DecoderProcess
from rdmf_extract.sampling import Sampling
from rdmf_extract.windows import RowBuilder


@dataclass(frozen=True)
class Row:
    """Row `index` of a video: (T, H, W, 3) uint8 frames."""

    vid: str
    index: int
    frames: NDArray[np.uint8]


@dataclass(frozen=True)
class Again:
    """Forget the rows of this video so far; it is decoded from its start again.

    Attributes:
        takeover: PyAV does so in place of Decord.
    """

    vid: str
    reason: str
    takeover: bool


@dataclass(frozen=True)
class Decoded:
    """All rows of this video have been given."""

    vid: str
    rows: int
    end: Finished


@dataclass(frozen=True)
class Undecodable:
    """This video gives nothing, for `reason`; see `DecodeError` for `passing`."""

    vid: str
    reason: str
    passing: bool = False


Item = Row | Again | Decoded | Undecodable
CHANGED = "the file changed while it was read"
READINGS = 3


def rows_of(process: DecoderProcess, vid: str, path: Path, sampling: Sampling, policy: str) -> Iterator[Item]:
    """The items of one video, ending with `Decoded` or `Undecodable`.

    A file that is replaced, cut or still being written while it is read is read again, so that no video is put together
    from two.
    """
    for _ in range(READINGS):
        before = _identity(path)
        outcome = yield from _reading(process, vid, path, sampling, policy)
        if _identity(path) == before:
            yield outcome
            return
        yield Again(vid, CHANGED, takeover=False)
    yield Undecodable(vid, f"{CHANGED}, {READINGS} times over", passing=True)


def _reading(
    process: DecoderProcess, vid: str, path: Path, sampling: Sampling, policy: str
) -> Generator[Row | Again, None, Decoded | Undecodable]:
    """Decode a file once."""
    builder = RowBuilder(sampling)
    try:
        for event in process.events(path, policy):
            if isinstance(event, Frame):
                for index, frames in builder.push(event.seconds, event.image):
                    yield Row(vid, index, frames)
            elif isinstance(event, Restart):
                builder = RowBuilder(sampling)
                yield Again(vid, event.reason, event.takeover)
            else:
                for index, frames in builder.finish(event.duration):
                    yield Row(vid, index, frames)
                return Decoded(vid, builder.rows, event)
    except DecodeError as error:
        return Undecodable(vid, str(error), error.passing)
    raise AssertionError("a decoder's events end with Finished or an error")


def _identity(path: Path) -> tuple[str, int]:
    """`signature`, and which file it is: one put in its place may be of the same length and date."""
    try:
        return signature(path), path.stat().st_ino
    except OSError:
        return "absent", 0


def signature(path: Path) -> str:
    """What tells a file from a changed or replaced one without reading it; "absent" for none.

    Its length and time of change. Not its inode: that differs between machines and after a copy.
    """
    try:
        status = path.stat()
    except OSError:
        return "absent"
    return f"{status.st_size}:{status.st_mtime_ns}"


class DecodePool:
    """`workers` decoder processes, each with a thread here that puts its frames into rows.

    Iterating gives the items of all videos, those of one video in order, those of different videos mixed. At most
    `rows_ahead` items wait; then decoding pauses until the caller takes some.

    Args:
        next_job: gives (vid, path) of the video to start next, None where there is none; called from several threads.
        make_process: gives a worker its decoder process.
    """

    def __init__(
        self,
        next_job: Callable[[], tuple[str, Path] | None],
        sampling: Sampling,
        *,
        policy: str,
        workers: int,
        rows_ahead: int,
        make_process: Callable[[], DecoderProcess],
    ) -> None:
        self._next_job, self._make_process = next_job, make_process
        self._sampling, self._policy = sampling, policy
        self._items: queue.Queue[Item | BaseException | None] = queue.Queue(maxsize=max(2, rows_ahead))
        self._stop = threading.Event()
        self._processes: list[DecoderProcess] = []
        self._threads = [
            threading.Thread(target=self._work, name=f"decoder-{i}", daemon=True) for i in range(max(1, workers))
        ]

    def __enter__(self) -> DecodePool:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop decoding now; processes are killed."""
        self._stop.set()
        while any(thread.is_alive() for thread in self._threads):
            for process in list(self._processes):
                process.interrupt()  # a thread may be waiting for a decoder that says nothing
            for thread in self._threads:
                thread.join(timeout=0.05)

    def __iter__(self) -> Iterator[Item]:
        running = len(self._threads)
        while running:
            item = self._items.get()
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item

    def _work(self) -> None:
        try:
            with self._make_process() as process:
                self._processes.append(process)
                while not self._stop.is_set():
                    job = self._next_job()
                    if job is None:
                        break
                    for item in rows_of(process, *job, self._sampling, self._policy):
                        if not self._put(item):
                            return
            self._put(None)
        except BaseException as error:  # a bug in a thread must end the run, not vanish with the thread
            self._put(error)

    def _put(self, item: Item | BaseException | None) -> bool:
        """Wait for room; False where the pool is stopping."""
        while not self._stop.is_set():
            try:
                self._items.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False
