"""PyAV takes over wherever Decord fails or gives something else, and what is useless is refused with its reason."""

from __future__ import annotations

import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from fakes import DENSE

from rdmf_extract.decode import policy as policy_module
from rdmf_extract.decode.events import DecodeError, DecoderDisagreesError, Event, Finished, Frame, Restart
from rdmf_extract.decode.policy import decoder_versions, read
from rdmf_extract.decode.worker import DecoderProcess


def after_restart(events: list[Event]) -> list[Event]:
    """What is left of a stream of events once everything before a restart is forgotten."""
    last = max((i for i, event in enumerate(events) if isinstance(event, Restart)), default=-1)
    return events[last + 1 :]


def test_a_clean_file_is_decords(clips):
    *_, end = read(clips["constant"], DENSE)
    assert end.decoder.startswith("decord")
    assert end.takeover == ""


@pytest.mark.parametrize("name", ["webm", "ten_bit", "truncated", "rotated"])
def test_files_known_to_trouble_decord_go_to_pyav_at_once(clips, name):
    events = list(read(clips[name], DENSE))
    assert not any(isinstance(event, Restart) for event in events)
    assert events[-1].decoder.startswith("pyav")
    assert events[-1].takeover


@pytest.mark.parametrize("error", [DecodeError("broken"), DecoderDisagreesError("Decord counts 431 frames")])
def test_pyav_starts_over_when_decord_gives_up_half_way(clips, monkeypatch, error):
    def broken(*args):
        yield Frame(0.0, np.zeros((48, 48, 3), np.uint8))
        raise error

    monkeypatch.setattr(policy_module, "read_decord", broken)
    events = list(read(clips["constant"], DENSE))
    assert events[1] == Restart(str(error))
    assert events[-1].takeover == str(error)
    alone = list(read(clips["constant"], DENSE, policy="pyav"))
    assert [e.seconds for e in after_restart(events)[:-1]] == [e.seconds for e in alone[:-1]]


def test_a_lying_frame_count_makes_pyav_take_over(clips, monkeypatch):
    import decord

    monkeypatch.setattr(decord.VideoReader, "__len__", lambda self: 51)
    events = list(read(clips["constant"], DENSE))
    assert events[0] == Restart("Decord counts 51 frames, the file has 50")
    assert events[-1].frames == 50


def test_hidden_damage_never_reaches_the_features(clips, tmp_path):
    """Bytes flipped inside packets: Decord conceals them quietly; the policy must give PyAV's frames or equal ones."""
    good = clips["constant"].read_bytes()
    taken_over = 0
    with DecoderProcess(DENSE) as process:  # standard error is a file there, so complaints can be read
        for seed in range(6):
            rng, data = np.random.default_rng(seed), bytearray(good)
            for i in rng.integers(1500, 11_000, 3):
                data[i] ^= int(rng.integers(1, 256))
            path = tmp_path / f"{seed}.mp4"
            path.write_bytes(data)
            auto, pyav = (after_restart(list(process.events(path, policy))) for policy in ("auto", "pyav"))
            taken_over += auto[-1].decoder.startswith("pyav")
            for one, other in zip(auto[:-1], pyav[:-1], strict=True):
                assert one.seconds == pytest.approx(other.seconds)
                assert np.abs(one.image.astype(int) - other.image).mean() < 1.5
    assert taken_over >= 3


def test_frames_that_an_avi_repeats_are_none_that_are_missing(tmp_path):
    """AVI has a packet of no bytes for a picture that stays, and counts it among its frames."""
    path = tmp_path / "still.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 30)
        for i in range(60):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = 3 * i, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames > 120
    end = list(read(path, DENSE))[-1]
    assert isinstance(end, Finished)
    assert end.recovered == 1.0


def test_too_little_recovered_is_a_failure_with_numbers(clips):
    with pytest.raises(DecodeError, match=r"only \d+% .* the limit is 50%"):
        list(read(clips["stump"], DENSE))
    assert isinstance(list(read(clips["stump"], DENSE, min_recovered=0.1))[-1], Finished)


def test_forced_decord_is_not_replaced(clips):
    with pytest.raises(DecodeError, match="Decord"):
        list(read(clips["damaged"], DENSE, policy="decord"))


def test_pyav_alone_is_enough(clips, monkeypatch):
    monkeypatch.setitem(sys.modules, "decord", None)  # as on a machine without Decord
    assert decoder_versions()["decord"] == ""
    events = after_restart(list(read(clips["constant"], DENSE)))
    assert events[-1].decoder.startswith("pyav")
    assert "not usable here" in events[-1].takeover
    with pytest.raises(DecodeError, match="not usable here"):
        list(read(clips["constant"], DENSE, policy="decord"))


def test_an_unknown_policy_is_a_bug_of_the_caller(clips):
    with pytest.raises(ValueError, match="opencv"):
        list(read(clips["constant"], DENSE, policy="opencv"))
