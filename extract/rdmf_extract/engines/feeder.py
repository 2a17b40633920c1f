"""Batches to whichever encoder process is free, and their features back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence

from rdmf.store import InputError
from rdmf_extract.batches import Owner
from rdmf_extract.encoders.base import Features, Frames
from rdmf_extract.engines.encoder_process import EncoderFailedError, EncoderLostError, EncoderProcess

MOST_LOSSES = 3  # in a row, without a batch done between them; then a device is given up


class Feeder:
    """See `BatchEncoder`. A thread a process takes batches from one queue, so that a quicker device does more.

    A process that dies, hangs or raises is replaced and its batch done again; a device whose process is lost over and
    over is given up and the others go on.
    """

    def __init__(self, processes: Sequence[EncoderProcess]) -> None:
        self._processes = processes
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Frames, list[Owner]]] = deque()
        self._done: deque[tuple[list[Owner], Features]] = deque()
        self._notes: list[str] = []
        self._under_way, self._serving = 0, len(processes)
        self._trouble: BaseException | None = None
        self._ended = False
        self._threads = [
            threading.Thread(target=self._serve, args=(process,), name=f"encoder-{process.device}", daemon=True)
            for process in processes
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, frames: Frames, owners: list[Owner]) -> None:
        with self._changed:
            while len(self._waiting) >= len(self._processes) and self._serving:
                self._changed.wait()
            self._raise_trouble()
            self._waiting.append((frames.copy(), owners))
            self._under_way += 1
            self._changed.notify_all()

    def finished(self, *, wait: bool) -> Iterator[tuple[list[Owner], Features]]:
        while True:
            with self._changed:
                while wait and self._under_way and not self._done and self._serving:
                    self._changed.wait()
                if not self._done:
                    if self._under_way:
                        self._raise_trouble()
                    return
                done = self._done.popleft()
                self._under_way -= 1
            yield done

    def notes(self) -> list[str]:
        notes, self._notes = self._notes, []
        return notes

    def stop(self) -> None:
        """End the threads; what is being encoded is given up together with its process."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        for thread, process in zip(self._threads, self._processes, strict=True):
            thread.join(timeout=0.2)
            while thread.is_alive():
                process.interrupt()
                thread.join(timeout=0.2)

    def _raise_trouble(self) -> None:
        if not self._serving:
            raise self._trouble or InputError("no encoder is left")

    def _serve(self, process: EncoderProcess) -> None:
        losses = 0
        while (batch := self._take()) is not None:
            try:
                features = process.encode(batch[0])
            except BaseException as error:
                self._put_back(batch)
                losses += 1
                if self._ended or not self._replaced(process, error, losses):
                    break
            else:
                losses = 0
                with self._changed:
                    self._done.append((batch[1], features))
                    self._changed.notify_all()
        with self._changed:
            self._serving -= 1
            self._changed.notify_all()

    def _take(self) -> tuple[Frames, list[Owner]] | None:
        with self._changed:
            while not self._waiting and not self._ended:
                self._changed.wait()
            if self._ended:
                return None
            batch = self._waiting.popleft()
            self._changed.notify_all()
            return batch

    def _put_back(self, batch: tuple[Frames, list[Owner]]) -> None:
        with self._changed:
            self._waiting.appendleft(batch)
            self._changed.notify_all()

    def _replaced(self, process: EncoderProcess, error: BaseException, losses: int) -> bool:
        """Start a lost process again; False where its device is given up."""
        while isinstance(error, (EncoderLostError, EncoderFailedError)) and losses < MOST_LOSSES:
            self._notes.append(f"the encoder on {process.device} {_short(error)}; it is started again")
            try:
                process.restart()
                return True
            except BaseException as another:
                error = another
                losses += 1
        self._notes.append(f"the encoder on {process.device} {_short(error)}; the device is given up")
        lost = isinstance(error, EncoderLostError)
        self._trouble = InputError(f"the encoder on {process.device} {error}, {losses} times over") if lost else error
        return False


def _short(error: BaseException) -> str:
    """The last line of an error, as the end of a sentence."""
    line = str(error).strip().splitlines()[-1]
    return line if isinstance(error, EncoderLostError) else f"raised {line}"
