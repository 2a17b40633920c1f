"""Videos and sentences to a cache, with encoders whose features can be predicted."""

from __future__ import annotations

import functools
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from clips import level
from fakes import SAMPLING, FakeTextEncoder, FakeVideoEncoder

from rdmf.store import InputError, QueryRecord, open_cache
from rdmf_extract.decode.worker import DecoderProcess
from rdmf_extract.engines import local
from rdmf_extract.pipeline import extract, extract_one

GOOD = ("constant", "second", "variable", "short", "one_frame", "damaged", "webm")
BAD = ("audio_only", "text", "empty", "stump")


def queries(*vids: str, text: str = "a grey thing") -> list[QueryRecord]:
    return [QueryRecord(i, vid, f"{text} {i % 3}", "train", windows=((0.0, 1.0),)) for i, vid in enumerate(vids)]


def run(videos, asked, out, **options):
    encoders = {"video_encoder": FakeVideoEncoder(), "text_encoder": FakeTextEncoder()}
    return extract(videos, asked, out=out, **(encoders | options))


def test_everything_that_can_be_read_is_in_the_cache_and_the_rest_is_listed(clips, tmp_path):
    out = tmp_path / "features" / "all.h5"
    videos = {name: clips[name] for name in (*GOOD, *BAD)}
    summary = run(videos, [*queries(*videos, "absent")], out, workers=2, batch_rows=5)
    assert (summary.done, summary.skipped, summary.missing) == (len(GOOD), 0, ["absent"])
    assert [failure.vid for failure in summary.failures] == list(BAD)
    assert all(failure.reason and "\n" not in failure.reason for failure in summary.failures)
    with open_cache(out) as cache:
        assert sorted(cache.vids) == sorted(GOOD)
        assert sorted(failure.vid for failure in cache.failures) == sorted([*BAD, "absent"])
        assert {failure.vid: failure.reason for failure in cache.failures}["absent"] == "file not found"
        assert cache.missing_videos() == [*BAD, "absent"]
        assert summary.rows == cache.n_rows
        assert dict(zip(cache.vids, cache.padded.tolist()))["short"]
        assert not dict(zip(cache.vids, cache.padded.tolist()))["constant"]
        assert dict(zip(cache.vids, cache.recovered.tolist()))["damaged"] < 1
        assert dict(zip(cache.vids, cache.decoders))["webm"].startswith("pyav")
        assert cache.d_video == 6
        assert len(cache.queries) == len(videos) + 1
    assert not out.with_suffix(".parts").exists()


def test_features_and_times_are_those_of_the_seconds_they_claim(clips, tmp_path):
    out = tmp_path / "f.h5"
    run({"constant": clips["constant"]}, queries("constant"), out)
    with open_cache(out) as cache:
        features, times = cache.video("constant")
        assert features.dtype == np.float16
        np.testing.assert_allclose(times[:, 0], np.arange(len(times)) * SAMPLING.stride_seconds)
        assert len(times) == SAMPLING.row_count(float(cache.durations[0]))
        assert times[-1, 1] == pytest.approx(cache.durations[0])
        for row, (start, _) in enumerate(times):
            # The first of four frames is looked at 0.125 s into the window; frames change every 0.1 s.
            shown = math.floor((min(start + 0.125, 4.9) + 1e-6) * 10) / 10
            assert features[row, 0] * 255 == pytest.approx(level(shown), abs=6.0)


def test_batches_run_across_videos(clips, tmp_path):
    encoder = FakeVideoEncoder()
    videos = {f"v{i}": clips["short"] for i in range(7)}
    run(videos, queries(*videos), tmp_path / "f.h5", video_encoder=encoder, batch_rows=3)
    assert sum(encoder.batches) == 7
    assert encoder.batches == [3, 3, 1]


def test_every_distinct_sentence_is_encoded_once(clips, tmp_path):
    encoder = FakeTextEncoder()
    run({"short": clips["short"]}, queries(*["short"] * 10), tmp_path / "f.h5", text_encoder=encoder)
    assert sorted(encoder.seen) == [f"a grey thing {i}" for i in range(3)]


def test_a_takeover_half_way_leaves_no_row_of_the_first_decoder(clips, tmp_path, monkeypatch):
    path = shutil.copy(clips["constant"], tmp_path / "late.mp4")
    monkeypatch.setattr(local, "DecoderProcess", functools.partial(DecoderProcess, module="fake_decoder"))
    summary = run({"late": path}, queries("late"), tmp_path / "f.h5", batch_rows=1, decoder="decord-first")
    assert [vid for vid, _ in summary.takeovers] == ["late"]
    monkeypatch.undo()
    alone = extract_one(clips["constant"], FakeVideoEncoder(), decoder="pyav")
    with open_cache(tmp_path / "f.h5") as cache:
        np.testing.assert_allclose(cache.video("late")[0], alone.features, atol=1e-3)


def test_one_video_alone_gives_the_same_features(clips, tmp_path):
    out = tmp_path / "f.h5"
    run({"variable": clips["variable"]}, queries("variable"), out)
    record = extract_one(clips["variable"], FakeVideoEncoder())
    with open_cache(out) as cache:
        features, times = cache.video("variable")
    np.testing.assert_array_equal(record.features.astype(np.float16), features)
    np.testing.assert_array_equal(record.times, times)
    assert record.vid == "variable"


