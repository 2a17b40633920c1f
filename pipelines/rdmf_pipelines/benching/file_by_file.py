"""How feature extractors are usually written: one step after another, one file after another, in one process.

As https://github.com/v-iashin/video_features goes about it where a frame rate is asked for: the video is encoded again
at that rate into a temporary file, which OpenCV reads frame by frame at its full size; each frame becomes a PIL image
that is resized and cropped; the network is called on batches; all features of the video are kept and saved as .npy.
Written from a description of what it does, to be measured beside `rdmf extract`; where OpenCV or the program ffmpeg are
not installed, PyAV does the same work.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf_extract.decode.geometry import resized
from rdmf_extract.encoders.base import VideoEncoder
from rdmf_extract.sampling import Sampling


def tools() -> str:
    """What encodes again and what reads here."""
    return f"{'ffmpeg' if shutil.which('ffmpeg') else 'PyAV'} and {'OpenCV' if _has_opencv() else 'PyAV'}"


def extract_file_by_file(
    files: list[Path], encoder: VideoEncoder, folder: Path, *, batch_rows: int, threads: int
) -> tuple[int, int]:
    """Features of each file into `folder`; returns (rows, frames seen).

    Args:
        threads: for encoding again and reading; the network takes what torch was given.
    """
    rows = seen = 0
    for number, path in enumerate(files):
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            slow = _at_rate(path, encoder.sampling.fps, Path(temporary) / "at_rate.mp4", threads)
            features: list[NDArray[np.float32]] = []
            waiting: list[NDArray[np.uint8]] = []
            for picture in _pictures(slow, threads):
                waiting.append(_prepared(picture, encoder.sampling))
                seen += 1
                if len(waiting) == batch_rows * encoder.sampling.frames_per_window:
                    features.append(_encoded(waiting, encoder))
                    waiting = []
            if waiting:
                features.append(_encoded(waiting, encoder))
            made = np.concatenate(features)
            np.save(folder / f"{number}-{path.stem}.npy", made)
            rows += len(made)
    return rows, seen


def _encoded(images: list[NDArray[np.uint8]], encoder: VideoEncoder) -> NDArray[np.float32]:
    size = encoder.sampling.frames_per_window
    while len(images) % size:
        images.append(images[-1])
    stacked = np.stack(images)
    return encoder.encode(stacked.reshape(-1, size, *stacked.shape[1:]))


def _prepared(picture: NDArray[np.uint8], sampling: Sampling) -> NDArray[np.uint8]:
    from PIL import Image

    width, height = resized(picture.shape[1], picture.shape[0], sampling.resize)
    image = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - sampling.crop) // 2, (height - sampling.crop) // 2
    return np.asarray(image.crop((left, top, left + sampling.crop, top + sampling.crop)))


def _at_rate(path: Path, fps: float, out: Path, threads: int) -> Path:
    """The video again at another frame rate, with the usual settings of x264."""
    if shutil.which("ffmpeg"):
        command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-threads", str(threads), "-y", "-i", str(path)]
        subprocess.run([*command, "-filter:v", f"fps={fps}", "-threads", str(threads), str(out)], check=True)
        return out
    import av

    rate = Fraction(fps).limit_denominator(1000)
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        given = source.streams.video[0]
        given.thread_type, given.codec_context.thread_count = "AUTO", threads
        made: Any = target.add_stream("libx264", rate=rate)
        made.width, made.height, made.pix_fmt = given.width, given.height, "yuv420p"
        made.codec_context.thread_count = threads
        graph: Any = av.filter.Graph()
        graph.link_nodes(
            graph.add_buffer(template=given),
            graph.add("fps", f"fps={rate.numerator}/{rate.denominator}"),
            graph.add("format", "pix_fmts=yuv420p"),
            graph.add("buffersink"),
        ).configure()
        for frame in source.decode(given):
            graph.vpush(frame)
            _drain(graph, made, target)
        graph.vpush(None)
        _drain(graph, made, target)
        target.mux(made.encode(None))
    return out


def _drain(graph: Any, made: Any, target: Any) -> None:
    import av

    while True:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        frame.pict_type = 0
        target.mux(made.encode(frame))


def _pictures(path: Path, threads: int) -> Iterator[NDArray[np.uint8]]:
    """(H, W, 3) uint8 RGB at full size."""
    if _has_opencv():
        cv2: Any = importlib.import_module("cv2")  # not among our dependencies
        capture = cv2.VideoCapture(str(path))
        while True:
            there, picture = capture.read()
            if not there:
                capture.release()
                return
            yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        for frame in container.decode(stream):
            yield frame.to_ndarray(format="rgb24")


def _has_opencv() -> bool:
    return importlib.util.find_spec("cv2") is not None
