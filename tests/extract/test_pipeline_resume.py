"""Running again does only what is missing, whatever ended the run before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import SAMPLING, FakeTextEncoder, FakeVideoEncoder

from rdmf.store import InputError, QueryRecord, merge, open_cache
from rdmf.store.subset import subset
from rdmf_extract import collector
from rdmf_extract.pipeline import extract, extraction_provenance
from rdmf_extract.sources import parts_folder
from rdmf_extract.workspace import Workspace


def ask(*vids: str, text: str = "a thing") -> list[QueryRecord]:
    return [QueryRecord(i, vid, text, "train", windows=((0.0, 1.0),)) for i, vid in enumerate(vids)]


def run(videos, asked, out, **options):
    encoders = {"video_encoder": FakeVideoEncoder(), "text_encoder": FakeTextEncoder()}
    return extract(videos, asked, out=out, **(encoders | options))


def test_a_second_run_does_nothing_and_leaves_the_file_alone(clips, tmp_path):
    out, videos = tmp_path / "f.h5", {"short": clips["short"], "text": clips["text"]}
    run(videos, ask(*videos), out)
    before = out.stat().st_mtime_ns
    seeing, reading = FakeVideoEncoder(), FakeTextEncoder()
    summary = run(videos, ask(*videos), out, video_encoder=seeing, text_encoder=reading)
    assert (summary.done, summary.skipped, summary.rows) == (0, 1, 0)
    assert [failure.vid for failure in summary.failures] == ["text"]
    assert seeing.batches == reading.seen == []
    assert out.stat().st_mtime_ns == before


def test_new_videos_are_added_to_those_that_are_there(clips, tmp_path):
    out = tmp_path / "f.h5"
    run({"short": clips["short"]}, ask("short"), out)
    with open_cache(out) as cache:
        first = cache.video("short")[0]
    summary = run({n: clips[n] for n in ("short", "second")}, ask("short", "second", text="another"), out)
    assert (summary.done, summary.skipped) == (1, 1)
    with open_cache(out) as cache:
        assert cache.vids == ["short", "second"]
        assert (cache.video("short")[0] == first).all()
        assert cache.texts == ["a thing", "another"]


def test_new_annotations_are_attached_without_encoding_a_video(clips, tmp_path):
    out, videos = tmp_path / "f.h5", {"short": clips["short"]}
    run(videos, ask("short"), out)
    seeing = FakeVideoEncoder()
    changed = [replace(ask("short")[0], windows=((0.1, 0.2),), split="val")]
    run(videos, changed, out, video_encoder=seeing)
    assert seeing.batches == []
    with open_cache(out) as cache:
        assert cache.splits == ["val"]
        assert cache.query_records()[0].windows == ((0.1, 0.2),)
        assert cache.vids == ["short"]


def test_a_part_of_a_cache_gets_the_annotations_it_lacks(clips, tmp_path):
    """What is noted of a cache's annotations says nothing of a subset of it, nor of a merge."""
    whole, some = tmp_path / "whole.h5", tmp_path / "some.h5"
    asked = [*ask("short"), replace(ask("short")[0], qid=9, split="test")]
    run({"short": clips["short"]}, asked, whole)
    subset(whole, some, splits=["train"])
    run({"short": clips["short"]}, asked, some)
    merge([whole], tmp_path / "merged.h5", queries=asked[:1])
    run({"short": clips["short"]}, asked, tmp_path / "merged.h5")
    for path in (some, tmp_path / "merged.h5"):
        with open_cache(path) as cache:
            assert sorted(cache.splits) == ["test", "train"]


def test_caches_of_one_stem_have_parts_of_their_own(tmp_path):
    names = ("run.1", "run.2", "run", "run.h5.h5", "a.b.h5")
    assert len({parts_folder(tmp_path / name) for name in names}) == len(names)
    assert parts_folder(tmp_path / "f.h5") == tmp_path / "f.parts"


def test_failed_videos_are_retried_when_asked_to_or_when_the_file_changed(clips, tmp_path):
    path, out = tmp_path / "video.mp4", tmp_path / "f.h5"
    assert run({"v": path}, ask("v"), out).failures[0].reason == "file not found"
    path.write_bytes(clips["text"].read_bytes())
    assert "not a video" in run({"v": path}, ask("v"), out).failures[0].reason  # changed, so tried

    tried = []
    watch = lambda state: tried.append(state.stage == "videos")  # noqa: E731
    assert "not a video" in run({"v": path}, ask("v"), out, progress=watch).failures[0].reason
    assert not any(tried)
    run({"v": path}, ask("v"), out, progress=watch, retry_failed=True)
    assert any(tried)

    path.write_bytes(clips["short"].read_bytes())
    summary = run({"v": path}, ask("v"), out)
    assert (summary.done, summary.failures) == (1, [])
    with open_cache(out) as cache:
        assert cache.failures == []


def test_other_settings_are_refused_by_name(clips, tmp_path):
    out, videos = tmp_path / "f.h5", {"short": clips["short"]}
    run(videos, ask("short"), out)
    before = out.read_bytes()
    with pytest.raises(InputError, match=r"video\.stride_seconds: 0\.5 here, 1\.0 there"):
        run(videos, ask("short"), out, video_encoder=FakeVideoEncoder(replace(SAMPLING, stride_seconds=1.0)))
    with pytest.raises(InputError, match=r"video\.decoder"):
        run(videos, ask("short"), out, decoder="pyav")
    assert out.read_bytes() == before


