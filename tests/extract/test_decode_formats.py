"""The odd files of ../shared/video/formats: every readable one gives rows, and frame times are those of truth.jsonl."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rdmf_extract.decode.events import DecodeError, Finished, Frame, Restart
from rdmf_extract.decode.probe import probe
from rdmf_extract.decode.pyav_reader import PacketDecoder
from rdmf_extract.decode.worker import DecoderProcess
from rdmf_extract.pool import Again, Decoded, Row, Undecodable, rows_of
from rdmf_extract.sampling import Sampling

pytestmark = pytest.mark.shared
SAMPLING = Sampling(fps=2.0, window_seconds=1.0, stride_seconds=1.0, frames_per_window=2, resize=128, crop=112)


@pytest.fixture(scope="module")
def truth(shared: Path) -> dict[Path, dict]:
    folder = shared / "video" / "formats"
    return {folder / t["file"]: t for t in map(json.loads, (folder / "truth.jsonl").read_text().splitlines())}


def test_frame_times_agree_with_the_reference(truth):
    for path, expected in truth.items():
        if "error" in expected:
            with pytest.raises(DecodeError, match=expected["error"]):
                probe(path)
            continue
        facts = probe(path)
        decoder = PacketDecoder(facts)
        frames = [(seconds, frame.rotation) for seconds, frame in decoder.timed_frames()]
        times = np.array([seconds for seconds, _ in frames])
        assert len(times) == expected["frames"], path.name
        assert decoder.bad == expected["bad_packets"], path.name
        assert decoder.origin == pytest.approx(expected["first_seconds"], abs=1e-3), path.name
        assert times[0] == pytest.approx(0.0, abs=1e-3), path.name
        assert times[-1] + decoder.origin == pytest.approx(expected["last_seconds"], abs=1e-3), path.name
        assert (np.diff(times) > 0).all(), path.name  # also of those whose own times run backwards
        if expected["monotone"]:
            assert np.diff(times).min() == pytest.approx(expected["smallest_gap"], abs=1e-3), path.name
            assert np.diff(times).max() == pytest.approx(expected["largest_gap"], abs=1e-3), path.name
        assert frames[0][1] == facts.rotation == expected["rotation"], path.name


def test_every_readable_file_gives_rows_and_the_sound_file_one_reason(truth):
    """Through decoder processes, by the policy: what a user of `rdmf extract` gets."""
    failures = {}
    with DecoderProcess(SAMPLING) as process:
        for path, expected in truth.items():
            rows = 0
            for item in rows_of(process, path.stem, path, SAMPLING, "auto"):
                if isinstance(item, Row):
                    assert item.frames.shape == (2, 112, 112, 3)
                    rows += 1
                elif isinstance(item, Again):
                    rows = 0
                elif isinstance(item, Undecodable):
                    failures[path.name] = item.reason
                else:
                    assert isinstance(item, Decoded)
                    shown = expected["last_seconds"] - expected["first_seconds"]
                    assert item.end.frames == expected["frames"], path.name
                    assert shown < item.end.duration <= shown + 0.25, path.name
                    assert item.rows == rows == SAMPLING.row_count(item.end.duration), path.name
                    assert item.end.recovered > 0.97, path.name
    assert failures == {"open-mmlab_mmaction2__test.wav": "no video stream in the file"}


def test_decord_and_pyav_agree_wherever_decord_is_trusted(truth):
    """Times equal and pictures close; where Decord differs without an error, the policy does not use it."""
    compared = 0
    with DecoderProcess(SAMPLING) as process:
        for path, expected in truth.items():
            if "error" in expected or expected["frames"] > 200:
                continue
            auto = list(process.events(path))
            if not auto[-1].decoder.startswith("decord"):
                continue
            pyav = list(process.events(path, "pyav"))
            assert isinstance(auto[-1], Finished)
            assert not any(isinstance(event, Restart) for event in auto)
            assert auto[-1].duration == pytest.approx(pyav[-1].duration, abs=1e-6)
            assert auto[-1].frames == pyav[-1].frames
            for ours, theirs in zip(auto[:-1], pyav[:-1], strict=True):
                assert isinstance(ours, Frame)
                assert ours.seconds == pytest.approx(theirs.seconds, abs=1e-6)
                difference = ours.image.astype(int) - theirs.image
                assert np.abs(difference).mean() < 2.0, path.name  # 1.5 on a test card's edges, below 0.6 elsewhere
                assert abs(difference.mean()) < 0.5, path.name  # no shift in brightness
            compared += 1
    assert compared >= 10
