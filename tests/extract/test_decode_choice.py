"""What a cache records of its decoder follows from the settings alone, and tells how to ask for the same again."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from fakes import DENSE, SAMPLING, FakeTextEncoder, FakeVideoEncoder

from rdmf.store import InputError, Provenance, QueryRecord, fingerprint, open_cache
from rdmf_extract.decode.choice import FIELDS, policy_of, resolved
from rdmf_extract.decode.events import POLICIES
from rdmf_extract.decode.policy import decoder_versions
from rdmf_extract.pipeline import extract, extraction_provenance
from rdmf_extract.remedy import remedy
from rdmf_extract.sampling import Sampling


def made(sampling: Sampling, policy: str) -> Provenance:
    return extraction_provenance(FakeVideoEncoder(sampling), FakeTextEncoder(), decoder=policy, notes={})


def test_auto_means_pyav_for_sparse_rows_and_decord_first_for_dense_ones():
    assert SAMPLING.sparse
    assert not DENSE.sparse
    assert [resolved("auto", sampling) for sampling in (SAMPLING, DENSE)] == ["pyav", "decord-first"]
    for policy in set(POLICIES) - {"auto"}:
        assert resolved(policy, SAMPLING) == resolved(policy, DENSE) == policy


def test_the_settings_tell_whose_frames_they_are():
    versions = decoder_versions()
    recorded = {
        (policy, sampling): {field: made(sampling, policy).video[field] for field in FIELDS if field in video}
        for policy in POLICIES
        for sampling in (SAMPLING, DENSE)
        for video in [made(sampling, policy).video]
    }
    assert recorded["auto", SAMPLING] == {"decoder": "auto", "sparse": "pyav", "pyav": versions["pyav"]}
    # As caches hold it that were made when "auto" was Decord first everywhere: they still fit.
    once = {"decoder": "auto", **versions}
    assert recorded["auto", DENSE] == recorded["decord-first", DENSE] == recorded["decord-first", SAMPLING] == once
    for policy in ("decord", "pyav"):
        assert recorded[policy, SAMPLING] == recorded[policy, DENSE] == {"decoder": policy, **versions}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("sampling", [SAMPLING, DENSE])
def test_settings_lead_back_to_the_frames_they_were_made_of(policy, sampling):
    """So `rdmf predict` decodes as a run's cache was decoded, whenever that was."""
    video = made(sampling, policy).video
    again = policy_of(video)
    assert resolved(again, sampling) == resolved(policy, sampling)
    assert fingerprint(made(sampling, again)) == fingerprint(made(sampling, policy))


def test_a_machine_without_decord_makes_the_same_cache_of_sparse_rows(monkeypatch):
    here = fingerprint(made(SAMPLING, "auto"))
    monkeypatch.setitem(sys.modules, "decord", None)
    assert fingerprint(made(SAMPLING, "auto")) == here
    assert made(DENSE, "auto").video["decord"] == ""


def test_the_version_of_pyav_is_that_of_the_module():
    import av

    assert decoder_versions()["pyav"] == av.__version__


def test_a_cache_of_other_frames_is_refused_and_the_line_says_how_to_go_on(clips, tmp_path):
    out, videos = tmp_path / "f.h5", {"short": clips["short"]}
    queries = [QueryRecord(0, "short", "a thing", "train")]

    def run(videos, decoder):
        encoders = {"video_encoder": FakeVideoEncoder(), "text_encoder": FakeTextEncoder()}
        asked = [*queries, *(QueryRecord(1, vid, "a thing", "train") for vid in videos if vid != "short")]
        return extract(videos, asked, out=out, decoder=decoder, **encoders)

    run(videos, "decord-first")  # as every cache of these settings was made before
    before = out.read_bytes()
    more = {**videos, "second": clips["second"]}
    with pytest.raises(InputError) as refused:
        run(more, "auto")
    line = str(refused.value)
    assert "\n" not in line
    assert line.startswith(f"{out} was made with other settings (video.decord: ")
    assert "video.sparse: absent here, pyav there" in line
    assert line.endswith("; go on with --decoder decord-first, or name another file with --out")
    assert out.read_bytes() == before
    assert run(more, "decord-first").done == 1
    with open_cache(out) as cache:
        assert {name.split()[0] for name in cache.decoders} == {"decord"}
        assert np.isfinite(cache.video("second")[0]).all()


@pytest.mark.parametrize(
    ("differing", "end"),
    [
        (
            ["video.sparse: absent here, pyav there"],
            "go on with --decoder decord-first, or name another file with --out",
        ),
        (["video.fps: 1 here, 2 there"], "use those settings, or name another file with --out"),
        (["video.sparse: absent here, pyav there", "video.fps: 1 here, 2 there"], "use those settings, or name"),
        (["video.pyav: 18.0.0 here, 18.1.0 there"], "use those settings, or name another file with --out"),
        (
            ["text.precision: bfloat16 here, absent (float32) there", "video.sparse: absent here, pyav there"],
            "go on with --decoder decord-first --precision bfloat16, or name",
        ),
        (["video.precision: bfloat16 here, float16 there", "video.fps: 1 here, 2 there"], "use those settings, or"),
    ],
)
def test_options_are_named_only_where_they_mend_everything(differing, end):
    made = Provenance({"decoder": "auto", "precision": "bfloat16"}, {"precision": "bfloat16"})
    assert remedy(made, differing).startswith(end)


def test_no_precision_is_named_where_no_single_one_made_the_cache():
    made = Provenance({"precision": "bfloat16"}, {})
    assert remedy(made, ["video.precision: bfloat16 here, absent (float32) there"]).startswith("use those settings")


def test_where_no_precision_was_recorded_a_gpu_may_have_made_it():
    line = remedy(Provenance({}, {}), ["video.precision: absent (float32) here, bfloat16 there"])
    assert line.startswith("go on with --precision float32 (not where a GPU made it before ")
    assert line.endswith("), or name another file with --out")


def test_each_cache_names_its_own_decoder():
    for policy in POLICIES:
        assert f"--decoder {policy}," in remedy(made(SAMPLING, policy), ["video.decoder: one here, another there"])
