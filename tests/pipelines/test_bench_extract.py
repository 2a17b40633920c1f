"""`rdmf bench extract`: what it measures adds up, and what it cannot measure is said in a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rdmf_pipelines.benching.extraction import AGAINST, PARTS, of_the_cores, of_the_longer
from rdmf_pipelines.benching.extraction_process import DECODE, ENCODE, FILE_BY_FILE, WHOLE, Measured, build
from rdmf_pipelines.benching.file_by_file import extract_file_by_file
from rdmf_pipelines.benching.process_tree import memory_bytes, process_bytes, tree
from rdmf_pipelines.benching.sample_videos import Sizes, render_samples, video_files
from rdmf_pipelines.benching.selected_decoding import EVERYTHING, GROUP, SELECTED, measure_selection
from rdmf_pipelines.benching.sheet import Sheet, load
from rdmf_pipelines.cli import main


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return render_samples(tmp_path_factory.mktemp("samples"), Sizes(videos=2, seconds=12.0, width=128, height=96))


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "extract", *arguments])
    return int(ended.value.code or 0)


@pytest.mark.long
def test_the_parts_the_whole_and_the_usual_way_in_one_run(tmp_path, capsys):
    kept = tmp_path / "figures.json"
    assert run("--quick", "--encoder", "light", "--decoder", "pyav", "--json", str(kept)) == 0
    out = capsys.readouterr().out
    sheet = load(kept)
    assert sheet.groups() == [PARTS, AGAINST, GROUP]
    case = next(e.case for e in sheet.entries)
    assert case == "light (mean colours), 2 frames/s, 2 videos, decoder pyav"
    found = {way: sheet.find(PARTS, case, way) for way in (DECODE, ENCODE, WHOLE)}
    assert all(one is not None and one.more["rows"] == 6 and one.more["CPU s here"] > 0 for one in found.values())
    decoding, whole = found[DECODE], found[WHOLE]
    assert decoding.more["used"] <= decoding.more["decoded"] <= decoding.more["of frames"] == 2 * 75
    longer = max(found[DECODE].seconds, found[ENCODE].seconds)
    assert whole.more["of the longer"] == pytest.approx(whole.seconds / longer)
    assert 0 < whole.more["of the cores"] <= whole.more["of the longer"] + 1e-9
    usual, this = sheet.find(AGAINST, case, FILE_BY_FILE), sheet.find(AGAINST, case, WHOLE)
    assert (usual.more["rows"], usual.more["used"]) == (6, 12)
    assert sheet.times_as_fast(this) == pytest.approx(usual.seconds / this.seconds)
    if sys.platform == "linux":
        assert whole.more["peak MB"] > found[ENCODE].more["peak MB"] > 10  # a decoder's process more
    assert "of the longer" in out
    assert run("--from", str(kept), "--against", str(kept)) == 0
    assert "none of" in capsys.readouterr().out


def test_without_the_selection_only_the_extraction_is_measured(samples, tmp_path, capsys):
    kept = tmp_path / "figures.json"
    videos = ["--videos", str(samples[0]), "--no-selection"]
    assert run("--encoder", "light", "--decoder", "pyav", "--turns", "1", *videos, "--json", str(kept)) == 0
    assert load(kept).groups() == [PARTS, AGAINST]
    assert "frames/s, 1 videos" in capsys.readouterr().out


def test_the_whole_is_set_against_the_longer_part_and_the_busier_process():
    def seen(*measured: tuple[float, float, float]) -> list[Measured]:
        return [Measured(seconds=s, main_seconds=own, helper_seconds=other) for s, own, other in measured]

    ways = {
        DECODE: seen((4.0, 0.1, 3.0), (8.0, 0.1, 3.2), (4.2, 0.1, 3.1)),
        ENCODE: seen((5.0, 2.0, 0.0), (5.0, 2.0, 0.0), (5.0, 2.0, 0.0)),
        WHOLE: seen((5.5, 2.2, 3.3), (5.5, 2.2, 3.3), (11.0, 2.2, 3.1)),
    }
    wall, processor = of_the_longer(ways)
    assert wall == pytest.approx(5.5 / 5.0)
    assert processor == pytest.approx(3.3 / 3.1)


def test_the_whole_is_set_against_what_the_cores_allow():
    def ways(decoding: tuple[float, ...], encoding: tuple[float, ...]) -> dict[str, list[Measured]]:
        measured = {DECODE: decoding, ENCODE: encoding, WHOLE: (6.0, 9.0, 2.0)}
        return {
            way: [Measured(seconds=s, main_seconds=own, helper_seconds=other)] * 3
            for way, (s, own, other) in measured.items()
        }

    # Encoding uses one core and leaves one: the longer part is the limit.
    assert of_the_cores(ways((2.0, 0.0, 2.0), (5.0, 5.0, 0.0)), 2, 1) == pytest.approx(6.0 / 5.0)
    # It uses both: 8 + 2 s on two cores.
    assert of_the_cores(ways((2.0, 0.0, 2.0), (4.0, 8.0, 0.0)), 2, 1) == pytest.approx(6.0 / 5.0)
    # The same work of two decoders, each half of it.
    assert of_the_cores(ways((1.0, 0.0, 1.0), (4.0, 8.0, 0.0)), 2, 2) == pytest.approx(6.0 / 5.0)
    assert of_the_cores(ways((2.0, 0.0, 2.0), (4.0, 8.0, 0.0)), 16, 1) == pytest.approx(6.0 / 4.0)


def test_the_usual_way_gives_the_features_of_the_extraction(samples, tmp_path):
    """The same frames to within what encoding them again does to them: so that the same work is compared."""
    from rdmf_extract.pipeline import extract_one

    encoder = build("light", None, "cpu")
    rows, seen = extract_file_by_file(samples, encoder, tmp_path, batch_rows=8, threads=1)
    assert (rows, seen) == (24, 48)
    for number, path in enumerate(samples):
        usual = np.load(tmp_path / f"{number}-{path.stem}.npy")
        ours = extract_one(path, encoder, decoder="pyav").features.astype(np.float32)
        assert usual.shape == ours.shape
        assert np.abs(usual - ours).mean() < 0.06
        assert np.corrcoef(usual.ravel(), ours.ravel())[0, 1] > 0.9
    assert len(list(tmp_path.iterdir())) == len(samples)  # the videos at the other rate are gone


@pytest.mark.long
def test_fewer_looks_decode_fewer_frames(samples):
    sheet = Sheet("bench", {})
    measure_selection(sheet, samples, turns=1, tell=lambda said: None)
    cases = list(dict.fromkeys(e.case for e in sheet.entries))
    decoded = [sheet.find(GROUP, case, SELECTED).more["decoded"] for case in cases]
    assert decoded == sorted(decoded, reverse=True)
    for case in cases:
        everything = sheet.find(GROUP, case, EVERYTHING)
        assert everything.more["decoded"] == everything.more["of frames"] == 600
    assert decoded[-1] < 600


def test_the_memory_of_a_tree_is_that_of_all_its_processes():
    if sys.platform != "linux":
        pytest.skip("/proc is Linux's")
    hold = "import sys; held = bytearray(b'x') * 60_000_000; print(1, flush=True); sys.stdin.read()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        process.stdout.readline()
        processes = tree(process.pid)
        assert processes[0] == process.pid
        assert len(processes) == 2
        assert memory_bytes(process.pid) > 60_000_000 > process_bytes(process.pid) > 0
        process.stdin.close()
    assert memory_bytes(process.pid) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--videos", "nowhere"], "there is no such file or folder"),
        (["--videos", "."], "no video in this folder"),
        (["--encoder", "lite"], "video encoder 'lite' is unknown"),
        (["--decoder", "opencv"], "use one of auto, pyav, decord-first, decord"),
        (["--device", "gpu"], "device 'gpu' is unknown"),
        (["--fps", "0"], "fps must be a positive number"),
        (["--json", "nowhere/f.json"], "name a file in a folder that is there"),
        (["--from", "nowhere.json"], "nowhere.json"),
        (["--against", "nowhere.json"], "nowhere.json"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("--quick", *arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_files_that_are_no_videos_are_told(tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    assert run("--quick", "--encoder", "light", "--videos", str(broken)) == 2
    assert "none of the videos can be read" in capsys.readouterr().err
    assert video_files([tmp_path]) == [broken]
