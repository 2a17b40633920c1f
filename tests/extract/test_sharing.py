"""What a run does and leaves to others: videos, sentences, and the cache at the end."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeTextEncoder, FakeVideoEncoder

from rdmf.store import Failure, InputError, QueryRecord, TextRecord, VideoRecord, open_cache
from rdmf_extract import jobs as jobs_module
from rdmf_extract import texts as texts_module
from rdmf_extract.jobs import Jobs
from rdmf_extract.pipeline import extract, extraction_provenance
from rdmf_extract.shards import Shard
from rdmf_extract.sharing import Together
from rdmf_extract.texts import Sentences
from rdmf_extract.workspace import Workspace

PROVENANCE = extraction_provenance(FakeVideoEncoder(), FakeTextEncoder(), notes={})
LENGTHS = {"a": 5.0, "b": 9.0, "c": 1.0, "d": 7.0}
VIDEOS = {vid: Path(f"{vid}.mp4") for vid in LENGTHS}


def record(vid: str) -> VideoRecord:
    return VideoRecord(vid, np.full((1, 6), ord(vid), np.float32), np.array([[0.0, 1.0]]), 1.0)


def text(words: str) -> TextRecord:
    return TextRecord(words, np.full((1, 4), len(words), np.float32))


def asked(*vids: str) -> list[QueryRecord]:
    return [QueryRecord(i, vid, f"a thing {vid}", "train") for i, vid in enumerate(vids)]


def jobs_of(workspace: Workspace, *, retry_failed: bool = False) -> Jobs:
    return Jobs(workspace, VIDEOS, LENGTHS, retry_failed=retry_failed)


def given(jobs: Jobs) -> list[str]:
    return [job[0] for job in iter(jobs.next, None)]


def test_the_longest_video_comes_first_and_each_is_given_once(tmp_path):
    with Workspace(tmp_path / "f.h5", PROVENANCE) as workspace:
        jobs = jobs_of(workspace)
        assert given(jobs) == ["b", "d", "a", "c"]
        assert len(jobs) == 4
        jobs.settled("b")
        assert (len(jobs), jobs.cost_left) == (3, 13.0)


def test_two_runs_never_get_the_same_video(tmp_path):
    with Workspace(tmp_path / "f.h5", PROVENANCE) as one, Workspace(tmp_path / "f.h5", PROVENANCE) as other:
        mine, theirs = jobs_of(one), jobs_of(other)
        turns = [jobs.next() for jobs in (mine, theirs, theirs, mine, mine, theirs)]
        assert [job and job[0] for job in turns] == ["b", "d", "a", "c", None, None]
        other.write_part([record("d")])
        theirs.settled("d")
        assert mine.look() == ["b", "a", "c"]
        assert mine.next() is None  # not given again to whoever sees the claim gone


def test_what_another_run_finished_between_look_and_claim_is_not_done_again(tmp_path):
    with Workspace(tmp_path / "f.h5", PROVENANCE) as one, Workspace(tmp_path / "f.h5", PROVENANCE) as other:
        mine = jobs_of(one)
        other.write_part([record("b")], failures=[Failure("d", "no data")])
        assert given(mine) == ["a", "c"]


def test_videos_left_by_a_run_that_ended_are_given_out_again(tmp_path):
    with Workspace(tmp_path / "f.h5", PROVENANCE) as one:
        mine = jobs_of(one)
        with Workspace(tmp_path / "f.h5", PROVENANCE) as other:
            assert given(jobs_of(other)) == ["b", "d", "a", "c"]
            assert mine.next() is None
        assert given(mine) == ["b", "d", "a", "c"]


def test_claims_are_made_several_at_once_where_there_are_many_videos(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs_module, "MOST_AT_ONCE", 3)
    lengths = {f"v{i:03d}": 300.0 - i for i in range(300)}
    videos = {vid: Path(vid) for vid in lengths}
    with Workspace(tmp_path / "f.h5", PROVENANCE) as one, Workspace(tmp_path / "f.h5", PROVENANCE) as other:
        mine, theirs = (Jobs(w, videos, lengths, retry_failed=False) for w in (one, other))
        assert [mine.next()[0], theirs.next()[0], mine.next()[0]] == ["v000", "v003", "v001"]
        mine.stopped = True
        assert mine.next() is None


def test_a_failure_is_tried_again_when_asked_once_by_whichever_run(tmp_path):
    out = tmp_path / "f.h5"
    with Workspace(out, PROVENANCE) as before:
        marks = dict.fromkeys(VIDEOS, "absent")
        failures = [Failure(vid, "no data") for vid in VIDEOS]
        before.write_part(failures=failures, failed_files=marks)
    with Workspace(out, PROVENANCE) as one, Workspace(out, PROVENANCE) as other:
        assert given(jobs_of(one)) == []
        mine, theirs = jobs_of(one, retry_failed=True), jobs_of(other, retry_failed=True)
        assert mine.next()[0] == "b"
        one.write_part(failures=[Failure("b", "no data")], failed_files=marks)
        mine.settled("b")
        assert given(theirs) == ["d", "a", "c"]


def test_failures_that_were_not_the_files_fault_are_tried_by_the_next_run(tmp_path):
    with Workspace(tmp_path / "f.h5", PROVENANCE) as before:
        before.write_part(failures=[Failure("a", "killed"), Failure("b", "no data")], failed_files={"b": "absent"})
        assert given(jobs_of(before)) == ["d", "c"]  # not by this one
    with Workspace(tmp_path / "f.h5", PROVENANCE) as workspace:
        assert given(jobs_of(workspace)) == ["d", "a", "c"]


class Batches(FakeTextEncoder):
    """Features that tell what was in the batch with a sentence, as padding does to a real model's last digits."""

    def encode(self, texts):
        self.seen += texts
        return [np.full((2, 4), len(texts) + sum(map(len, texts)) / 100, np.float32) for _ in texts]


