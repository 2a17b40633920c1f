"""Parity with the published scripts, on their own output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rdmf.evaluation import evaluate, moment_metrics, per_query, read_jsonl, saliency_metrics, tvsum
from rdmf.evaluation.average_precision import ranking_ap

pytestmark = pytest.mark.shared


def numbers(tree: Any) -> int:
    return sum(map(numbers, tree.values())) if isinstance(tree, dict) else 1


def golden(shared: Path, name: str) -> Any:
    return json.loads((shared / "golden" / "eval" / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def annotations(shared: Path) -> list[dict[str, Any]]:
    return read_jsonl(shared / "data" / "annotations" / "qvhighlights" / "highlight_val_release.jsonl")


@pytest.fixture(scope="module")
def edge(shared: Path) -> Any:
    return golden(shared, "edge_cases")


@pytest.mark.parametrize("model", ["moment_detr", "qd_detr"])
def test_published_predictions_score_as_the_official_script_says(
    shared: Path, annotations: list[dict[str, Any]], model: str
) -> None:
    predictions = read_jsonl(shared / "data" / "predictions" / f"{model}_val.jsonl")
    expected = golden(shared, f"{model}_val")
    scores = evaluate(predictions, annotations)
    assert numbers(expected) == 104
    assert json.dumps(scores) == json.dumps(expected)  # keys, nesting, order and values

    general = moment_metrics(predictions, annotations)
    assert round(general["R1@0.7"], 2) == expected["brief"]["MR-full-R1@0.7"]
    assert round(general["mAP"], 2) == expected["brief"]["MR-full-mAP"]
    highlight = saliency_metrics(predictions, annotations)
    assert round(highlight["saliency mAP"], 2) == expected["brief"]["HL-min-VeryGood-mAP"]
    assert round(highlight["Hit@1"], 2) == expected["brief"]["HL-min-VeryGood-Hit1"]


def test_corner_cases(edge: Any) -> None:
    assert json.dumps(evaluate(edge["preds"], edge["gt"])) == json.dumps(edge["metrics"])


def test_intersection_of_different_files(edge: Any) -> None:
    partial = evaluate(edge["preds"][:50], edge["gt"][10:], allow_partial=True)
    assert partial == edge["nomatch_preds_first50_gt_last50"]


def test_query_without_predictions_leaves_the_official_map(edge: Any) -> None:
    predictions = [dict(record) for record in edge["preds"]]
    predictions[0]["pred_relevant_windows"] = []
    scores = evaluate(predictions, edge["gt"])
    assert scores["full"]["MR-mAP"] == edge["map_with_query0_predictions_emptied"]


def test_per_query_numbers(edge: Any) -> None:
    values = per_query(edge["preds"], edge["gt"])
    for index, qid in enumerate(values["qid"]):
        expected = edge["per_query"][str(qid)]
        assert values["mIoU"][index] == pytest.approx(expected["r1_iou"], abs=1e-12)
        assert values["mAP@0.5"][index] == pytest.approx(expected["ap_per_iou"][0], abs=1e-12)
        assert values["mAP"][index] == pytest.approx(np.mean(expected["ap_per_iou"]), abs=1e-12)
        very_good = edge["hl_ap_per_query_annotator"]["VeryGood"][str(qid)]
        assert values["saliency mAP"][index] == pytest.approx(np.mean(very_good), abs=1e-12)


def test_ranking_ap_cases(shared: Path) -> None:
    cases = golden(shared, "get_ap_cases")
    assert len(cases) == 300
    for case in cases:
        labels = np.array(case["y"])[None, None] > 0
        ap = ranking_ap(np.array([case["s"]]), labels, np.array([len(case["y"])]))
        assert ap[0, 0] == pytest.approx(case["ap"], abs=1e-12)


@pytest.mark.parametrize(("dataset", "ap"), [("tvsum", tvsum.tvsum_ap), ("youtube_highlight", tvsum.youtube_ap)])
def test_tvsum_and_youtube_cases(shared: Path, dataset: str, ap: Any) -> None:
    cases = golden(shared, "lighthouse_tvsum_youtube_cases")[dataset]
    found = [ap(np.array(video["scores"]), np.array(video["label"], dtype=float)) for video in cases["videos"]]
    assert [None if value is None else round(value, 5) for value in found] == cases["per_video"]
    assert round(float(np.mean([value for value in found if value is not None])), 5) == cases["mAP"]
    # The same through records.
    predictions = [{"qid": i, "pred_saliency_scores": video["scores"]} for i, video in enumerate(cases["videos"])]
    annotations = [{"qid": i, "label": video["label"]} for i, video in enumerate(cases["videos"])]
    assert tvsum.clip_labels_metrics(predictions, annotations)["mAP"] == pytest.approx(100 * cases["mAP"], abs=1e-3)