def test_max_fail_stops_and_keeps_what_is_done(clips, tmp_path):
    videos = {"short": clips["short"], **{f"bad{i}": clips["text"] for i in range(20)}, "never": clips["second"]}
    lengths = {"short": 3.0, "never": 1.0}  # the longest come first
    asked = [replace(query, duration=lengths.get(query.vid, 2.0)) for query in ask(*videos)]
    summary = run(videos, asked, tmp_path / "f.h5", max_fail=2, workers=1)
    assert "more than 2" in summary.stopped
    assert len(summary.failures) == 3
    with open_cache(tmp_path / "f.h5") as cache:
        assert cache.vids == ["short"]
    assert run(videos, ask(*videos), tmp_path / "f.h5").done == 1  # the rest


def test_parts_are_written_on_the_way_and_ctrl_c_keeps_them(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(collector, "PART_VIDEOS", 2)
    monkeypatch.setattr(collector, "TELL_EVERY_SECONDS", 0.0)
    out, videos = tmp_path / "f.h5", {f"v{i}": clips["short"] for i in range(9)}

    def ctrl_c(state):
        if state.stage == "videos" and state.done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(videos, ask(*videos), out, progress=ctrl_c, batch_rows=1)
    assert not out.exists()
    assert len(list((tmp_path / "f.parts").glob("*.h5"))) >= 3  # sentences, and videos in twos
    seeing, reading = FakeVideoEncoder(), FakeTextEncoder()
    summary = run(videos, ask(*videos), out, video_encoder=seeing, text_encoder=reading)
    assert summary.skipped >= 5
    assert sum(seeing.batches) == summary.done == 9 - summary.skipped
    assert reading.seen == []
    with open_cache(out) as cache:
        assert sorted(cache.vids) == sorted(videos)
    assert not (tmp_path / "f.parts").exists()


SCRIPT = """
    import sys, time
    from pathlib import Path
    from fakes import FakeTextEncoder, FakeVideoEncoder
    from rdmf.store import QueryRecord
    from rdmf_extract import collector
    from rdmf_extract.pipeline import extract, extraction_provenance

    class Slow(FakeVideoEncoder):
        def encode(self, frames):
            time.sleep(0.1)
            return super().encode(frames)

    collector.PART_VIDEOS = 2
    videos = {f"v{i}": Path(sys.argv[2]) for i in range(40)}
    queries = [QueryRecord(0, "v0", "a thing", "train")]
    extract(videos, queries, out=Path(sys.argv[1]), video_encoder=Slow(), text_encoder=FakeTextEncoder(), batch_rows=1)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_is_picked_up_where_it_was(clips, tmp_path, how):
    out = tmp_path / "f.h5"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(out), str(clips["short"])]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("f.parts/*.h5"))) < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(how)
        assert process.wait(timeout=30) != 0
    finally:
        process.kill()
    assert not out.exists()
    videos = {f"v{i}": clips["short"] for i in range(40)}
    seeing = FakeVideoEncoder()
    summary = run(videos, [QueryRecord(0, "v0", "a thing", "train")], out, video_encoder=seeing)
    assert 4 <= summary.skipped < 40
    assert sum(seeing.batches) == summary.done == 40 - summary.skipped
    with open_cache(out) as cache:
        assert len(cache.vids) == 40


def test_a_kill_between_merging_and_tidying_up_does_no_harm(clips, tmp_path):
    out, videos = tmp_path / "f.h5", {"short": clips["short"]}
    run(videos, ask("short"), out)
    (tmp_path / "f.parts").mkdir()
    (tmp_path / "f.parts" / ".lock").touch()  # as an earlier rdmf left it
    (tmp_path / "f.parts" / "000001.h5").write_bytes(out.read_bytes())  # a part whose videos are merged already
    summary = run({**videos, "second": clips["second"]}, ask("short", "second"), out)
    assert (summary.done, summary.skipped) == (1, 1)
    with open_cache(out) as cache:
        assert cache.vids == ["short", "second"]
    assert not (tmp_path / "f.parts").exists()


def test_a_run_with_other_settings_is_refused_while_one_is_at_work(clips, tmp_path):
    """Before there is a part or a cache to tell."""
    encoder = FakeVideoEncoder(replace(SAMPLING, stride_seconds=1.0))
    provenance = extraction_provenance(encoder, FakeTextEncoder(), notes={})
    with (
        Workspace(tmp_path / "f.h5", provenance),
        pytest.raises(InputError, match=r"process \d+ on .* with other settings .*stride_seconds: 1\.0 here, 0\.5"),
    ):
        run({"short": clips["short"]}, ask("short"), tmp_path / "f.h5")
    assert run({"short": clips["short"]}, ask("short"), tmp_path / "f.h5").done == 1


def test_a_part_that_cannot_be_opened_is_named_and_set_aside(clips, tmp_path):
    (tmp_path / "f.parts").mkdir()
    (tmp_path / "f.parts" / "000000.h5").write_text("not a cache")
    notes = []
    run({"short": clips["short"]}, ask("short"), tmp_path / "f.h5", progress=lambda state: notes.append(state.note))
    assert any(note.startswith("000000.h5 is damaged and set aside") for note in notes)
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]