def test_a_sentences_features_do_not_depend_on_what_was_there_or_who_did_it(tmp_path, monkeypatch):
    monkeypatch.setattr(texts_module, "TEXTS_PER_BATCH", 4)
    monkeypatch.setattr(texts_module, "BATCHES_PER_UNIT", 2)
    queries = [QueryRecord(i, "v", "word " * (i % 7) + f"number {i}", "train") for i in range(30)]
    found = []
    for name, shards in (("one", [None]), ("three", [Shard(i, 3) for i in range(3)]), ("resumed", [None])):
        with Workspace(tmp_path / f"{name}.h5", PROVENANCE) as workspace:
            if name == "resumed":
                workspace.write_part(texts=Sentences(queries, Shard(0, 2)).texts[:0])
                Sentences(queries, Shard(1, 4)).encode(workspace, Batches(), None)
            for shard in shards:
                sentences = Sentences(queries, shard)
                assert sentences.left(workspace)
                assert sentences.encode(workspace, Batches(), None)
                assert not sentences.left(workspace)
            assert workspace.finish(queries, []) == "made"
        with open_cache(tmp_path / f"{name}.h5") as cache:
            found.append(cache.text_table())
    assert found[0] == found[1] == found[2]


def test_sentences_that_another_run_has_in_hand_are_left_to_it(tmp_path):
    queries = asked(*"abcd")
    with Workspace(tmp_path / "f.h5", PROVENANCE) as one, Workspace(tmp_path / "f.h5", PROVENANCE) as other:
        taken = Sentences(queries, None)
        name = texts_module._claim_name(taken._units[0])
        assert other.claims.take(name)
        assert not taken.encode(one, FakeTextEncoder(), None)
        other.claims.drop(name)
        assert taken.encode(one, FakeTextEncoder(), None)


def test_only_one_run_writes_the_cache(tmp_path):
    queries = asked("a")
    with Workspace(tmp_path / "f.h5", PROVENANCE) as one, Workspace(tmp_path / "f.h5", PROVENANCE) as other:
        one.write_part([record("a")], texts=[text("a thing a")])
        assert other.claims.take("merge")
        assert one.finish(queries, ["a"]) == "elsewhere"
        assert not (tmp_path / "f.h5").exists()
        other.claims.drop("merge")
        assert one.finish(queries, ["a"]) == "made"
        before = (tmp_path / "f.h5").stat().st_mtime_ns
        assert other.finish(queries, ["a"]) == "made"
        assert (tmp_path / "f.h5").stat().st_mtime_ns == before


