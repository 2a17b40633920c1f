"""Decoding only what rows look at gives the same frames as decoding everything, in fewer steps, or gives way to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import every, render, scramble
from fakes import DENSE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdmf_extract.decode import pyav_reader, selection
from rdmf_extract.decode.events import DecodeError, Event, Finished, Frame, Restart
from rdmf_extract.decode.packets import BEGINNING, NEEDED, SPARE, PacketReader
from rdmf_extract.decode.policy import read
from rdmf_extract.decode.probe import Probe, probe
from rdmf_extract.decode.pyav_reader import read_pyav
from rdmf_extract.decode.selection import ANEW, PASS, SEND, Selection, select, wanted_frames
from rdmf_extract.sampling import Sampling

SIZES = {"resize": 64, "crop": 48}


def sampling(window: float, stride: float, frames: int) -> Sampling:
    return Sampling(frames / window, window, stride, frames, **SIZES)


SPARSE = sampling(2.0, 2.0, 1)


def settle(events: Iterator[Event]) -> tuple[list[Frame], Finished, list[str]]:
    """The frames that count, the end, and why everything before was forgotten."""
    frames: list[Frame] = []
    restarts: list[str] = []
    for event in events:
        if isinstance(event, Restart):
            assert not event.takeover
            restarts.append(event.reason)
            frames = []
        elif isinstance(event, Frame):
            frames.append(event)
        else:
            return frames, event, restarts
    raise AssertionError("no end")


def both(path: Path, s: Sampling, *, damaged: bool = False) -> tuple[Finished, Finished, list[str]]:
    """The ends of decoding only what is used and of decoding all; their frames are equal, bit for bit.

    Where a file is damaged, what was left out may be too, and nobody notices: frames are equal, counts may not be.
    """
    facts = probe(path)
    ours, end, restarts = settle(read_pyav(facts, s, lambda: None))
    theirs, plain, _ = settle(pyav_reader.read_everything(facts, s, lambda: None))
    assert [frame.seconds for frame in ours] == [frame.seconds for frame in theirs]
    for one, other in zip(ours, theirs):
        np.testing.assert_array_equal(one.image, other.image)
    assert end.duration == plain.duration
    assert end.used == plain.used == len(ours)
    if not restarts and not damaged:
        assert (end.frames, end.recovered) == (plain.frames, plain.recovered)
    return end, plain, restarts


X264 = {"preset": "ultrafast", "crf": "20"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gop=st.integers(1, 30),
    b_frames=st.integers(0, 3),
    coder=st.sampled_from(["closed", "pyramid", "open", "refresh", "hevc", "hevc-open", "mpeg4"]),
    container=st.sampled_from(["mp4", "mkv"]),
    window=st.sampled_from([0.2, 0.5, 1.0, 3.0]),
    stride=st.sampled_from([0.3, 1.0, 2.5, 4.0]),
    frames=st.sampled_from([1, 2, 5]),
    offset=st.sampled_from([0.0, 1.5]),
)
def test_the_frames_are_those_of_decoding_everything(
    tmp_path, gop, b_frames, coder, container, window, stride, frames, offset
):
    options, codec = {**X264, "bf": str(b_frames), "g": str(gop)}, "libx264"
    if coder == "mpeg4":
        options, codec = {"bf": str(b_frames), "g": str(gop), "qscale": "3"}, "mpeg4"
    elif coder.startswith("hevc"):
        open_gop = int(coder.endswith("open"))
        codec = "libx265"
        options = {"preset": "ultrafast"}
        options["x265-params"] = f"log-level=none:keyint={gop}:bframes={b_frames}:open-gop={open_gop}:pools=1"
    elif coder != "closed":
        options["x264-params"] = {"pyramid": "b-pyramid=normal", "open": "open-gop=1", "refresh": "intra-refresh=1"}[
            coder
        ]
    times = every(0.125, 60)
    path = render(tmp_path / f"any.{container}", times, codec=codec, options=options, offset=offset)
    end, plain, restarts = both(path, sampling(window, stride, frames))
    assert restarts == []
    assert plain.decoded == len(times)
    assert end.decoded <= plain.decoded


def test_sparse_rows_skip_whole_groups_of_pictures(tmp_path):
    path = render(tmp_path / "v.mp4", every(0.1, 100), options={"g": "10", "bf": "0", **X264})
    end, plain, _ = both(path, SPARSE)
    # Five instants, one in the middle of each two seconds, the first frame and the last one; groups of one second.
    assert plain.decoded == 100
    assert end.decoded <= 7 * 10
    assert end.frames == 100
    assert end.used == 6
    facts = probe(path)
    chosen = select(facts, SPARSE)
    assert chosen is not None
    assert chosen.actions.count(ANEW) >= 4
    assert [facts.kinds[i] for i, action in enumerate(chosen.actions) if action == ANEW].count(BEGINNING) >= 4


def test_frames_that_nothing_refers_to_are_left_out(tmp_path):
    options = {"preset": "medium", "bf": "2", "b_strategy": "0", "x264-params": "b-pyramid=none:scenecut=0", "g": "250"}
    path = render(tmp_path / "v.mp4", every(0.1, 60), options=options)
    facts = probe(path)
    assert facts.kinds.count(SPARE) >= 30
    assert (facts.kinds.count(BEGINNING), facts.kinds.count(NEEDED) > 15) == (1, True)
    end, _, _ = both(path, sampling(1.0, 1.0, 2))
    assert end.decoded <= 60 - facts.kinds.count(SPARE) + 12 + 1


def test_overlapping_windows_decode_no_frame_twice(tmp_path):
    path = render(tmp_path / "v.mp4", every(0.1, 100), options={"g": "10", "bf": "0", **X264})
    apart = both(path, sampling(1.0, 1.0, 4))[0]
    overlapping = both(path, sampling(4.0, 1.0, 16))[0]  # each instant belongs to four rows
    assert overlapping.decoded <= 100
    assert overlapping.used <= apart.used + 1


def test_a_picture_shown_before_its_group_begins_takes_the_group_before_along():
    """Open groups of pictures: in the file's order P0 P1 | I4 b2 b3 P5; b2 and b3 may need P1."""
    order, kinds = (0.0, 1.0, 4.0, 2.0, 3.0, 5.0), bytes([BEGINNING, NEEDED, BEGINNING, NEEDED, SPARE, NEEDED])
    facts = known(order, kinds)
    picked = {2.0: [SEND] * 4 + [PASS] * 2, 5.0: [SEND, PASS, ANEW, SEND, PASS, SEND]}
    for wanted, actions in picked.items():
        assert list(selection._actions(facts, [wanted]) or ()) == actions
    # The beginning itself, whose group might be entered there, does not take away what its leading pictures need.
    assert list(selection._actions(facts, [2.0, 4.0]) or ()) == picked[2.0]


