"""`rdmf eval --reading`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from studies_samples import TINY, make_cache

from rdmf_pipelines.cli import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from rdmf.train import train

    folder = tmp_path_factory.mktemp("read")
    cache = make_cache(folder / "c.h5")
    return train(cache, folder / "run", overrides={**TINY, "train.epochs": 5}, quiet=True)


def test_eval_reads_off_the_saliency_and_says_so(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flag in ((), ("--reading",)):
        with pytest.raises(SystemExit) as stop:
            main(["eval", str(trained), "--device", "cpu", "--json", str(tmp_path / f"r{len(flag)}.json"), *flag])
        assert stop.value.code == 0
    printed = capsys.readouterr().out
    plain, read = (json.loads((tmp_path / f"r{i}.json").read_text()) for i in (0, 1))
    assert plain["reading"] is None
    assert f"above the logit {read['reading']['level']:g}" in printed
    assert read["reading"]["train queries"] == 32
    # The saliency is the same, the moments are not.
    assert read["metrics"]["saliency mAP"] == plain["metrics"]["saliency mAP"]
    assert (trained / "predictions-test.jsonl").read_bytes() != (
        trained / "predictions-test-reading.jsonl"
    ).read_bytes()
    # A few epochs suffice for the saliency, which the reading needs, to beat a guess.
    assert read["metrics"]["mIoU"] > read["baselines"]["query-blind"]["mIoU"] + 5


def test_reading_is_about_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["eval", "--reading", "--predictions", "p.jsonl", "--annotations", "a.jsonl"])
    assert stop.value.code == 2
    assert "--reading: not used with --predictions" in capsys.readouterr().err
