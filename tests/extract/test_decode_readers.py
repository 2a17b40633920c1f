"""What the two decoders give for ordinary and odd files, and that they agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import every, level, render
from fakes import SAMPLING

from rdmf_extract.decode.decord_reader import objection, read_decord
from rdmf_extract.decode.events import DecodeError, DecoderDisagreesError, Finished, Frame
from rdmf_extract.decode.geometry import center_crop, resized, upright
from rdmf_extract.decode.probe import probe
from rdmf_extract.decode.pyav_reader import PacketDecoder, read_pyav
from rdmf_extract.sampling import Sampling

READERS = {"decord": read_decord, "pyav": read_pyav}
EACH_FRAME = Sampling(20.0, 1.0, 1.0, 20, 64, 48)  # twice the frame rate: every frame is looked at


def decode(path: Path, reader: str, sampling: Sampling = EACH_FRAME) -> tuple[list[Frame], Finished]:
    *frames, end = READERS[reader](probe(path), sampling, lambda: None)
    assert isinstance(end, Finished)
    return frames, end


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["constant", "late_start"])
def test_every_frame_comes_with_its_time_from_the_first(clips, reader, name):
    frames, end = decode(clips[name], reader)
    np.testing.assert_allclose([frame.seconds for frame in frames], every(0.1, 50), atol=0.002)
    assert end.frames == 50
    assert end.recovered == 1.0
    assert end.first_seconds == pytest.approx(3.0 if name == "late_start" else 0.0, abs=0.002)
    assert 4.9 < end.duration <= 5.0
    for frame in frames:
        assert frame.image.shape == (48, 48, 3)
        assert abs(frame.image.mean() - level(frame.seconds)) < 6.0


@pytest.mark.parametrize("reader", READERS)
def test_variable_frame_rate_is_told_by_presentation_times(clips, reader):
    frames, _ = decode(clips["variable"], reader, Sampling(100.0, 1.0, 1.0, 100, 64, 48))
    np.testing.assert_allclose([f.seconds for f in frames], [0.0, 0.04, 0.08, 1.5, 1.6, 1.7, 3.9, 4.0], atol=0.002)


@pytest.mark.parametrize("name", ["constant", "variable", "rotated", "short", "one_frame", "late_start"])
def test_decoders_agree_on_times_and_pixels(clips, name):
    (ours, end), (theirs, other_end) = decode(clips[name], "pyav"), decode(clips[name], "decord")
    assert [f.seconds for f in ours] == pytest.approx([f.seconds for f in theirs])
    assert end.duration == pytest.approx(other_end.duration)
    difference = np.stack([f.image for f in ours]).astype(int) - np.stack([f.image for f in theirs])
    assert np.abs(difference).mean() < 1.5  # measured 0 to 0.5; a frame off by one differs by 2 or more


@pytest.mark.parametrize("reader", READERS)
def test_rotation_is_applied(clips, reader):
    flat, turned = decode(clips["upright"], reader)[0][0].image, decode(clips["rotated"], reader)[0][0].image
    assert flat[:, :20].mean() < 10
    assert flat[:, -20:].mean() > 245  # right half white
    # 90 degrees counter-clockwise: the right half is at the top now.
    assert turned[:20].mean() > 245
    assert turned[-20:].mean() < 10


def test_only_frames_that_rows_look_at_are_converted(clips):
    frames, end = decode(clips["constant"], "pyav", Sampling(1.0, 1.0, 1.0, 1, 64, 48))
    assert end.frames == 50
    assert [round(f.seconds, 2) for f in frames] == [0.5, 1.5, 2.5, 3.5, 4.5, 4.9]


@pytest.mark.parametrize("name", ["webm", "ten_bit"])
def test_pyav_reads_what_decord_should_not_be_given(clips, name):
    assert objection(probe(clips[name]), EACH_FRAME)
    frames, end = decode(clips[name], "pyav")
    assert end.frames == 20
    for frame in frames:
        assert abs(frame.image.mean() - level(frame.seconds)) < 6.0


def test_decord_is_given_no_video_that_it_could_fill_the_memory_with(clips):
    facts = probe(clips["constant"])
    assert objection(facts, EACH_FRAME) == ""
    assert "5530 MB" in objection(replace(facts, packets=300_000), EACH_FRAME)


def test_damage_in_the_middle_costs_pyav_some_frames_and_no_more(clips):
    _, end = decode(clips["damaged"], "pyav")
    assert end.bad_packets > 0
    assert 40 <= end.frames < 50
    assert end.recovered == pytest.approx(end.frames / 50)


def test_a_truncated_file_says_how_much_was_recovered(clips):
    facts = probe(clips["truncated"])
    assert objection(facts, EACH_FRAME)
    _, end = decode(clips["truncated"], "pyav")
    assert 0.5 < end.recovered < 0.9
    assert end.duration == pytest.approx(5.0 * end.recovered, abs=0.3)


def test_decord_is_not_believed_where_its_frames_are_misshapen(clips):
    # Decord takes the padded line length for the width: frames narrower than 64 px come with four channels.
    with pytest.raises(DecoderDisagreesError, match=r"\(32, 48, 4\)"):
        decode(clips["constant"], "decord", Sampling(4.0, 1.0, 1.0, 4, 32, 24))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("audio_only", "no video stream"),
        ("text", "not a video file"),
        ("empty", "empty"),
        ("headless", "not a video file"),
        ("zero_frames", "no data"),
    ],
)
def test_unreadable_files_have_a_reason(clips, name, reason):
    with pytest.raises(DecodeError, match=reason):
        probe(clips[name])


def test_missing_files_and_folders_have_a_reason(tmp_path):
    with pytest.raises(DecodeError, match="file not found"):
        probe(tmp_path / "nothing.mp4")
    with pytest.raises(DecodeError, match="not a file"):
        probe(tmp_path)


def test_avi_frames_keep_their_order_and_get_sorted_times(clips, tmp_path, monkeypatch):
    """AVI has no presentation times, and FFmpeg's guesses swap neighbours: the decoder's order is the right one."""
    guessed = [0.04, 0.08, 0.16, 0.12, 0.20, 0.32, 0.24, 0.28]
    path = render(tmp_path / "b_frames.avi", every(0.04, 8), codec="mpeg4", options={"bf": "2"})
    monkeypatch.setattr(PacketDecoder, "_stamped", lambda self: ((t, i) for i, t in enumerate(guessed)))
    assert list(PacketDecoder(probe(path)).timed_frames()) == [(t, i) for i, t in enumerate(sorted(guessed))]


def test_geometry():
    assert resized(1920, 1080, 256) == (455, 256)
    assert resized(50, 200, 224) == (224, 896)
    image = np.arange(4 * 6 * 3).reshape(4, 6, 3).astype(np.uint8)
    assert center_crop(image, 2).tolist() == image[1:3, 2:4].tolist()
    assert upright(image, 0) is image
    assert upright(image, -90).shape == (6, 4, 3)
    assert upright(image, -90)[0, -1].tolist() == image[0, 0].tolist()  # clockwise: top left goes to the top right
    assert upright(image, 180)[0, 0].tolist() == image[-1, -1].tolist()


def test_the_fake_sampling_is_wide_enough_for_decord():
    assert resized(96, 64, SAMPLING.resize)[0] >= 64
