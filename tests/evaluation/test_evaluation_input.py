"""Bad prediction and annotation files: one clear line each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rdmf.evaluation import evaluate, read_jsonl, write_jsonl
from rdmf.evaluation.records import write_text_atomically
from rdmf.store.errors import InputError

GOOD_TRUTH = {
    "qid": 1,
    "query": "a",
    "vid": "v",
    "duration": 10,
    "relevant_windows": [[0, 4]],
    "relevant_clip_ids": [0, 1],
    "saliency_scores": [[4, 4, 4], [2, 2, 2]],
}
GOOD_PREDICTION = {"qid": 1, "pred_relevant_windows": [[0, 4, 0.9]], "pred_saliency_scores": [1.0, 0.5, 0, 0, 0]}


def score(prediction: dict[str, Any] | None = None, truth: dict[str, Any] | None = None) -> dict[str, Any]:
    return evaluate([{**GOOD_PREDICTION, **(prediction or {})}], [{**GOOD_TRUTH, **(truth or {})}])


def test_the_good_pair_is_good() -> None:
    assert score()["brief"]["MR-full-R1@0.7"] == 100.0


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        ({"pred_relevant_windows": [[0, 4]]}, r"prediction 0 \(qid 1\).*\[start, end, score\]"),
        ({"pred_relevant_windows": [["0", 4, 1]]}, "pred_relevant_windows must be"),
        ({"pred_relevant_windows": {"0": 1}}, "pred_relevant_windows must be"),
        ({"pred_relevant_windows": [[0, 4, float("nan")]]}, "NaN or infinity"),
        ({"pred_saliency_scores": [1.0, float("inf")]}, "NaN or infinity"),
        ({"pred_saliency_scores": [1.0, "2"]}, "pred_saliency_scores must be"),
        ({"pred_saliency_scores": [1.0, True]}, "pred_saliency_scores must be"),
        ({"pred_saliency_scores": 3}, "pred_saliency_scores must be"),
        ({"pred_saliency_scores": [10**400]}, "pred_saliency_scores must be"),
        ({"qid": None}, "qid must be an integer or a string"),
        ({"qid": [1]}, "qid must be an integer or a string"),
    ],
)
def test_malformed_predictions(prediction: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        score(prediction)


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ({"relevant_windows": [[0, 4, 5]]}, r"relevant_windows must be a list of \[start, end\]"),
        ({"relevant_windows": [[0, None]]}, "relevant_windows must be"),
        ({"duration": None}, "duration must be a positive number"),
        ({"duration": -3}, "duration must be a positive number"),
        ({"clip_length": 0}, "clip_length must be a positive number"),
        ({"relevant_clip_ids": [0]}, "saliency_scores must hold one list"),
        ({"saliency_scores": [[4, 4, 4], [2, 2]]}, "saliency_scores must hold one list"),
        ({"saliency_scores": [4, 2]}, "saliency_scores must hold one list"),
        ({"saliency_scores": [[4, 4, "x"], [2, 2, 2]]}, "saliency_scores must hold one list"),
        ({"relevant_clip_ids": [0, 5]}, "holds 5, but its video has clips 0 to 4"),
        ({"relevant_clip_ids": [0, -1]}, "holds -1"),
        ({"relevant_clip_ids": [0, 0.5]}, "holds 0.5"),
    ],
)
def test_malformed_annotations(truth: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        score(truth=truth)


def test_ids_that_differ_are_named() -> None:
    truths = [{**GOOD_TRUTH, "qid": qid} for qid in (1, 2, 3)]
    answers = [{**GOOD_PREDICTION, "qid": qid} for qid in (2, 3, 4)]
    with pytest.raises(InputError, match=r"1 annotated but not predicted \(1\); 1 predicted but not annotated \(4\)"):
        evaluate(answers, truths)
    assert evaluate(answers, truths, allow_partial=True)["brief"]["MR-full-R1@0.5"] == 100.0
    with pytest.raises(InputError, match="numbers where the other has strings"):
        evaluate([{**GOOD_PREDICTION, "qid": "1"}], [GOOD_TRUTH], allow_partial=True)
    with pytest.raises(InputError, match="stands twice"):
        evaluate([GOOD_PREDICTION, GOOD_PREDICTION], [GOOD_TRUTH])
    with pytest.raises(InputError, match="no predictions"):
        evaluate([], [GOOD_TRUTH])
    with pytest.raises(InputError, match="which other predictions have"):
        evaluate([{"qid": 2, "pred_saliency_scores": []}, GOOD_PREDICTION], truths[:2])
    with pytest.raises(InputError, match="nothing to score"):
        evaluate([{"qid": 1}], [GOOD_TRUTH])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no records"),
        (b"\n  \n", "no records"),
        (b'{"qid": 1}\n\n{"qid": 2,}\n', "line 3: not JSON"),
        (b'{"qid": 1}\n[1, 2]\n', "line 2: expected one JSON object a line, got an array"),
        (b'[\n{"qid": 1}]', "looks like one JSON array"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"[" * 100_000, "line 1: not JSON"),
    ],
)
def test_files_that_are_not_json_lines(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_jsonl(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_jsonl(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="is a directory"):
        read_jsonl(tmp_path)
    with pytest.raises(InputError, match="is a directory"):
        write_jsonl(tmp_path, [GOOD_PREDICTION])


def test_an_error_in_a_file_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    bad = {**GOOD_PREDICTION, "qid": 2, "pred_saliency_scores": [float("nan")]}
    path.write_text(json.dumps(GOOD_PREDICTION) + "\n\n" + json.dumps(bad) + "\n")
    with pytest.raises(InputError, match=r"p\.jsonl, line 3 \(qid 2\): NaN"):
        evaluate(read_jsonl(path), [GOOD_TRUTH])


def test_records_survive_a_round_trip_and_files_are_whole_or_absent(tmp_path: Path) -> None:
    record = {**GOOD_PREDICTION, "query": "naïve\u2028line\nbreak"}
    path = write_jsonl(tmp_path / "deep" / "p.jsonl", [record, GOOD_PREDICTION])
    assert list(read_jsonl(path)) == [record, GOOD_PREDICTION]
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_jsonl(path, [{"score": float("nan")}])
    assert path.read_bytes() == before
    write_text_atomically(path, "new")
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["p.jsonl"]  # nothing temporary left


def test_scoring_loads_neither_torch_nor_pandas_nor_scipy() -> None:
    def loaded(statement: str) -> set[str]:
        watched = "{'torch', 'pandas', 'scipy', 'matplotlib', 'rich'}"
        code = f"import sys; {statement}; print(*sorted({watched} & set(sys.modules)))"
        return set(
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        )

    assert "scipy" in loaded("import scipy")  # the watch works
    assert not loaded(
        "from rdmf.evaluation import evaluate, moment_metrics, saliency_metrics, query_blind_baseline, tvsum_metrics"
    )
