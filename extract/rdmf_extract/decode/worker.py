"""A decoder process as its parent sees it: events of one video after another, whatever happens to the process.

Decord can abort, or hang inside C++ with the interpreter locked, so that nothing in the same process can stop it. Here
a hang costs the time limit, a crash costs nothing, and either costs one file at most. After a crash the same decoder
tries again in a new process, because the cause may lie outside (the system kills processes where memory runs out), and
a video's features must not depend on that; after a second crash, some more kills, or a hang, PyAV is tried.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rdmf_extract.decode.child import Request
from rdmf_extract.decode.choice import DECORD_FIRST, resolved
from rdmf_extract.decode.events import OUT_OF_MEMORY, DecodeError, Event, Finished, Frame, Restart
from rdmf_extract.decode.policy import MIN_RECOVERED
from rdmf_extract.decode.process import MODULE, Ahead, ChildProcess
from rdmf_extract.decode.ring import FrameRing
from rdmf_extract.sampling import Sampling

RING_BYTES = 4 << 20  # frames on their way only: a thread takes them out at once, and rows wait elsewhere
RECYCLE_AFTER = 200  # decoders leak a little with each file
START_SECONDS = 600.0
# With one decoder on one file, before the other is tried.
MOST_CRASHES, MOST_KILLS = 1, 3


class _ProcessLostError(DecodeError):
    """The process crashed, or was killed for taking too long."""

    def __init__(self, reason: str, *, hung: bool = False, passing: bool = False) -> None:
        super().__init__(reason, passing=passing)
        self.hung = hung


# Nothing in a decoder sends itself these: somebody else, most often the system short of memory, ended the process.
FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


class DecoderProcess:
    """One decoder process, started when first needed and replaced after a crash, a hang, or `RECYCLE_AFTER` videos.

    Args:
        sampling: timeline and frame size, the same for all videos.
        timeout_seconds: the most time decoding may take for a video of up to that length; longer videos get their own
            length more. Time in which the caller leaves frames waiting does not count. A fifth of it without any sign
            of life ends the process too.
        module: what runs in the process (tests put misbehaving decoders here).
        ahead: where a process may be that was started before.
    """

    def __init__(
        self,
        sampling: Sampling,
        *,
        timeout_seconds: float = 600.0,
        min_recovered: float = MIN_RECOVERED,
        module: str = MODULE,
        ahead: Ahead | None = None,
    ) -> None:
        self.sampling, self.timeout_seconds, self.min_recovered = sampling, timeout_seconds, min_recovered
        self._module, self._ahead = module, ahead
        slots = max(2, min(64, RING_BYTES // (sampling.crop * sampling.crop * 3)))
        self._ring = FrameRing.create(sampling.crop, slots)
        self._child: ChildProcess | None = None
        self._videos = 0

    def events(self, path: Path, policy: str = "auto") -> Iterator[Event]:
        """`Frame`s in order, `Restart` where all before is to be forgotten, `Finished` at the end.

        Raises:
            DecodeError: the video gave nothing usable; the process is ready for the next one all the same.
        """
        try:
            yield from self._persistently(path, policy)
        except _ProcessLostError as lost:
            if resolved(policy, self.sampling) != DECORD_FIRST:
                raise
            takeover = str(lost)
            yield Restart(takeover)
            for event in self._persistently(path, "pyav"):
                yield replace(event, takeover=takeover) if isinstance(event, Finished) else event

    def close(self) -> None:
        """End the process and free the shared memory."""
        self.kill()
        self._ring.close()

    def kill(self) -> None:
        """End the process now; the next video starts another."""
        if self._child is not None:
            self._child.end()
        self._child = None

    def interrupt(self) -> None:
        """End the process from another thread; the one that listens to it finds it gone."""
        child = self._child
        if child is not None:
            child.process.kill()

    def __enter__(self) -> DecoderProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _persistently(self, path: Path, policy: str) -> Iterator[Event]:
        """The events of a video, from its start again in a new process where one crashes or is killed."""
        crashes = kills = 0
        while True:
            try:
                yield from self._attempt(path, policy)
                return
            except _ProcessLostError as lost:
                kills, crashes = kills + lost.passing, crashes + (not lost.passing)
                if lost.hung or crashes > MOST_CRASHES or kills > MOST_KILLS:
                    raise
                yield Restart(str(lost), takeover=False)

    def _attempt(self, path: Path, policy: str) -> Iterator[Event]:
        if self._videos >= RECYCLE_AFTER:
            self.kill()
        child = self._child or self._start()
        connection, settled, ready = child.connection, False, self._videos > 0
        self._videos += 1
        try:
            if self._videos == 1:
                decord = resolved(policy, self.sampling) in (DECORD_FIRST, "decord")
                child.begin(self._ring, self.sampling.crop, decord=decord)
                self._wait_until_ready(connection)
                ready = True
            connection.send(Request(path.absolute(), self.sampling, policy, self.min_recovered))
            for message in self._messages(connection):
                kind = message[0]
                if kind == "frame":
                    frame = Frame(message[2], self._ring.read(message[1]))
                    connection.send(("taken", 1))
                    yield frame
                elif kind == "restart":
                    yield Restart(message[1], message[2])
                elif kind == "finished":
                    settled = True
                    yield message[1]
                    return
                else:
                    if message[1] == OUT_OF_MEMORY:  # a process that is short of it would fail the next video as well
                        raise _ProcessLostError(OUT_OF_MEMORY, passing=True)
                    settled = True
                    raise DecodeError(message[1], passing=message[2])
        except (EOFError, OSError) as error:
            raise self._epitaph(ready=ready) from error
        finally:
            if not settled:  # crashed, timed out, or the caller stopped listening half-way
                self.kill()

    def _wait_until_ready(self, connection: Connection[Any, Any]) -> None:
        """A new process loads its decoders first, which a busy machine may take long for; no video pays for that."""
        for _ in ("started", "ready"):
            if not connection.poll(START_SECONDS):
                reason = f"the decoder's process was not ready after {START_SECONDS:.0f} s"
                raise _ProcessLostError(reason, hung=True, passing=True)
            connection.recv()

    def _messages(self, connection: Connection[Any, Any]) -> Iterator[tuple[Any, ...]]:
        """Messages about the video, with the clocks running only while one is waited for."""
        limit, stall = self.timeout_seconds, max(1.0, self.timeout_seconds / 5)
        spent = 0.0
        while True:
            started = time.monotonic()
            if not connection.poll(min(stall, max(0.0, limit - spent))):
                spent += time.monotonic() - started
                over = (
                    f"took longer than {limit:.0f} s" if spent >= limit else f"gave no sign of life for {stall:.0f} s"
                )
                raise _ProcessLostError(f"the decoder {over} and was stopped", hung=True)
            message = connection.recv()
            spent += time.monotonic() - started
            if message[0] == "promise":
                limit += max(0.0, message[1] - self.timeout_seconds)
            elif message[0] != "alive":
                yield message

    def _start(self) -> ChildProcess:
        taken = self._ahead.take(self._module) if self._ahead is not None else None
        child = taken or ChildProcess(self._module)
        self._child, self._videos = child, 0
        return child

    def _epitaph(self, *, ready: bool) -> _ProcessLostError:
        """Why the process is gone: its exit status and the last thing it wrote.

        No file is to blame for one that was never ready: a decoder that does not load here.
        """
        assert self._child is not None
        log = self._child.log
        try:
            status = self._child.process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            status = 0
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - 2000))
        lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        reason = f"the decoder crashed ({how})" + (f": {lines[-1]}" if lines else "")
        return _ProcessLostError(reason, passing=not ready or -status in FROM_OUTSIDE)