def known(order: tuple[float, ...], kinds: bytes) -> Probe:
    """What is known of a well-behaved file with these packets."""
    n = len(order)
    return Probe(
        path=Path("v.mp4"), container="mov,mp4,m4a,3gp,3g2,mj2", codec="h264", width=96, height=64, bits=8,
        stream_index=0, video_streams=1, times=tuple(sorted(order)), packets=n, untimed_packets=0, corrupt_packets=0,
        discarded_packets=0, expected_frames=n, header_seconds=float(n), frame_seconds=1.0, last_seconds=1.0,
        rotation=0, order=order, kinds=kinds,
    )  # fmt: skip


@pytest.mark.parametrize(
    "doubt",
    [
        {"container": "avi"},
        {"corrupt_packets": 1},
        {"untimed_packets": 1},
        {"discarded_packets": 1},
        {"cut_short": "ended"},
        {"video_streams": 2},
        {"kinds": b""},
        {"kinds": bytes([NEEDED] * 40)},
        {"expected_frames": 41},
        {"times": tuple(float(i) for i in range(39))},
    ],
)
def test_where_anything_is_doubtful_everything_is_decoded(doubt):
    facts = known(tuple(float(i) for i in range(40)), bytes([BEGINNING, NEEDED] * 20))
    far = sampling(10.0, 10.0, 1)
    assert select(facts, far) is not None
    assert select(replace(facts, **doubt), far) is None


def test_a_container_that_calls_a_frame_a_key_frame_is_not_believed(tmp_path):
    options = {"g": "10", "bf": "0", **X264, "x264-params": "intra-refresh=1"}
    path = render(tmp_path / "v.mp4", every(0.1, 60), options=options)
    with av.open(str(path)) as container:
        marked = sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
    assert probe(path).kinds.count(BEGINNING) == 1
    assert marked >= 1


