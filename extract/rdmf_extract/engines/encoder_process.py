"""One encoder in a process of its own, as its parent sees it."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import Any

import numpy as np

from rdmf.store import InputError
from rdmf_extract.decode.ring import shared_memory
from rdmf_extract.encoders.base import Features, Frames
from rdmf_extract.encoders.spec import EncoderFacts, EncoderSpec


class EncoderLostError(Exception):
    """The process died or fell silent; another one may do the same batch."""


class EncoderFailedError(RuntimeError):
    """The encoder raised: a bug, or a device out of memory. The message is the other process's traceback."""


class EncoderProcess:
    """A process with an encoder on one device; started, and started again after it is lost, with `start`.

    Args:
        threads: cores the encoder may use for its arithmetic.
        timeout_seconds: how long a batch may take.
    """

    def __init__(self, spec: EncoderSpec, device: str, *, threads: int, timeout_seconds: float = 600.0) -> None:
        self.spec, self.device = spec, device
        self._threads, self._timeout_seconds = threads, timeout_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._memory: mmap.mmap | None = None
        self._told_memory = False
        self._fd, self._shape = -1, (0,)

    def start(self) -> None:
        """Start the process; it builds its encoder meanwhile (see `facts`)."""
        ours, theirs = Pipe()
        environment = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            OMP_NUM_THREADS=str(self._threads),
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rdmf_extract.engines.encoder_child", str(os.getpid()), str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            env=environment,
        )
        theirs.close()
        self._connection = ours
        self._told_memory = False
        ours.send((self.spec, self.device))

    def facts(self) -> tuple[EncoderFacts, list[str]]:
        """Wait for the encoder to be built; what it is, and what was warned of.

        Raises:
            InputError: it cannot be built so (wrong settings, no weights, no such device).
            EncoderLostError: the process died.
            EncoderFailedError: building it raised.
        """
        kind, *rest = self._answer(None)
        if kind == "refused":
            raise InputError(rest[0])
        return rest[0], rest[1]

    def restart(self) -> None:
        """Replace a lost process; raises as `facts`."""
        self._end_process()
        self.start()
        self.facts()

    def revive(self) -> None:
        """Replace the process if it has ended."""
        if self._process is None or self._process.poll() is not None:
            self.restart()

    def interrupt(self) -> None:
        """End the process from another thread; the one that waits for it finds it gone."""
        if self._process is not None:
            self._process.kill()

    def encode(self, frames: Frames) -> Features:
        """(B, T, H, W, 3) uint8 to (B, dim) float32.

        Raises:
            EncoderLostError, EncoderFailedError: see there.
        """
        self._share(frames)
        self._send(("batch", len(frames)))
        features: Features = self._answer(self._timeout_seconds)[1]
        return features

    def close(self) -> None:
        """End the process and free the shared memory."""
        self._end_process()
        self._forget_memory()

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def _share(self, frames: Frames) -> None:
        """Put a batch where the process sees it."""
        if self._memory is None or frames.nbytes > len(self._memory):
            self._forget_memory()
            self._fd, self._shape = shared_memory(frames.nbytes), frames.shape
            self._memory = mmap.mmap(self._fd, frames.nbytes)
            self._told_memory = False
        if not self._told_memory:
            assert self._process is not None
            assert self._connection is not None
            self._send(("memory", self._shape))
            try:
                send_handle(self._connection, self._fd, self._process.pid)
            except OSError as error:
                raise EncoderLostError(self._epitaph()) from error
            self._told_memory = True
        np.ndarray(frames.shape, np.uint8, self._memory)[:] = frames

    def _send(self, message: tuple[Any, ...]) -> None:
        assert self._connection is not None
        try:
            self._connection.send(message)
        except OSError as error:
            raise EncoderLostError(self._epitaph()) from error

    def _answer(self, timeout_seconds: float | None) -> tuple[Any, ...]:
        assert self._connection is not None
        try:
            if not self._connection.poll(timeout_seconds):
                raise EncoderLostError(f"gave no answer for {timeout_seconds:.0f} s")
            message: tuple[Any, ...] = self._connection.recv()
        except (EOFError, OSError) as error:
            raise EncoderLostError(self._epitaph()) from error
        if message[0] == "failed":
            raise EncoderFailedError(f"the encoder on {self.device} raised\n{message[1]}")
        return message

    def _epitaph(self) -> str:
        assert self._process is not None
        try:
            status = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"

    def _forget_memory(self) -> None:
        if self._memory is not None:
            self._memory.close()
            os.close(self._fd)
            self._memory = None
