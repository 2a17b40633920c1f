"""The decoder process: takes requests from its connection, decodes, and answers with messages and a `FrameRing`.

Started as a fresh interpreter (never forked: the parent may hold torch, threads and a GPU), importing numpy and the
decoders only. Standard error is a file that the parent made: Decord's and FFmpeg's complaints land there to be read.

Messages to the parent, as tuples: ("started",) and, once a `Setting` has come and with it the file descriptor of the
ring, ("ready",); ("alive",) now and then, ("promise", seconds) once the header is read, ("frame", index, seconds),
("restart", reason, takeover), ("finished", Finished), ("failed", reason, passing). The parent answers ("taken", n).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path

from rdmf_extract.decode.events import OUT_OF_MEMORY, DecodeError, Event, Finished, Frame, Restart
from rdmf_extract.decode.policy import decoder_versions, read
from rdmf_extract.decode.probe import Probe
from rdmf_extract.decode.ring import FrameRing
from rdmf_extract.sampling import Sampling

ALIVE_SECONDS = 1.0


@dataclass(frozen=True)
class Setting:
    """What holds for all videos: frames of (side, side, 3), `slots` of them in the ring; whether Decord is needed."""

    side: int
    slots: int
    decord: bool


@dataclass(frozen=True)
class Request:
    """One video to decode."""

    path: Path
    sampling: Sampling
    policy: str
    min_recovered: float


def main(parent: int, connection_fd: int) -> None:
    """Serve requests until the parent (a process id) closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what ends
    die_with(parent)
    connection: Connection = Connection(connection_fd)
    try:
        _load_pyav()
        connection.send(("started",))
        setting: Setting = connection.recv()
        ring = FrameRing(recv_handle(connection), setting.side, setting.slots)
        if setting.decord:
            decoder_versions()
        connection.send(("ready",))
        while True:
            request: Request = connection.recv()
            _serve(request, connection, ring)
    except (EOFError, BrokenPipeError):
        return


def _load_pyav() -> None:
    """Now, while others are still loading theirs, and before the clock of the first video runs."""
    import av  # noqa: F401


def _serve(request: Request, connection: Connection, ring: FrameRing) -> None:
    sender = _Sender(connection, ring)
    try:
        for event in read(
            request.path,
            request.sampling,
            policy=request.policy,
            min_recovered=request.min_recovered,
            tick=sender.tick,
            on_probe=sender.promise,
        ):
            sender.send(event)
    except DecodeError as error:
        sender.settle()
        connection.send(("failed", str(error), error.passing))
    except (EOFError, BrokenPipeError):
        raise
    except MemoryError:
        sender.settle()
        connection.send(("failed", OUT_OF_MEMORY, True))
    except Exception as error:  # a bug or a decoder's surprise costs one file, and is told with its type
        sender.settle()
        connection.send(("failed", str(DecodeError(f"{type(error).__name__}: {error}")), False))


class _Sender:
    """Sends events, never more frames ahead than the ring has slots."""

    def __init__(self, connection: Connection, ring: FrameRing) -> None:
        self._connection, self._ring = connection, ring
        self._sent = self._taken = 0
        self._told = time.monotonic()

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._told >= ALIVE_SECONDS:
            self._told = now
            self._connection.send(("alive",))

    def promise(self, facts: Probe) -> None:
        listed = facts.times[-1] - facts.times[0] if facts.times else 0.0
        self._connection.send(("promise", max(facts.header_seconds, listed)))

    def send(self, event: Event) -> None:
        if isinstance(event, Frame):
            while self._sent - self._taken >= self._ring.slots or self._connection.poll():
                self._taken += self._connection.recv()[1]
            self._ring.write(self._sent, event.image)
            self._connection.send(("frame", self._sent, event.seconds))
            self._sent += 1
        elif isinstance(event, Restart):
            self._connection.send(("restart", event.reason, event.takeover))
        elif isinstance(event, Finished):
            self.settle()
            self._connection.send(("finished", event))

    def settle(self) -> None:
        """Wait until every frame is taken: an answer still under way would be mistaken for the next request."""
        while self._taken < self._sent:
            self._taken += self._connection.recv()[1]


def die_with(parent: int) -> None:
    """On Linux, ask to be killed when the parent ends: a decoder that hangs in C++ would outlive it."""
    if sys.platform == "linux":
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the line above
            sys.exit(1)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