AVC = bytes([1, 66, 0, 30, 0xFF, 0xE1, 0])  # lengths of four bytes


def packed(*units: bytes) -> memoryview:
    """Units, each after its length."""
    return memoryview(b"".join(len(unit).to_bytes(4, "big") + unit for unit in units))


IDR, SLICE, SPARE_SLICE, SETS, OTHER_SETS = b"\x65i", b"\x61p", b"\x01b", b"\x67s", b"\x67t"


@pytest.mark.parametrize(
    ("packets", "kinds", "sure"),
    [
        ([[IDR], [SLICE], [SPARE_SLICE], [b"\x06", SPARE_SLICE, SPARE_SLICE]], [1, 0, 2, 2], True),
        ([[SETS, IDR], [SLICE], [SETS, IDR]], [1, 0, 1], True),
        ([[SPARE_SLICE, SLICE], [b"\x02part"]], [0, 0], True),
        ([[SETS, IDR], [SLICE], [OTHER_SETS, IDR]], [1, 0, 1], False),
        ([[IDR], [SETS, SPARE_SLICE]], [1, 2], False),
        ([[SETS, IDR], [IDR]], [1, 1], False),
    ],
)
def test_the_kind_of_a_packet_is_read_off_its_units(packets, kinds, sure):
    reader = PacketReader("h264", AVC)
    assert [reader.kind_of(packed(*units)) for units in packets] == kinds
    assert reader.sure is sure


def test_bytes_that_are_not_understood_end_the_certainty():
    for data in (b"", b"\0\0\0\x09\x65", b"\0\0\0\1\x65\x01"):
        reader = PacketReader("h264", AVC)
        assert reader.kind_of(memoryview(data)) == NEEDED
        assert not reader.sure
    for codec, header in (("h264", b"\0\0\0\1\x67"), ("hevc", AVC), ("vp9", b""), ("libdav1d", AVC)):
        assert not PacketReader(codec, header).sure


def test_a_new_header_on_the_way_ends_the_certainty():
    class Packet(bytes):
        def has_sidedata(self, kind):
            return kind == "new_extradata" and self.endswith(b"new")

    reader = PacketReader("h264", AVC)
    assert reader.kind(Packet(packed(IDR))) == BEGINNING
    assert reader.kind(Packet(packed(IDR + b"new"))) == NEEDED
    assert not reader.sure
    older = PacketReader("h264", AVC)  # a PyAV that cannot tell
    assert older.kind(bytes(packed(IDR))) == NEEDED
    assert not older.sure


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0.05, 0.95), length=st.floats(0.002, 0.2), stride=st.sampled_from([0.5, 2.0]))
def test_damage_anywhere_changes_no_frame(clips, tmp_path, at, length, stride):
    source = tmp_path / "whole.mp4"
    if not source.exists():
        render(source, every(0.1, 80), options={"g": "12", "crf": "20"}, container_options={"movflags": "faststart"})
    path = scramble(source, tmp_path / "damaged.mp4", at, min(1.0, at + length))
    with contextlib.suppress(DecodeError):
        both(path, sampling(stride, stride, 1), damaged=True)


