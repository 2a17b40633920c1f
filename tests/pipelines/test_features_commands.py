"""`rdmf features info` and `rdmf features verify`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from rdmf.store import Failure, InputError, Provenance, QueryRecord, TextRecord, VideoRecord, merge, write_cache
from rdmf_pipelines.commands.features import info, verify

PROVENANCE = Provenance({"encoder": "swin", "fps": 2.0}, {"encoder": "bert"}, {"licence": "CC BY 4.0"})


def make(path: Path, first: int = 0, count: int = 3) -> Path:
    """Videos of 4 rows, one every 2 s and 3 s long, each with a query; one queried video more that failed."""
    starts = 2.0 * np.arange(4)
    vids = [f"v{i}" for i in range(first, first + count)]
    videos = [
        VideoRecord(
            vid, np.full((4, 6), 0.5), np.stack([starts, starts + 3], 1), 9.0, annotated_duration=9.5, decoder="pyav 1"
        )
        for vid in vids
    ]
    queries = [
        QueryRecord(i + first, vid, "open", "train" if i else "val", ((0.0, 1.0),), kind="action")
        for i, vid in enumerate([*vids, "lost"])
    ]
    texts = [TextRecord("open", np.ones((3, 2)))]
    return write_cache(path, PROVENANCE, videos, texts, queries, [Failure("lost", "no video stream")])


def run(function: Any, *arguments: object) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(function)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_info_in_words(tmp_path: Path) -> None:
    path = make(tmp_path / "c.h5")
    result = run(info, path)
    assert result.exit_code == 0
    for phrase in (
        f"{path}: cache, ",
        "3 videos, 12 rows x 6 float16, 0.01 hours",
        "one row every 2.000 s, each over 3.000 s",
        "decoded by   pyav 1 (3)",
        "1 sentences, 3 tokens x 2",
        "4, 4 windows, 0 annotators",
        "train      3 queries on 2 videos; 1 queries without features of their video",
        "val        1 queries on 1 videos\n",
        "video by     encoder=swin, fps=2.0",
        "licence      CC BY 4.0",
        "missing      1 queried videos have no features:\n    lost",
        "failed       1 videos could not be extracted:\n    lost: no video stream",
    ):
        assert phrase in result.output, phrase


def test_info_as_json(tmp_path: Path) -> None:
    path = make(tmp_path / "c.h5")
    facts = json.loads(run(info, path, "--json").output)
    assert facts["bytes"] == path.stat().st_size
    assert facts["video"] == {
        "videos": 3,
        "rows": 12,
        "dim": 6,
        "rows_a_video": {"least": 4.0, "median": 4.0, "most": 4.0},
        "seconds": 27.0,
        "step_seconds": 2.0,
        "window_seconds": 3.0,
        "decoders": {"pyav 1": 3},
        "padded": 0,
        "partly_recovered": 0,
        "worst_duration_difference_seconds": 0.5,
    }
    assert facts["queries"]["kinds"] == {"action": 4}
    assert facts["queries"]["splits"]["train"] == {
        "queries": 3,
        "videos": 2,
        "queries_without_video": 1,
        "queries_with_windows": 3,
        "queries_with_saliency": 0,
    }
    assert facts["missing_videos"] == ["lost"]
    assert facts["failures"] == [{"vid": "lost", "reason": "no video stream"}]
    assert facts["notes"] == {"licence": "CC BY 4.0"}


def test_info_of_an_index_counts_its_parts(tmp_path: Path) -> None:
    parts = [make(tmp_path / "p" / f"{i}.h5", first=10 * i) for i in range(2)]
    index = merge(parts, tmp_path / "data.h5", self_contained=False)
    facts = json.loads(run(info, index, "--json").output)
    assert facts["kind"] == "index"
    assert facts["bytes"] == sum(path.stat().st_size for path in (*parts, index))
    assert facts["parts"] == [str(part) for part in parts]
    assert "index over 2 parts" in run(info, index).output


def test_info_of_an_empty_cache(tmp_path: Path) -> None:
    path = write_cache(tmp_path / "empty.h5", PROVENANCE, [], [], [])
    facts = json.loads(run(info, path, "--json").output)
    assert facts["video"]["step_seconds"] is None
    assert "one row every unknown" in run(info, path).output


def test_info_lists_only_so_many_failures(tmp_path: Path) -> None:
    failures = [Failure(f"f{i}", "broken") for i in range(12)]
    path = write_cache(tmp_path / "c.h5", PROVENANCE, [], [], [], failures)
    output = run(info, path).output
    assert "f9: broken" in output
    assert "f10: broken" not in output
    assert "... and 2 more (--json lists all)" in output


def test_verify_sound(tmp_path: Path) -> None:
    path = make(tmp_path / "c.h5")
    result = run(verify, path)
    assert (result.exit_code, result.output) == (0, f"{path}: every checksum matches\n")
    assert json.loads(run(verify, path, "--json").output) == {"path": str(path), "ok": True, "problems": []}


def test_verify_damaged_names_the_video(tmp_path: Path) -> None:
    path = make(tmp_path / "c.h5")
    data = bytearray(path.read_bytes())
    at = data.index(np.full(4 * 6, 0.5, np.float16).tobytes()) + 5 * 6 * 2
    data[at] ^= 64
    path.write_bytes(data)
    result = run(verify, path)
    assert result.exit_code == 1
    assert "video 'v1' (number 1): its features, times, seconds or name do not match its checksum" in result.output
    assert result.output.endswith(f"{path}: 2 problems found\n")
    as_json = run(verify, path, "--json")
    assert as_json.exit_code == 1
    assert [problem["where"] for problem in json.loads(as_json.output)["problems"]] == ["file", "video 'v1' (number 1)"]


@pytest.mark.parametrize("function", [info, verify])
def test_what_is_not_a_cache_is_bad_input(tmp_path: Path, function: Any) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    for thing in (path, tmp_path, tmp_path / "none.h5"):
        # The command line turns this one error into a line and exit code 2.
        assert isinstance(run(function, thing).exception, InputError)


def test_nan_durations_are_no_difference(tmp_path: Path) -> None:
    video = VideoRecord("v", np.ones((1, 6)), np.array([[0.0, 1.0]]), 1.0, annotated_duration=math.nan)
    path = write_cache(tmp_path / "c.h5", PROVENANCE, [video], [], [])
    facts = json.loads(run(info, path, "--json").output)
    assert facts["video"]["worst_duration_difference_seconds"] is None
    assert facts["video"]["step_seconds"] is None
