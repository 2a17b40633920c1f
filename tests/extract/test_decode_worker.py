"""Decoder processes: frames arrive whole, and a hang, an abort or a deserter costs one file at most."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fakes import DENSE, SAMPLING

from rdmf_extract.decode import ring, worker
from rdmf_extract.decode.events import DecodeError, Finished, Frame, Restart
from rdmf_extract.decode.policy import read
from rdmf_extract.decode.process import Ahead
from rdmf_extract.decode.ring import FrameRing
from rdmf_extract.decode.worker import DecoderProcess
from rdmf_extract.sampling import Sampling


@pytest.fixture
def trouble(clips, tmp_path):
    """A good file under a name that makes the fake decoder misbehave."""

    def named(name: str):
        return shutil.copy(clips["constant"], tmp_path / f"{name}.mp4")

    return named


def same_frames(one: list, other: list) -> bool:
    return len(one) == len(other) and all(
        a.seconds == b.seconds and np.array_equal(a.image, b.image) for a, b in zip(one[:-1], other[:-1])
    )


def test_frames_are_the_same_as_without_a_process(clips):
    with DecoderProcess(DENSE) as process:
        for name in ("constant", "variable"):
            assert same_frames(list(process.events(clips[name])), list(read(clips[name], DENSE)))


def test_a_decoder_that_does_not_load_is_no_files_fault(clips):
    """A broken installation: the files are tried again by the next run, and the reason is told."""
    with DecoderProcess(SAMPLING, module="no_such_decoder") as process:
        with pytest.raises(DecodeError, match=r"ended with status 1\): .*No module named no_such_decoder") as raised:
            list(process.events(clips["constant"], "pyav"))
        assert raised.value.passing


def test_a_slow_listener_loses_no_frame(clips, monkeypatch):
    monkeypatch.setattr(worker, "RING_BYTES", 2 * 48 * 48 * 3)  # two slots
    dense = Sampling(10.0, 1.0, 1.0, 10, 64, 48)
    with DecoderProcess(dense) as process:
        assert process._ring.slots == 2
        slow = []
        for event in process.events(clips["constant"], "pyav"):
            time.sleep(0.005)
            slow.append(event)
    assert same_frames(slow, list(read(clips["constant"], dense, policy="pyav")))
    assert len(slow) > 40


@pytest.mark.parametrize("name", ["abort", "late"])
def test_after_two_crashes_of_decord_pyav_takes_over(trouble, name):
    with DecoderProcess(DENSE, module="fake_decoder") as process:
        events = list(process.events(trouble(name)))
    again, restart = (i for i, event in enumerate(events) if isinstance(event, Restart))
    assert not events[again].takeover
    assert events[restart].takeover
    assert (again > 0) == (name == "late")
    assert "signal 6" in events[restart].reason
    assert ("the last words" in events[restart].reason) == (name == "late")
    assert events[-1].decoder.startswith("pyav")
    assert events[-1].takeover == events[restart].reason
    assert same_frames(events[restart + 1 :], list(read(trouble("fine"), DENSE, policy="pyav")))


def test_after_one_crash_the_same_decoder_gives_what_it_would_have_given(trouble, clips):
    """Whoever killed it, Decord stays Decord: features must not depend on what happened to a process."""
    path = trouble("abort_once")
    with DecoderProcess(DENSE, module="fake_decoder") as process:
        restart, *events = process.events(path)
    assert restart == Restart(restart.reason, takeover=False)
    assert events[-1].decoder.startswith("decord")
    assert events[-1].takeover == ""
    assert same_frames(events, list(read(clips["constant"], DENSE)))


@pytest.mark.long
def test_a_decoder_that_is_always_killed_from_outside_is_no_fault_of_the_file(trouble, monkeypatch):
    monkeypatch.setattr(worker, "MOST_KILLS", 1)
    with DecoderProcess(DENSE, module="fake_decoder") as process:
        with pytest.raises(DecodeError, match="signal 9") as killed:
            list(process.events(trouble("kill_always")))
        with pytest.raises(DecodeError, match="signal 6") as crashed:
            list(process.events(trouble("abort_always")))
    assert killed.value.passing
    assert not crashed.value.passing


def test_a_hang_is_killed_and_taken_over(trouble):
    with DecoderProcess(DENSE, timeout_seconds=5.0, module="fake_decoder") as process:
        events = list(process.events(trouble("hang")))
        assert "gave no sign of life for 1 s" in events[0].reason
        assert isinstance(events[-1], Finished)
        assert isinstance(list(process.events(trouble("fine")))[-1], Finished)


def test_crashing_always_costs_that_file_only(trouble):
    with DecoderProcess(DENSE, module="fake_decoder") as process:
        with pytest.raises(DecodeError, match="crashed"):
            list(process.events(trouble("abort_always")))
        with pytest.raises(DecodeError, match="crashed"):
            list(process.events(trouble("abort"), "decord"))
        assert isinstance(list(process.events(trouble("fine")))[-1], Finished)


def test_a_listener_who_leaves_half_way_gets_clean_events_next_time(clips):
    with DecoderProcess(DENSE) as process:
        events = process.events(clips["constant"])
        assert isinstance(next(events), Frame)
        events.close()
        assert same_frames(list(process.events(clips["variable"])), list(read(clips["variable"], DENSE)))


def test_a_failure_leaves_the_process_usable(clips):
    with DecoderProcess(DENSE) as process:
        with pytest.raises(DecodeError, match="no video stream"):
            list(process.events(clips["audio_only"]))
        first = process._child.process
        with pytest.raises(DecodeError, match="only"):  # after frames were sent
            list(process.events(clips["stump"]))
        assert same_frames(list(process.events(clips["short"])), list(read(clips["short"], DENSE)))
        assert process._child.process is first


def test_processes_are_recycled(clips, monkeypatch):
    monkeypatch.setattr(worker, "RECYCLE_AFTER", 2)
    with DecoderProcess(DENSE) as process:
        pids = []
        for _ in range(4):
            list(process.events(clips["short"]))
            pids.append(process._child.process.pid)
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_closing_ends_the_process(clips):
    with DecoderProcess(DENSE) as process:
        list(process.events(clips["short"]))
        pid = process._child.process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_processes_started_ahead_are_taken_and_the_others_ended(clips):
    """One that died meanwhile is passed over, and where none is left another is started."""
    with Ahead(3) as ahead:
        ahead.wait()
        dead, taken, left = ahead._waiting
        dead.process.kill()
        dead.process.wait()
        with (
            DecoderProcess(DENSE, ahead=ahead) as process,
            DecoderProcess(SAMPLING, module="fake_decoder", ahead=ahead),
        ):
            assert same_frames(list(process.events(clips["short"])), list(read(clips["short"], DENSE)))
            assert process._child is taken
            process.kill()
            assert ahead.take("fake_decoder") is None
            assert ahead.take() is left
            list(process.events(clips["short"]))
            assert process._child not in (dead, taken, left)
            left.end()
        with DecoderProcess(SAMPLING, ahead=ahead) as process:  # frames of any size, decided late
            assert same_frames(list(process.events(clips["short"])), list(read(clips["short"], SAMPLING)))
    assert all(one.process.poll() is not None for one in (dead, taken, left))
    with Ahead(1) as ahead:
        (unused,) = ahead._waiting
    assert unused.process.poll() is not None


def test_a_decoder_process_loads_decord_only_where_it_is_to_decode(clips):
    """It holds its libraries in memory for hours."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("/proc is Linux's")
    for sampling, policy, loaded in (
        (SAMPLING, "auto", False),
        (DENSE, "auto", True),
        (SAMPLING, "decord-first", True),
    ):
        with DecoderProcess(sampling) as process:
            list(process.events(clips["short"], policy))
            maps = Path(f"/proc/{process._child.process.pid}/maps").read_text()
        assert ("libdecord" in maps) == loaded


def test_a_ring_is_seen_from_both_ends():
    ring = FrameRing.create(4, 2)
    other = FrameRing(os.dup(ring.fd), 4, 2)
    for i in range(5):
        ring.write(i, np.full((4, 4, 3), i, np.uint8))
        assert (other.read(i) == i).all()
    other.close()
    ring.close()


def test_where_shared_memory_is_short_an_ordinary_file_serves(clips, monkeypatch):
    """As in a container with a /dev/shm of 64 MB: writing to memory that is not there would end the process."""
    real, refused = os.posix_fallocate, []

    def short(fd: int, offset: int, length: int) -> None:
        if not refused:
            refused.append(length)
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd, offset, length)

    monkeypatch.setattr(ring, "_MEMORY_FOLDER", "/dev/shm")
    monkeypatch.setattr(os, "posix_fallocate", short)
    with DecoderProcess(DENSE) as process:
        assert same_frames(list(process.events(clips["short"])), list(read(clips["short"], DENSE)))
    assert len(refused) == 1


def test_a_decoder_process_loads_no_torch():
    heavy = "[m for m in ('torch', 'transformers', 'timm', 'av', 'decord') if m in sys.modules]"
    code = f"import sys, rdmf_extract.decode.child; print({heavy})"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