def test_damage_that_is_met_ends_the_short_way(tmp_path):
    path = render(tmp_path / "damaged.mp4", every(0.1, 80), options={"g": "40", "crf": "10"})
    with av.open(str(path)) as container:
        hit = [packet for packet in container.demux(video=0) if packet.size and packet.pts][20]
        where, size = hit.pos + 40, hit.size - 60
    data = bytearray(path.read_bytes())
    data[where : where + size] = np.random.default_rng(2).integers(0, 256, size, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    assert select(probe(path), sampling(1.0, 1.0, 1)) is not None
    end, plain, restarts = both(path, sampling(1.0, 1.0, 1))
    assert len(restarts) == 1
    assert restarts[0].startswith("everything is decoded")
    assert (end.frames, end.decoded, end.bad_packets) == (plain.frames, plain.decoded, plain.bad_packets)


@pytest.mark.parametrize("wrong", ["gap", "short", "long", "early"])
def test_a_selection_that_does_not_fit_is_found_out(clips, monkeypatch, wrong):
    """As where the file is replaced after it was probed, or a decoder does not give what it should."""
    facts = probe(clips["constant"])
    wanted = tuple(t - facts.times[0] for t in wanted_frames(facts.times, SPARSE))
    actions = {
        "gap": bytes([SEND] * 10 + [PASS] * 40),
        "short": bytes([SEND] * 49),
        "long": bytes([SEND] * 51),
        "early": bytes([SEND] * 50),
    }[wrong]
    if wrong == "early":
        wanted = (wanted[0] - 0.01, *wanted[1:])
    monkeypatch.setattr(pyav_reader, "select", lambda *_: Selection(wanted, actions))
    _, _, restarts = both(clips["constant"], SPARSE)
    assert len(restarts) == 1


def test_sparse_rows_are_left_to_pyav_and_dense_ones_to_decord(clips):
    *_, end = read(clips["constant"], SPARSE)
    assert (end.decoder.split()[0], end.takeover.split(":")[0]) == ("pyav", "sparse")
    *_, end = read(clips["constant"], DENSE)
    assert (end.decoder.split()[0], end.takeover) == ("decord", "")
    assert (end.decoded, end.used <= 50) == (50, True)


def test_where_auto_means_pyav_its_frames_are_pyavs_bit_for_bit(clips):
    for name in ("constant", "variable", "damaged", "webm", "rotated"):
        auto, *_ = settle(read(clips[name], SPARSE))
        pyav, *_ = settle(read(clips[name], SPARSE, policy="pyav"))
        assert [frame.seconds for frame in auto] == [frame.seconds for frame in pyav]
        assert all(np.array_equal(one.image, other.image) for one, other in zip(auto, pyav))


def test_decord_first_gives_what_auto_once_gave_for_sparse_rows(clips):
    *frames, end = read(clips["constant"], SPARSE, policy="decord-first")
    *theirs, _ = read(clips["constant"], SPARSE, policy="decord")
    assert (end.decoder.split()[0], end.takeover) == ("decord", "")
    assert all(np.array_equal(one.image, other.image) for one, other in zip(frames, theirs, strict=True))
    *_, end = read(clips["webm"], SPARSE, policy="decord-first")
    assert end.decoder.startswith("pyav")


def test_sparse_means_up_to_eight_looks_a_second():
    assert SPARSE.sparse
    assert sampling(1.0, 60.0, 16).sparse
    assert sampling(1.0, 1.0, 1).sparse
    assert sampling(1.0, 1.0, 8).sparse
    assert not sampling(1.0, 1.0, 9).sparse
    assert not DENSE.sparse
    assert sampling(0.7, 0.7, 5).sparse  # 7.14 a second, whatever the rounding of seven tenths
    assert not sampling(2.0, 2.0, 32).sparse  # VideoSwin


@settings(max_examples=100, deadline=None)
@given(stride=st.integers(1, 40), window=st.integers(1, 40), frames=st.integers(1, 16))
def test_looks_are_counted_once_however_many_rows_share_them(stride, window, frames):
    """Against counting them in a long stretch of video, in exact arithmetic."""
    s = sampling(window / 8, stride / 8, frames)
    step = Fraction(window, 8 * frames)
    rows = 40 + 2 * (window // stride)
    seen = {Fraction(stride, 8) * row + (k + Fraction(1, 2)) * step for row in range(rows) for k in range(frames)}
    since, until = Fraction(stride, 8) * (window // stride + 1), Fraction(stride, 8) * (rows - 1)
    counted = sum(since <= instant < until for instant in seen) / float(until - since)
    assert s.looks_per_second == pytest.approx(counted)


@pytest.mark.shared
@pytest.mark.long
@pytest.mark.parametrize("s", [sampling(1.0, 1.0, 2), sampling(5.0, 5.0, 1), sampling(30.0, 30.0, 1)])
def test_real_files_give_the_same_frames(shared, s):
    video = shared / "video"
    fewer = 0
    for path in [*sorted((video / "formats").iterdir()), *sorted((video / "anet").glob("*.mp4"))]:
        try:
            facts = probe(path)
        except DecodeError:
            continue
        if select(facts, s) is None:
            continue
        end, plain, restarts = both(path, s)
        assert restarts == [], path.name
        assert end.decoded < plain.decoded, path.name
        fewer += 1
    assert fewer >= 14
