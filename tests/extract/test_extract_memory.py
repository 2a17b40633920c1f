"""Memory does not grow with a video's length, but for the rows themselves, kept at two bytes a number."""

from __future__ import annotations

import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from clips import every, render
from fakes import FakeTextEncoder, FakeVideoEncoder
from long_video import DIM, render_long

from rdmf.store import QueryRecord, open_cache
from rdmf_extract import pool
from rdmf_extract.batches import Inline, RowBatcher, halved
from rdmf_extract.decode.events import Finished
from rdmf_extract.decode.ring import FrameRing
from rdmf_extract.decode.worker import RING_BYTES, DecoderProcess
from rdmf_extract.defaults import default_batch
from rdmf_extract.engines import local
from rdmf_extract.pipeline import extract
from rdmf_extract.pool import Row
from rdmf_extract.sampling import Sampling
from rdmf_pipelines.benching.process_tree import process_bytes, tree

MB = 1e6
ROWS = Sampling(fps=4.0, window_seconds=0.5, stride_seconds=0.5, frames_per_window=2, resize=64, crop=48)


class _Counted(Row):
    """A row that is counted while it is there."""

    alive: ClassVar[weakref.WeakSet[_Counted]] = weakref.WeakSet()
    most: ClassVar[int] = 0

    def __init__(self, vid: str, index: int, frames: np.ndarray) -> None:
        super().__init__(vid, index, frames)
        _Counted.alive.add(self)
        _Counted.most = max(_Counted.most, len(_Counted.alive))

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def rows_alive(path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """(rows in all, the most that were decoded and not yet given to the encoder) with a slow encoder."""

    class Slow(FakeVideoEncoder):
        def encode(self, frames: np.ndarray) -> np.ndarray:
            time.sleep(0.02)  # so that decoding runs as far ahead as it may
            return super().encode(frames)

    _Counted.alive, _Counted.most = weakref.WeakSet(), 0
    monkeypatch.setattr(pool, "Row", _Counted)
    monkeypatch.setattr(local, "Row", _Counted)
    queries = [QueryRecord(0, "v", "something", "train")]
    encoders = {"video_encoder": Slow(ROWS), "text_encoder": FakeTextEncoder()}
    summary = extract({"v": path}, queries, out=out, workers=1, batch_rows=4, **encoders)
    return summary.rows, _Counted.most


@pytest.mark.long
def test_decoding_is_never_far_ahead_of_encoding_however_long_the_video_is(tmp_path, monkeypatch):
    most = {}
    for seconds in (20, 60):
        path = render(tmp_path / f"{seconds}.mp4", every(0.25, seconds * 4))
        rows, most[seconds] = rows_alive(path, tmp_path / f"{seconds}.h5", monkeypatch)
        assert rows == 2 * seconds
    # Twice four rows wait, one is being put there, one being taken.
    assert max(most.values()) <= 2 * 4 + 2
    assert min(most.values()) >= 4


def test_frames_cross_between_processes_at_the_size_of_the_network_and_in_a_ring_of_fixed_size(clips):
    for crop, slots in ((48, 64), (224, 27), (512, RING_BYTES // (512 * 512 * 3))):
        sampling = Sampling(1.0, 1.0, 1.0, 1, crop + 16, crop)
        with DecoderProcess(sampling) as process:
            assert process._ring.slots == slots
            assert process._ring._frames.shape == (slots, crop, crop, 3)
            assert process._ring._frames.nbytes <= RING_BYTES


def test_what_crosses_is_no_frame_but_its_number(clips, monkeypatch):
    """Messages hold a few numbers; a pickled frame would be thousands of bytes."""
    from multiprocessing.connection import Connection

    sizes: dict[str, int] = {}
    receive = Connection.recv_bytes

    def watched(self, *rest):
        data = receive(self, *rest)
        sizes["most"] = max(sizes.get("most", 0), len(data))
        return data

    def receiving(self):
        import pickle

        return pickle.loads(watched(self))

    monkeypatch.setattr(Connection, "recv", receiving)
    dense = Sampling(10.0, 1.0, 1.0, 10, 64, 48)
    with DecoderProcess(dense) as process:
        frames = list(process.events(clips["constant"]))
    assert len(frames) > 40
    assert 0 < sizes["most"] < 1000 < frames[0].image.nbytes
    assert isinstance(process._ring, FrameRing)


def test_a_decoder_process_loads_nothing_that_it_does_not_need():
    code = "import sys, rdmf_extract.decode.child; print(*{'h5py', 'torch', 'pandas', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["numpy"]


def test_rows_wait_for_their_video_in_float16():
    class Wide(FakeVideoEncoder):
        dim = DIM

        def encode(self, frames: np.ndarray) -> np.ndarray:
            return np.ones((len(frames), DIM), np.float32)

    batcher = RowBatcher(Inline(Wide(ROWS)), ROWS, 8)
    frames = np.zeros((2, 48, 48, 3), np.uint8)
    for i in range(800):
        assert list(batcher.add(Row("v", i, frames))) == []
    held = {id(row.base): row.base for row in batcher._videos["v"].features.values()}
    assert sum(block.nbytes for block in held.values()) == 800 * DIM * 2
    (done,) = batcher.finish("v", 800, Finished(400.0, 1, 1.0, "decoder"))
    assert (done.features.dtype, done.features.shape) == (np.float16, (800, DIM))


def test_what_does_not_fit_into_float16_is_left_for_the_store_to_refuse():
    fits, large = np.array([[1.0, np.nan, np.inf]], np.float32), np.array([[1.0, 1e6]], np.float32)
    assert halved(fits).dtype == np.float16
    assert halved(large) is large


@pytest.mark.long
def test_three_hours_need_no_more_memory_than_one(tmp_path):
    """All of the process tree, sampled while a video of 108,000 frames (2 GB, at the size rows see) goes through.

    What may grow: the rows, 10,800 x 1280 x 2 bytes = 28 MB, and while they are written another copy or two of them.
    """
    video = render_long(tmp_path / "long.mp4", 180)
    out = tmp_path / "long.h5"
    program = [sys.executable, str(Path(__file__).with_name("long_video.py")), str(video), str(out)]
    samples: list[tuple[int, list[int]]] = []  # the program itself, and each process it started
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            own, *others = map(process_bytes, tree(process.pid))
            if own:
                samples.append((own, others))
            time.sleep(0.1)
        assert process.stdout is not None
        assert process.stdout.read().split() == ["10800"]
    assert process.returncode == 0
    with open_cache(out) as cache:
        assert cache.n_rows == 10_800
        assert cache.decoders[0].startswith("pyav")
    third = len(samples) // 3
    assert third > 5
    total = [own + sum(others) for own, others in samples]
    rows = 10_800 * DIM * 2
    assert max(total[-third:]) <= max(total[:third]) + 2.5 * rows + 20 * MB
    # The decoder holds nothing of the video; its tables of packets are made at the beginning.
    decoder = [sum(others) for _, others in samples]
    assert max(decoder[:third]) > 20 * MB
    assert max(decoder[-third:]) <= max(decoder[:third]) + 15 * MB


def test_a_batch_on_a_cpu_is_a_few_megabytes_and_fills_what_networks_take_at_once():
    for frames in (1, 2, 3, 5, 7, 16, 32, 64):
        encoder = FakeVideoEncoder(Sampling(float(frames), 1.0, 1.0, frames, 256, 224))
        encoder.device = "cpu"
        rows = default_batch(encoder)
        assert rows == 1 or rows * frames <= 32
        assert rows < 4 or rows % 4 == 0
        assert rows * frames >= 16
