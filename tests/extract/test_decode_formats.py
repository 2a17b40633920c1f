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


@pytest.mark.long
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


@pytest.mark.parametrize("policy", ["auto", pytest.param("decord-first", marks=pytest.mark.long)])
def test_every_readable_file_gives_rows_and_the_sound_file_one_reason(truth, policy):
    """Through decoder processes, by the policy: what a user of `rdmf extract` gets."""
    failures = {}
    with DecoderProcess(SAMPLING) as process:
        for path, expected in truth.items():
            rows = 0
            for item in rows_of(process, path.stem, path, SAMPLING, policy):
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


@pytest.mark.long
def test_decord_and_pyav_agree_wherever_decord_is_trusted(truth):
    """Times equal and pictures close; where Decord differs without an error, the policy does not use it."""
    compared = 0
    with DecoderProcess(SAMPLING) as process:
        for path, expected in truth.items():
            if "error" in expected or expected["frames"] > 200:
                continue
            first = list(process.events(path, "decord-first"))
            if not first[-1].decoder.startswith("decord"):
                continue
            pyav = list(process.events(path, "pyav"))
            assert isinstance(first[-1], Finished)
            assert not any(isinstance(event, Restart) for event in first)
            assert first[-1].duration == pytest.approx(pyav[-1].duration, abs=1e-6)
            assert first[-1].frames == pyav[-1].frames
            for ours, theirs in zip(first[:-1], pyav[:-1], strict=True):
                assert isinstance(ours, Frame)
                assert ours.seconds == pytest.approx(theirs.seconds, abs=1e-6)
                difference = ours.image.astype(int) - theirs.image
                assert np.abs(difference).mean() < 2.0, path.name  # 1.5 on a test card's edges, below 0.6 elsewhere
                assert abs(difference.mean()) < 0.5, path.name  # no shift in brightness
            compared += 1
    assert compared >= 10


def frames_of(process: DecoderProcess, path: Path, policy: str) -> tuple[list[Frame], Finished]:
    """The frames that count, those before a restart forgotten, and the end."""
    frames: list[Frame] = []
    for event in process.events(path, policy):
        if isinstance(event, Frame):
            frames.append(event)
        elif isinstance(event, Restart):
            frames = []
        else:
            return frames, event
    raise AssertionError("no end")


def difference(ours: list[Frame], theirs: list[Frame]) -> str:
    """In what two decoders' frames differ, "" for nothing that matters."""
    if len(ours) != len(theirs):
        return f"{len(ours)} frames looked at, not {len(theirs)}"
    if any(abs(one.seconds - other.seconds) > 1e-3 for one, other in zip(ours, theirs)):
        return "times"
    pictures = np.array([np.abs(a.image.astype(int) - b.image).mean() for a, b in zip(ours, theirs)])
    shifts = np.array([(a.image.astype(int) - b.image).mean() for a, b in zip(ours, theirs)])
    return "pictures" if pictures.max() > 2.0 or np.abs(shifts).max() > 0.5 else ""


@pytest.mark.long
def test_where_decord_alone_fails_or_differs_in_silence_pyav_takes_over(truth):
    """Every file by both decoders and by the policy: frames, times, rotation (as pictures) and recovered share."""
    differs, fails, trusted = {}, {}, set()
    with DecoderProcess(SAMPLING, timeout_seconds=300) as process:
        for path, expected in truth.items():
            if "error" in expected:
                continue
            theirs, end = frames_of(process, path, "pyav")
            assert end.frames == expected["frames"], path.name
            assert end.bad_packets == expected["bad_packets"], path.name
            assert end.recovered == 1.0 if not expected["bad_packets"] else 0.9 < end.recovered < 1.0, path.name
            first, by_policy = frames_of(process, path, "decord-first")
            assert by_policy.recovered == end.recovered, path.name
            assert difference(first, theirs) == "", path.name
            if by_policy.decoder.startswith("decord"):
                trusted.add(path.name)
            try:
                ours, alone = frames_of(process, path, "decord")
            except DecodeError as error:
                fails[path.name] = str(error)
                continue
            what = difference(ours, theirs) or ("count" if alone.frames != expected["frames"] else "")
            if what:
                differs[path.name] = what
    assert not trusted & (differs.keys() | fails.keys())
    assert len(trusted) >= 15
    # Ten-bit and quarter-turned pictures come out otherwise without a word; counts and times are caught by comparison.
    assert {"pytorch_torchcodec__h264_10bits.mp4", "dmlc_decord__video_90.mov"} <= differs.keys()
    assert fails["pytorch_torchcodec__nasa_13013.mp4"] == "Decord counts 390 frames, the file has 325"
    assert fails["open-mmlab_mmaction2__S001C001P001R001A001_rgb.avi"].startswith("Decord's times span 0.000 s")
