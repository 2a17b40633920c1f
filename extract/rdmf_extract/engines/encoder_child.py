"""The process of one encoder: builds it on its device, then turns batches in shared memory into features.

Messages, as tuples. From the parent: (EncoderSpec, device), then ("memory", shape), followed by a file descriptor, and
("batch", rows) any number of times. To the parent: ("ready", EncoderFacts, warnings) or ("refused", message), then for
every batch ("features", (rows, dim) float32) or ("failed", traceback).
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any

import numpy as np

from rdmf.store.errors import InputError
from rdmf_extract.decode.child import die_with
from rdmf_extract.encoders.spec import EncoderFacts, EncoderSpec


def main(parent: int, connection_fd: int) -> None:
    """Serve batches until the parent (a process id) closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what ends
    die_with(parent)
    connection: Connection[Any, Any] = Connection(connection_fd)
    try:
        encoder = _build(connection)
        frames = None
        while encoder is not None:
            message = connection.recv()
            if message[0] == "memory":
                frames = _mapped(recv_handle(connection), message[1])
            else:
                assert frames is not None
                connection.send(("features", encoder.encode(frames[: message[1]])))
    except (EOFError, BrokenPipeError):
        return
    except Exception:
        connection.send(("failed", traceback.format_exc()))


def _build(connection: Connection[Any, Any]) -> Any:
    spec: EncoderSpec
    spec, device = connection.recv()
    try:
        encoder, warned = spec.build(device)
    except InputError as error:
        connection.send(("refused", str(error)))
        return None
    connection.send(("ready", EncoderFacts.of(encoder), warned))
    return encoder


def _mapped(fd: int, shape: tuple[int, ...]) -> Any:
    memory = mmap.mmap(fd, int(np.prod(shape)))
    os.close(fd)
    return np.ndarray(shape, np.uint8, memory)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
