"""The operating system's side of a decoder process: started, told about its frames' memory, ended.

A process can be started before it is known what frames it will make, so that it loads its libraries while an encoder
loads its weights (`Ahead`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from types import TracebackType
from typing import Any

from rdmf_extract.decode.child import Setting
from rdmf_extract.decode.ring import FrameRing

MODULE = "rdmf_extract.decode.child"
STARTED_SECONDS = 60.0


class ChildProcess:
    """A process of `module`, and the connection to it.

    Attributes:
        process, connection: to wait for and to talk to. log: what it writes on standard output and standard error.
    """

    def __init__(self, module: str = MODULE) -> None:
        self.module = module
        ours, theirs = Pipe()
        self.connection: Connection[Any, Any] = ours
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  # closed by end()
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path or str(Path.cwd()) for path in sys.path))
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, str(os.getpid()), str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            env=environment,
        )
        theirs.close()

    def begin(self, ring: FrameRing, side: int, *, decord: bool) -> None:
        """Tell the process where frames of (side, side, 3) go, and whether it will need Decord.

        Raises:
            OSError: it is gone.
        """
        self.connection.send(Setting(side, ring.slots, decord))
        send_handle(self.connection, ring.fd, self.process.pid)

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()
        self.connection.close()
        self.log.close()


class Ahead:
    """Decoder processes started before they are needed; a context manager that ends those that nobody took.

    To be used in the thread that lasts longest: on Linux its end is taken for that of the program.
    """

    def __init__(self, count: int) -> None:
        self._waiting = [ChildProcess() for _ in range(count)]
        self._lock = threading.Lock()

    def take(self, module: str = MODULE) -> ChildProcess | None:
        """One that is alive and runs this module, from now on the caller's; None where there is none. Thread-safe."""
        with self._lock:
            for one in self._waiting:
                if one.module == module and one.process.poll() is None:
                    self._waiting.remove(one)
                    return one
        return None

    def wait(self) -> None:
        """Wait until all have loaded what they load at their start."""
        for one in self._waiting:
            one.connection.poll(STARTED_SECONDS)

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            while self._waiting:
                self._waiting.pop().end()
