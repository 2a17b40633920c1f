"""An encoder a device, each in its process: the same features as in one, whatever happens to a process."""

from __future__ import annotations

import os
import subprocess
import sys

import fakes
import numpy as np
import pytest
from fakes import SAMPLING, FakeTextEncoder, FakeVideoEncoder

from rdmf.store import InputError, QueryRecord, open_cache
from rdmf_extract.encoders.spec import EncoderSpec
from rdmf_extract.engines.encoder_process import EncoderFailedError
from rdmf_extract.engines.processes import EncoderProcesses
from rdmf_extract.pipeline import extract


@pytest.fixture(scope="module")
def batches() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (SAMPLING.frames_per_window, SAMPLING.crop, SAMPLING.crop, 3)
    return [rng.integers(0, 256, (rows, *shape), np.uint8) for rows in (3, 5, 1, 5, 2)]


def encoded(processes: EncoderProcesses, batches: list[np.ndarray]) -> tuple[dict[int, np.ndarray], list[str]]:
    """Features by number of the batch, and what was told."""
    found = {}
    with processes.batches() as feeder:
        for i, batch in enumerate(batches):
            feeder.submit(batch, [(f"v{i}", 0, row) for row in range(len(batch))])
            found.update({int(owners[0][0][1:]): features for owners, features in feeder.finished(wait=False)})
        found.update({int(owners[0][0][1:]): features for owners, features in feeder.finished(wait=True)})
        return found, feeder.notes()


def assert_right(found: dict[int, np.ndarray], batches: list[np.ndarray]) -> None:
    assert sorted(found) == list(range(len(batches)))
    for i, batch in enumerate(batches):
        np.testing.assert_array_equal(found[i], FakeVideoEncoder().encode(batch))


def test_two_devices_give_what_one_encoder_gives(batches):
    with EncoderProcesses(EncoderSpec.of(fakes.build_fake, "fake"), ["cpu", "cpu"]) as processes:
        assert (processes.name, processes.dim, processes.sampling) == ("fake", 6, SAMPLING)
        assert processes.provenance == FakeVideoEncoder().provenance
        for _ in range(2):  # the processes serve one run after another
            found, notes = encoded(processes, batches)
            assert_right(found, batches)
            assert notes == []
        pids = [process._process.pid for process in processes._processes]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_that_dies_or_raises_once_is_replaced(batches, tmp_path):
    (tmp_path / "cpu-kill-1").touch()
    (tmp_path / "cpu-raise-1").touch()
    with EncoderProcesses(EncoderSpec.of(fakes.build_troubled, "fake", folder=str(tmp_path)), ["cpu"]) as processes:
        found, notes = encoded(processes, batches)
    assert_right(found, batches)
    assert notes == [
        "the encoder on cpu was ended by signal 9; it is started again",
        "the encoder on cpu raised RuntimeError: the device has had enough; it is started again",
    ]


def test_a_device_that_keeps_failing_is_given_up_and_the_others_go_on(batches, tmp_path):
    (tmp_path / "bad-kill-always").touch()
    spec = EncoderSpec.of(fakes.build_troubled, "fake", folder=str(tmp_path))
    with EncoderProcesses(spec, ["bad", "good"]) as processes:
        found, notes = encoded(processes, batches * 3)
    assert_right(found, batches * 3)
    assert all(note.startswith("the encoder on bad was ended by signal 9") for note in notes)


@pytest.mark.parametrize(
    ("trouble", "error", "message"),
    [
        ("kill", InputError, "the encoder on cpu was ended by signal 9, 3 times over"),
        ("raise", EncoderFailedError, r"(?s)the encoder on cpu raised\nTraceback .*the device has had enough"),
    ],
)
def test_where_no_device_is_left_the_run_ends(batches, tmp_path, trouble, error, message):
    (tmp_path / f"cpu-{trouble}-always").touch()
    spec = EncoderSpec.of(fakes.build_troubled, "fake", folder=str(tmp_path))
    with EncoderProcesses(spec, ["cpu"]) as processes, pytest.raises(error, match=message):
        encoded(processes, batches)


@pytest.mark.long
def test_a_process_that_falls_silent_is_replaced(batches, tmp_path):
    (tmp_path / "cpu-stop-1").touch()
    spec = EncoderSpec.of(fakes.build_troubled, "fake", folder=str(tmp_path))
    with EncoderProcesses(spec, ["cpu"], timeout_seconds=2.0) as processes:
        found, notes = encoded(processes, batches[:1])
    assert_right(found, batches[:1])
    assert notes == ["the encoder on cpu gave no answer for 2 s; it is started again"]


def test_an_encoder_that_cannot_be_built_is_one_clear_line():
    with pytest.raises(InputError, match=r"^no cuda:7 here$"):
        EncoderProcesses(EncoderSpec.of(fakes.build_refused, "fake"), ["cuda:7"])


def test_devices_with_different_encoders_are_refused():
    with pytest.raises(InputError, match=r"the encoder on cuda:1 is another one than on cuda:0: video\.\w+: "):
        EncoderProcesses(EncoderSpec.of(fakes.build_of_its_own, "fake"), ["cuda:0", "cuda:1"])


def test_precisions_that_differ_by_device_are_refused_with_the_remedy():
    """As "auto" gives them on a CPU and a GPU."""
    with pytest.raises(InputError) as refused:
        EncoderProcesses(EncoderSpec.of(fakes.build_of_its_precision, "fake"), ["cpu", "cuda:0"])
    assert str(refused.value) == (
        "the encoder on cuda:0 is another one than on cpu: video.precision: bfloat16 here, absent (float32) there; "
        "name one for all of them with --precision"
    )


def test_an_extraction_on_two_devices_is_the_same_as_on_one(clips, tmp_path):
    videos = {name: clips[name] for name in ("constant", "second", "short", "variable", "text")}
    asked = [QueryRecord(i, vid, f"a thing {i}", "train") for i, vid in enumerate(videos)]
    extract(videos, asked, out=tmp_path / "one.h5", video_encoder=FakeVideoEncoder(), text_encoder=FakeTextEncoder())
    with EncoderProcesses(EncoderSpec.of(fakes.build_fake, "fake"), ["cpu", "cpu"]) as processes:
        summary = extract(
            videos,
            asked,
            out=tmp_path / "two.h5",
            video_encoder=processes,
            text_encoder=FakeTextEncoder(),
            workers=2,
            batch_rows=3,
        )
    assert (summary.done, len(summary.failures)) == (4, 1)
    with open_cache(tmp_path / "one.h5") as one, open_cache(tmp_path / "two.h5") as two:
        assert one.vids == two.vids
        assert one.video_table().digests == two.video_table().digests  # rows, times, seconds, decoder, name
        assert one.text_table() == two.text_table()


def test_the_encoders_process_itself_loads_no_torch():
    code = "import sys, rdmf_extract.engines.encoder_child; print('torch' in sys.modules)"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
