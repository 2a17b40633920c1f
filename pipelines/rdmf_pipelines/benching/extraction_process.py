"""One way of extracting, in a process of its own, so that its time and memory are its own; started by `extraction`.

Reads an `Order` as JSON on standard input, writes a `Measured` as JSON on standard output.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rdmf_extract.decode.process import Ahead
from rdmf_extract.encoders.base import VideoEncoder
from rdmf_extract.record import decoder_settings
from rdmf_extract.sampling import Sampling

LIGHT, HEAVY = "light", "heavy"
ROWS_AHEAD = 32  # that wait to be thrown away where nothing is encoded
DECODE, ENCODE, WHOLE, FILE_BY_FILE = "decoding alone", "encoding alone", "the whole extraction", "file by file"


@dataclass(frozen=True)
class Order:
    """What to do.

    Attributes:
        way: one of `DECODE`, `ENCODE`, `WHOLE`, `FILE_BY_FILE`.
        encoder: "light", "heavy", or a name of the registry. fps: frames looked at per second; None: the encoder's.
        decoder: see `rdmf_extract.decode.policy.read`. workers: decoder processes.
        device: where the network runs.
        sampling: the encoder's, for `DECODE`, which builds none. rows: for `ENCODE`. folder: for what is written.
        began: `time.time()` when the process was started.
    """

    way: str
    files: list[str]
    encoder: str
    fps: float | None
    decoder: str
    workers: int
    device: str
    sampling: dict[str, float]
    rows: int
    folder: str
    began: float


@dataclass
class Measured:
    """What was seen. Seconds are of the work alone; `start_seconds` is what came before it (imports, weights).

    Attributes:
        main_seconds: processor time of this process. helper_seconds: of a decoder process, on average.
        first_row_seconds: until the first row was decoded; 0 where nobody looked.
        gpu_bytes: the most that PyTorch held on the GPU at once; 0 without one.
        frames: in the files. decoded: of these. used: of these, looked at by rows; 0 where not known.
    """

    seconds: float = 0.0
    start_seconds: float = 0.0
    main_seconds: float = 0.0
    helper_seconds: float = 0.0
    first_row_seconds: float = 0.0
    gpu_bytes: int = 0
    rows: int = 0
    frames: int = 0
    decoded: int = 0
    used: int = 0


def build(name: str, fps: float | None, device: str) -> VideoEncoder:
    """The encoder of that name; the light one always computes on the CPU.

    Raises:
        InputError: no such encoder, or its weights or the device are not to be had.
    """
    from rdmf_extract.encoders.registry import build_video_encoder

    if name == LIGHT:
        from rdmf_extract.encoders.settings import choose_sampling
        from rdmf_pipelines.benching.mean_colours import MeanColours

        # As an image model has it: two frames a second, 224 pixels.
        return MeanColours(choose_sampling(Sampling(2.0, 1.0, 1.0, 2, 256, 224), fps=fps))
    return build_video_encoder("efficientnet-lite0" if name == HEAVY else name, fps=fps, device=device)


def measure(order: Order) -> Measured:
    """Do it."""
    ways: dict[str, Callable[[Order, VideoEncoder, Ahead], Measured]]
    ways = {ENCODE: _encode, WHOLE: _whole, FILE_BY_FILE: _file_by_file}
    way: Callable[[], Measured]
    _load(order)
    with Ahead(order.workers if order.way in (DECODE, WHOLE) else 0) as ahead:
        if order.way == DECODE:
            sampling = Sampling(**order.sampling)  # type: ignore[arg-type]  # whole numbers stay whole
            way = partial(_decode, order, sampling, ahead)
        else:
            encoder = build(order.encoder, order.fps, order.device)
            s = encoder.sampling
            # The first call of a network makes its kernels ready.
            encoder.encode(np.zeros((1, s.frames_per_window, s.crop, s.crop, 3), np.uint8))
            way = partial(ways[order.way], order, encoder, ahead)
            if order.way == WHOLE:
                decoder_settings(order.decoder, s)  # loads Decord where it is used
        ahead.wait()
        return _timed(order, way)


def _load(order: Order) -> None:
    """Libraries are loaded before the clock runs, by each way its own."""
    if order.way == FILE_BY_FILE:
        import av  # noqa: F401
        import PIL.Image  # noqa: F401

        if order.encoder in (HEAVY, "efficientnet-lite0") or order.encoder.startswith("timm:"):
            import timm  # noqa: F401  # it takes image networks from there
    else:
        import rdmf_extract.pipeline  # noqa: F401


def _timed(order: Order, way: Callable[[], Measured]) -> Measured:
    started = max(0.0, time.time() - order.began)
    before, begun = _processor(), time.perf_counter()
    measured = way()
    measured.seconds = time.perf_counter() - begun
    after = _processor()
    measured.main_seconds = after[0] - before[0]
    measured.helper_seconds = (after[1] - before[1]) / order.workers
    measured.start_seconds = started
    measured.gpu_bytes = _gpu_bytes()
    return measured


def _gpu_bytes() -> int:
    torch = sys.modules.get("torch")  # deciding this is no reason to load it
    return torch.cuda.max_memory_allocated() if torch is not None and torch.cuda.is_initialized() else 0


def _processor() -> tuple[float, float]:
    """Processor seconds of this process, and of its children that have ended."""
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime, others.ru_utime + others.ru_stime


def _decode(order: Order, sampling: Sampling, ahead: Ahead) -> Measured:
    """Everything up to finished rows, which are thrown away."""
    from rdmf_extract.decode.worker import DecoderProcess
    from rdmf_extract.pool import Decoded, DecodePool, Row

    waiting = [(str(i), Path(file)) for i, file in enumerate(order.files)][::-1]
    pool = DecodePool(
        lambda: waiting.pop() if waiting else None,
        sampling,
        policy=order.decoder,
        workers=order.workers,
        rows_ahead=ROWS_AHEAD,
        make_process=lambda: DecoderProcess(sampling, ahead=ahead),
    )
    measured, begun = Measured(), time.perf_counter()
    with pool:
        for item in pool:
            if isinstance(item, Row):
                measured.first_row_seconds = measured.first_row_seconds or time.perf_counter() - begun
                measured.rows += 1
            elif isinstance(item, Decoded):
                measured.frames += item.end.frames
                measured.decoded += item.end.decoded
                measured.used += item.end.used
    return measured


def _encode(order: Order, encoder: VideoEncoder, _: Ahead) -> Measured:
    """As many batches as the files' rows fill, all of the same noise, on the cores that the whole extraction has."""
    from rdmf_extract.defaults import default_batch, encoder_lanes

    if hasattr(encoder, "lanes"):
        encoder.lanes = encoder_lanes(encoder)
    s, size = encoder.sampling, default_batch(encoder)
    shape = (min(size, order.rows), s.frames_per_window, s.crop, s.crop, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for first in range(0, order.rows, size):
        encoder.encode(frames[: order.rows - first])
    return Measured(rows=order.rows)


def _whole(order: Order, encoder: VideoEncoder, ahead: Ahead) -> Measured:
    """`rdmf extract` without its start: claims, parts and the finished cache included."""
    from rdmf.store import QueryRecord
    from rdmf_extract.pipeline import extract
    from rdmf_pipelines.benching.mean_colours import OneToken

    videos = {f"{i:04d}": Path(file) for i, file in enumerate(order.files)}
    queries = [QueryRecord(i, vid, "something happens", "train") for i, vid in enumerate(videos)]
    with tempfile.TemporaryDirectory(dir=order.folder) as folder:
        out = Path(folder) / "cache.h5"
        summary = extract(
            videos,
            queries,
            out=out,
            video_encoder=encoder,
            text_encoder=OneToken(),
            decoder=order.decoder,
            workers=order.workers,
            ahead=ahead,
        )
    return Measured(rows=summary.rows)


def _file_by_file(order: Order, encoder: VideoEncoder, _: Ahead) -> Measured:
    """The usual way, with all the threads that the other ways have processes and threads."""
    from rdmf_extract.defaults import default_batch
    from rdmf_pipelines.benching.file_by_file import extract_file_by_file

    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    with tempfile.TemporaryDirectory(dir=order.folder) as folder:
        rows, used = extract_file_by_file(
            [Path(file) for file in order.files],
            encoder,
            Path(folder),
            batch_rows=default_batch(encoder),
            threads=threads,
        )
    return Measured(rows=rows, used=used)


def main() -> None:
    """Read an order, do it, say what was seen."""
    from rdmf.store.errors import InputError

    order = Order(**json.loads(sys.stdin.read()))
    result: dict[str, Any]
    try:
        result = asdict(measure(order))
    except InputError as error:
        result = {"error": str(error)}
    print("\n" + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