def test_a_run_that_was_thought_dead_while_it_wrote_the_cache_does_not_put_it_in_place(tmp_path, monkeypatch):
    """It was suspended, and others may have gone on without it: what it knows may be out of date."""
    with Workspace(tmp_path / "f.h5", PROVENANCE) as workspace:
        workspace.write_part([record("a")], texts=[text("a thing a")])
        monkeypatch.setattr(workspace.presence, "alive", lambda: False)
        assert workspace.finish(asked("a"), ["a"]) == "elsewhere"
        assert not (tmp_path / "f.h5").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["f.parts"]


def test_videos_that_two_runs_did_are_in_the_cache_once(tmp_path):
    with Workspace(tmp_path / "f.h5", PROVENANCE) as one, Workspace(tmp_path / "f.h5", PROVENANCE) as other:
        one.write_part([record("a"), record("b")], texts=[text("a thing a")])
        other.write_part([record("b"), record("c")], texts=[text("a thing a")])
        assert one.finish(asked("a"), ["c", "b", "a"]) == "made"
    with open_cache(tmp_path / "f.h5") as cache:
        assert cache.vids == ["c", "b", "a"]
    assert not (tmp_path / "f.parts").exists()


def test_a_shard_of_one_waits_like_any_run(tmp_path):
    with Workspace(tmp_path / "f.h5", PROVENANCE) as workspace:
        together = Together(workspace, {}, asked(), missing=[], shard=Shard(0, 1), tell=lambda _: None)
        assert together.settled(jobs_of(workspace), Sentences([], None), stopped=True)
        assert together.made


@pytest.mark.parametrize("count", [1, 3])
def test_shards_together_are_one_run(clips, tmp_path, count):
    names = ("constant", "second", "variable", "short", "one_frame", "text")
    videos = {name: clips[name] for name in names}
    queries = [replace(query, duration=math.nan) for query in asked(*names)]

    def run(out: Path, shard: Shard | None):
        encoders = {"video_encoder": FakeVideoEncoder(), "text_encoder": FakeTextEncoder()}
        return extract(videos, queries, out=out, shard=shard, **encoders)

    run(tmp_path / "whole.h5", None)
    shares = [run(tmp_path / "shared.h5", Shard(i, count)) for i in range(count)]
    assert [share.made for share in shares] == [False] * (count - 1) + [True]
    assert sum(share.done for share in shares) == 5
    assert [failure.vid for share in shares for failure in share.failures] == ["text"]
    with open_cache(tmp_path / "whole.h5") as whole, open_cache(tmp_path / "shared.h5") as shared:
        assert shared.vids == whole.vids
        assert shared.video_table().digests == whole.video_table().digests  # rows, times, seconds, decoder, name
        assert shared.text_table() == whole.text_table()
        assert shared.queries.qids == whole.queries.qids
        assert shared.failures == whole.failures
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shared.h5", "whole.h5"]


def test_the_cache_may_be_read_while_it_is_added_to(clips, tmp_path):
    """A finished file never changes: whoever has it open keeps it, and who opens it next gets the new one."""
    out = tmp_path / "f.h5"

    def run(*names: str):
        videos = {name: clips[name] for name in names}
        encoders = {"video_encoder": FakeVideoEncoder(), "text_encoder": FakeTextEncoder()}
        return extract(videos, asked(*names), out=out, **encoders)

    run("short")
    with out.open("rb") as held:
        before = held.read()
        run("short", "second")
        held.seek(0)
        assert held.read() == before
    with open_cache(out) as cache:
        assert cache.vids == ["short", "second"]


def test_a_damaged_cache_is_refused_and_kept(tmp_path):
    with Workspace(tmp_path / "f.h5", PROVENANCE) as workspace:
        workspace.write_part([record("a")], texts=[text("a thing a")])
        workspace.finish(asked("a"), ["a"])
    (tmp_path / "f.h5").write_bytes((tmp_path / "f.h5").read_bytes()[:-1])
    with (
        pytest.raises(InputError, match=r"f\.h5 .*truncated.*; move it away to extract anew"),
        Workspace(tmp_path / "f.h5", PROVENANCE),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]