@pytest.mark.parametrize("name", ["audio_only", "stump"])
def test_one_unreadable_video_is_one_clear_line(clips, name):
    with pytest.raises(InputError, match=rf"{clips[name].name}: \w+"):
        extract_one(clips[name], FakeVideoEncoder())


def test_durations_that_annotations_get_wrong_are_reported(clips, tmp_path):
    asked = [
        QueryRecord(0, "constant", "right", "train", duration=5.5),
        QueryRecord(1, "second", "wrong", "train", duration=30.0),
    ]
    out = tmp_path / "f.h5"
    summary = run({"constant": clips["constant"], "second": clips["second"]}, asked, out)
    assert [(vid, annotated) for vid, annotated, _ in summary.duration_differences] == [("second", 30.0)]
    assert summary.duration_differences[0][2] == pytest.approx(4.0, abs=0.2)
    with open_cache(out) as cache:
        assert dict(zip(cache.vids, cache.annotated_durations.tolist())) == {"constant": 5.5, "second": 30.0}


def test_features_that_cannot_be_stored_cost_their_video_only(clips, tmp_path):
    class Wild(FakeVideoEncoder):
        def encode(self, frames):
            features = super().encode(frames)
            features[features[:, 0] > 0.45] = np.nan if self.nan else 1e6  # bright, that is, late in the long video
            return features

    for nan, word in ((True, "NaN"), (False, "float16")):
        encoder = Wild()
        encoder.nan = nan
        out = tmp_path / f"{nan}.h5"
        summary = run({"long": clips["constant"], "ok": clips["short"]}, queries("long"), out, video_encoder=encoder)
        assert [failure.vid for failure in summary.failures] == ["long"]
        assert word in summary.failures[0].reason
        assert summary.done == 1


def test_what_made_the_features_is_recorded(clips, tmp_path):
    run({"short": clips["short"]}, queries("short"), tmp_path / "f.h5", notes={"licence": "CC0"})
    with open_cache(tmp_path / "f.h5") as cache:
        video, notes = cache.provenance.video, cache.provenance.notes
    assert video["encoder"] == "fake"
    assert video["decoder"] == "auto"
    assert video["dtype"] == "float16"
    assert video["window_seconds"] == 1.0
    assert video["pyav"]
    assert notes["licence"] == "CC0"


@pytest.mark.parametrize(
    ("asked", "options", "message"),
    [
        ([QueryRecord(0, "short", "word " * 21, "train")], {}, "21 words"),
        (queries("short"), {"decoder": "opencv"}, "opencv"),
        ([*queries("short"), *queries("short")], {}, "twice"),
        ([QueryRecord(2**64, "short", "a", "train")], {}, "does not fit 64 bits"),
        ([QueryRecord(0, "short", "a", "train", saliency_clips=(0,), saliency_scores=((1e300,),))], {}, "finite"),
        ([*queries("short"), QueryRecord(9, "caf\udce9", "a", "train")], {}, r"'caf\\udce9' is not valid Unicode"),
    ],
)
def test_bad_input_is_refused_before_any_video_is_decoded(clips, tmp_path, asked, options, message):
    with pytest.raises(InputError, match=message):
        run({"short": clips["short"]}, asked, tmp_path / "f.h5", **options)
    assert not (tmp_path / "f.h5").exists()
    assert not (tmp_path / "f.parts").exists()


def test_a_folder_is_no_cache(clips, tmp_path):
    with pytest.raises(InputError, match="directory"):
        run({"short": clips["short"]}, queries("short"), tmp_path)


def test_progress_tells_stages_counts_and_reasons(clips, tmp_path):
    states = []
    videos = {name: clips[name] for name in ("short", "text")}
    run(videos, queries(*videos), tmp_path / "f.h5", progress=states.append)
    assert list(dict.fromkeys(state.stage for state in states)) == ["sentences", "videos", "writing"]
    last = [state for state in states if state.stage == "videos"][-1]
    assert (last.done, last.total, last.failures, last.rows) == (2, 2, 1, 1)
    assert any(state.note.startswith("text: not a video file") for state in states)


def test_a_bug_in_the_encoder_surfaces_and_leaves_no_process_behind(clips, tmp_path):
    class Broken(FakeVideoEncoder):
        def encode(self, frames):
            raise RuntimeError("no such kernel")

    with pytest.raises(RuntimeError, match="no such kernel"):
        run({"constant": clips["constant"]}, queries("constant"), tmp_path / "f.h5", video_encoder=Broken())
    summary = run({"constant": clips["constant"]}, queries("constant"), tmp_path / "f.h5")
    assert summary.done == 1


def test_sampling_is_the_encoders(clips, tmp_path):
    encoder = FakeVideoEncoder(replace(SAMPLING, stride_seconds=2.0))
    record = extract_one(clips["constant"], encoder)
    assert record.times[:, 0].tolist() == [0.0, 2.0]
