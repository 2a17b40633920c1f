"""What runs on a cluster's nodes, run here without one."""

from __future__ import annotations

import threading
from pathlib import Path

import fakes
import numpy as np
import pytest
from fakes import SAMPLING, FakeVideoEncoder

from rdmf.store import InputError
from rdmf_extract.batches import EncodedVideo
from rdmf_extract.decode.policy import MIN_RECOVERED, decoder_versions
from rdmf_extract.encoders.spec import EncoderFacts, EncoderSpec
from rdmf_extract.engines import ray_tasks
from rdmf_extract.engines.ray_encoders import RayEncoders
from rdmf_extract.engines.ray_tasks import DecodeSettings, EncoderService, extract_video
from rdmf_extract.pipeline import extract_one
from rdmf_extract.pool import Undecodable

SPECS = (EncoderSpec.of(fakes.build_fake, "fake"), EncoderSpec.of(fakes.build_fake_text, "fake-text"))


def settings(**changes: object) -> DecodeSettings:
    values = {"decoder": "auto", "timeout_seconds": 600.0, "min_recovered": MIN_RECOVERED, "block_rows": 4}
    return DecodeSettings(SAMPLING, **({**values, "versions": decoder_versions()} | changes))


@pytest.fixture
def service() -> EncoderService:
    service = EncoderService(*SPECS, "cpu")
    facts, versions, warned = service.facts()
    assert (facts.provenance, versions, warned) == (FakeVideoEncoder().provenance, decoder_versions(), [])
    return service


def test_a_video_is_encoded_in_blocks_as_it_is_in_one_process(clips, service):
    for name in ("constant", "short", "variable"):
        result = extract_video(name, clips[name], settings(), send=service.encode, get=lambda features: features)
        expected = extract_one(clips[name], FakeVideoEncoder())
        assert isinstance(result.outcome, EncodedVideo)
        np.testing.assert_array_equal(result.outcome.features, expected.features)
        assert (result.outcome.end.decoder, result.outcome.end.duration) == (expected.decoder, expected.duration)
    ray_tasks._close()


def test_a_video_that_gives_nothing_is_told_with_its_reason(clips, service):
    result = extract_video("text", clips["text"], settings(), send=service.encode, get=lambda features: features)
    assert isinstance(result.outcome, Undecodable)
    assert result.outcome.reason.startswith("not a video file")
    ray_tasks._close()


def test_a_node_with_other_decoders_does_nothing(service):
    result = extract_video("v", Path("v.mp4"), settings(versions={"pyav": "1"}), send=service.encode, get=lambda x: x)
    assert isinstance(result.outcome, Undecodable)
    assert result.outcome.passing
    assert "other decoders" in result.outcome.reason


def test_calls_that_wait_are_encoded_together_and_each_gets_its_own(service):
    rng = np.random.default_rng(0)
    shape = (SAMPLING.frames_per_window, SAMPLING.crop, SAMPLING.crop, 3)
    blocks = [rng.integers(0, 256, (rows, *shape), np.uint8) for rows in (1, 4, 2, 3, 5, 1)]
    found: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda i=i, b=b: found.update({i: service.encode(b)})) for i, b in enumerate(blocks)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, block in enumerate(blocks):
        np.testing.assert_array_equal(found[i], FakeVideoEncoder().encode(block))


def test_an_encoder_that_raises_tells_every_caller(service, monkeypatch):
    monkeypatch.setattr(service, "_encoder", None)
    with pytest.raises(AttributeError):
        service.encode(np.zeros((1, 4, 48, 48, 3), np.uint8))


def test_sentences_are_encoded_by_the_same_service(service):
    facts, warned = service.text_facts()
    assert (facts["name"], facts["dim"], facts["max_tokens"], warned) == ("fake-text", 4, 20, [])
    (features,) = service.encode_texts(["two words"])
    assert features.shape == (2, 4)
    with pytest.raises(InputError, match="21 words"):
        service.encode_texts(["word " * 21])


def test_nodes_that_differ_are_refused_and_the_line_says_in_what():
    """GPUs of two generations, of which one has no bfloat16, say; nothing of the second is used."""
    encoders = RayEncoders.__new__(RayEncoders)
    encoders._first = (EncoderFacts.of(FakeVideoEncoder(precision="bfloat16")), decoder_versions(), [])
    encoders._watched = {}
    other = EncoderFacts.of(FakeVideoEncoder(precision="float16"))
    with pytest.raises(InputError, match=r"video\.precision: float16 here, bfloat16 there; name one .* --precision"):
        encoders._take_in(None, (other, decoder_versions(), []))
    with pytest.raises(InputError, match="different decoders; install the same versions"):
        encoders._take_in(None, (encoders._first[0], {}, []))
    assert encoders.alive == []
