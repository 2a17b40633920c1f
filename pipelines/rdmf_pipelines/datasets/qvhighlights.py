"""QVHighlights: 7,218 / 1,550 / 1,542 queries on YouTube pieces of 150 s, with windows and the saliency of 2-second
clips by three annotators. A video is named `YOUTUBEID_START_END`, as in the published download.
"""

from __future__ import annotations

from pathlib import Path

from rdmf_pipelines.datasets.plan import Annotations
from rdmf_pipelines.datasets.repairs import Repairs
from rdmf_pipelines.datasets.rows import query_from_row
from rdmf_pipelines.datasets.source import Source
from rdmf_pipelines.datasets.text_files import json_lines

CLIP_LENGTH_SECONDS = 2.0


def read(path: Path, split: str, annotations: Annotations, repairs: Repairs) -> None:
    """Read one JSON-lines file."""
    for where, row in json_lines(path):
        query = query_from_row(row, where=where, split=split, repairs=repairs, clip_length_seconds=CLIP_LENGTH_SECONDS)
        if query is not None:
            annotations.add(query, where)


SOURCE = Source(
    name="qvhighlights",
    title="QVHighlights",
    files={
        "train": ("highlight_train_release.jsonl", "train.jsonl"),
        "val": ("highlight_val_release.jsonl", "val.jsonl"),
        # The file without ground truth still lets one predict; with it, test scores are computed locally.
        "test": ("highlight_test_with_gt.jsonl", "highlight_test_release.jsonl", "test.jsonl"),
    },
    annotations_from="the data folder of the moment_detr repository (by Jie Lei and others)",
    videos_from="the QVHighlights videos (qvhilights_videos.tar.gz, linked in the moment_detr repository)",
    licence="QVHighlights annotations: CC BY-NC-SA 4.0; the videos belong to their YouTube uploaders",
    read=read,
)
