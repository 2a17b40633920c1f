"""Jobs in processes that live on: spread over devices, stopped together, failures named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from studies_samples import FAKE_JOB, ONE, SMALL_RUN, STUDY, TWO, ran, rdmf

from rdmf_pipelines.studies import runner

REAL_WORKER = runner.COMMAND


def test_a_failed_job_is_named_and_stops_no_other(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAIL", "without-iou-head")
    study = (*TWO, "--out", "study")
    assert rdmf(*study, "--jobs", 1) == 1
    said = capsys.readouterr()
    assert "failed: without IoU head · fold1 · seed 0: without-iou-head went wrong (exit code 2, " in said.err
    assert len(ran(place)) == 2
    page = (place / "study/table.md").read_text()
    assert "**Incomplete: 1 of 2 runs are missing** (without IoU head · fold1 · seed 0)" in page
    # The next time it is all that is run.
    monkeypatch.delenv("FAIL")
    assert rdmf(*study) == 0
    assert len(ran(place)) == 3
    assert "Incomplete" not in (place / "study/table.md").read_text()


def test_stopped_by_a_signal_it_leaves_no_process_and_goes_on(place: Path, caches: Path) -> None:
    environment = {**os.environ, "HANG": "60", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    start = f"from rdmf_pipelines.studies import runner; runner.COMMAND = {FAKE_JOB!r}\n"
    # A shell starts background jobs with the signal ignored, and children inherit that: CI may well be one.
    start += "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    start += "from rdmf_pipelines.cli import main; import sys; main(sys.argv[1:])"
    arguments = [*STUDY, "--seeds", "1", "--jobs", "2", "--out", "study"]
    process = subprocess.Popen(
        [sys.executable, "-c", start, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    waited = time.monotonic()
    while len(ran(place)) < 2 and time.monotonic() - waited < 120:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"stopped: 0 of 4 runs are done; the same command goes on" in out
    assert b"Traceback" not in err
    alive = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(place / "study") not in alive
    assert "studies_samples.py study/" not in alive
    # What the stopped ones left is no hindrance.
    assert rdmf(*ONE, "--out", "study") == 0


def test_jobs_are_spread_over_gpus_and_cores(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HANG", "0.3")
    assert rdmf(*TWO, "--set", "train.device=auto", "--out", "study") == 0
    assert {gpu for _, gpu, *_ in ran(place)} == {"4", "7"}
    assert {threads for *_, threads, _ in ran(place)} == {"1"}


def test_processes_live_on_and_one_that_dies_costs_its_job_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIE", "full/fold1")
    study = (*STUDY, "--seeds", "2", "--out", "study")
    assert rdmf(*study, "--jobs", 1) == 1
    said = capsys.readouterr().err
    assert said.count("failed: ") == 2
    assert "failed: full · fold1 · seed 0: RuntimeError: full/fold1 broke the device (exit code 1, " in said
    processes = [process for *_, process in ran(place)]
    assert len(processes) == 8
    # Two of eight jobs ended their process; all others found one that was there, or the one that took its place.
    assert len(set(processes)) == 3
    assert "Traceback" in (place / "study/runs/full/fold1/seed-0/log.txt").read_text()
    monkeypatch.delenv("DIE")
    assert rdmf(*study) == 0
    assert len(ran(place)) == 10


@pytest.mark.long
def test_a_run_after_another_in_one_process_is_the_same_bit_for_bit(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "COMMAND", REAL_WORKER)
    rows = ("--row", "full", "--row", "cross-attention-instead-of-rd")
    tiny = ("--set", "decoder.layers=1", "--jobs", 1, "--seeds", 1)
    table = ("ablate", "--features", "fold1.h5", "--table", "components", *SMALL_RUN)
    assert rdmf(*table, *rows, *tiny, "--out", "a/one") == 0
    assert rdmf(*table, *rows[2:], *tiny, "--out", "b/one") == 0
    second, alone = (place / x / "one/runs/cross-attention-instead-of-rd/fold1/seed-0" for x in "ab")
    assert (second / "best.safetensors").read_bytes() == (alone / "best.safetensors").read_bytes()
    one, other = (np.load(path / "scores-test.npz") for path in (second, alone))
    for name in ("decoder", "reading"):
        np.testing.assert_array_equal(one[name], other[name])


def test_a_process_that_cannot_start_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "COMMAND", [sys.executable, "-c", "raise SystemExit('error: no such torch')"])
    assert rdmf(*ONE, "--out", "study") == 1
    assert "failed: full · fold1 · seed 0: no such torch (exit code 1, " in capsys.readouterr().err
