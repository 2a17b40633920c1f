"""VideoSwin: where its weights come from, random ones said loudly, and rows that do not affect each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rdmf.store.errors import InputError
from rdmf.store.records import Provenance
from rdmf_extract.encoders import RandomWeightsWarning, build_video_encoder
from rdmf_extract.encoders.registry import _video_from_provenance
from rdmf_extract.encoders.videoswin import VideoSwinEncoder

SMALL = {"frames_per_window": 4, "resolution": 32, "device": "cpu"}


@pytest.fixture(autouse=True)
def no_network_and_an_empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def random_encoder() -> VideoSwinEncoder:
    encoder = build_video_encoder("videoswin-t", weights="random", **SMALL)  # type: ignore[arg-type]
    assert isinstance(encoder, VideoSwinEncoder)
    return encoder


def frames(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, 4, 32, 32, 3), dtype=np.uint8)


def test_without_weights_it_warns_and_says_so_in_its_provenance(random_encoder: VideoSwinEncoder) -> None:
    state = torch.random.get_rng_state()
    with pytest.warns(RandomWeightsWarning, match="RANDOM WEIGHTS.*offline mode is set.*swin3d_t-"):
        encoder = build_video_encoder("videoswin-t", **SMALL)  # type: ignore[arg-type]
    assert encoder.provenance["random_weights"] is True
    assert encoder.provenance["weights"] == "random"
    # The same noise every time, and the caller's own random state untouched.
    assert encoder.provenance == random_encoder.provenance
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_cache_of_random_features_is_rebuilt_with_a_warning(random_encoder: VideoSwinEncoder) -> None:
    with pytest.warns(RandomWeightsWarning, match="made by videoswin-t with RANDOM WEIGHTS"):
        again = _video_from_provenance(Provenance(video=random_encoder.provenance, text={}), "cpu", None)
    assert again.provenance == random_encoder.provenance


def test_random_weights_can_be_forbidden() -> None:
    with pytest.raises(InputError, match=r"no Kinetics-400 weights.*fetch .*swin3d_t-\w+\.pth.*put it at"):
        build_video_encoder("videoswin-t", allow_random=False, **SMALL)  # type: ignore[arg-type]


def test_the_hub_cache_is_used_and_hashes_by_content(
    random_encoder: VideoSwinEncoder, no_network_and_an_empty_cache: Path, tmp_path: Path
) -> None:
    from torchvision.models.video import Swin3D_T_Weights

    name = Swin3D_T_Weights.KINETICS400_V1.url.rsplit("/", 1)[-1]
    no_network_and_an_empty_cache.mkdir(parents=True)
    torch.save(random_encoder._model.state_dict(), no_network_and_an_empty_cache / name)
    cached = build_video_encoder("videoswin-t", allow_random=False, **SMALL)  # type: ignore[arg-type]
    assert cached.provenance["weights"] == "Swin3D_T_Weights.KINETICS400_V1"
    assert cached.provenance["random_weights"] is False
    assert cached.provenance["weights_sha256"] == random_encoder.provenance["weights_sha256"]
    assert cached.source.endswith(name)


@pytest.mark.long
def test_provenance_rebuilds_the_encoder_and_another_file_is_refused(
    random_encoder: VideoSwinEncoder, tmp_path: Path
) -> None:
    tensors = dict(random_encoder._model.state_dict())
    torch.save(tensors, tmp_path / "mine.pth")
    made = build_video_encoder("videoswin-t", weights=tmp_path / "mine.pth", **SMALL)  # type: ignore[arg-type]
    video = json.loads(json.dumps({**made.provenance, "decoder": "auto"}))
    noted = Provenance(video=video, text={}, notes={"video_weights": made.source})
    assert _video_from_provenance(noted, "cpu", None).provenance == made.provenance
    with pytest.raises(InputError, match="from a file that is not known here"):
        _video_from_provenance(Provenance(video=video, text={}), "cpu", None)

    tensors["norm.bias"] = tensors["norm.bias"] + 1
    torch.save(tensors, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"video\.weights_sha256: '.*' here, '.*' in the cache"):
        _video_from_provenance(noted, "cpu", tmp_path / "other.pth")


def test_a_row_does_not_depend_on_its_batch(random_encoder: VideoSwinEncoder) -> None:
    clips = frames(3)
    together = random_encoder.encode(clips)
    assert together.shape == (3, 768)
    assert together.dtype == np.float32
    alone = np.concatenate([random_encoder.encode(clips[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3
    assert random_encoder.encode(clips[:0]).shape == (0, 768)


@pytest.mark.parametrize("bad", [frames(1).astype(np.float32), frames(1)[:, :3], frames(1)[0]])
def test_other_frames_are_a_bug(random_encoder: VideoSwinEncoder, bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="frames must be"):
        random_encoder.encode(bad)


@pytest.mark.parametrize(
    ("content", "said"), [(b"not weights", "cannot be read"), (None, "no such file")], ids=["garbage", "missing"]
)
def test_unusable_files_are_refused_in_one_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    for suffix in (".pth", ".safetensors"):
        path = tmp_path / f"w{suffix}"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=said) as caught:
            build_video_encoder("videoswin-t", weights=path, **SMALL)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
