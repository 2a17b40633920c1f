"""Names, and that looking one up loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rdmf.store.errors import InputError
from rdmf.store.records import Provenance
from rdmf_extract.encoders import build_text_encoder, build_video_encoder, encoders_from_provenance

HEAVY = ("torch", "torchvision", "timm", "transformers")


def heavy_after(statement: str) -> list[str]:
    """Which heavy libraries a fresh interpreter has loaded after `statement`."""
    code = f"import sys\n{statement}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    path = [p for p in sys.path if p]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_importing_the_registry_loads_no_model_library() -> None:
    assert heavy_after("import rdmf_extract.encoders") == []


@pytest.mark.long
def test_the_check_above_can_fail() -> None:
    assert heavy_after("import rdmf_extract.encoders.compute") == ["torch"]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("videoswin", "videoswin-"),
        ("VideoSwin-T", "videoswin-t"),
        ("videoswin-l", "videoswin-"),
        ("efficientnet-lite1", "efficientnet-lite0"),
        ("resnet50", "known"),
        ("timm", "timm:NAME"),
    ],
)
def test_unknown_video_encoders_name_the_nearest_known(name: str, nearest: str) -> None:
    with pytest.raises(InputError, match=f"video encoder '{name}' is unknown; .*{nearest}"):
        build_video_encoder(name)


def test_an_empty_text_encoder_lists_the_known() -> None:
    with pytest.raises(InputError, match="bert-base-uncased, minilm"):
        build_text_encoder("")


@pytest.mark.parametrize("device", ["warp", "cuda:99", "meta", "hpu", "vulkan"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    """Unknown ones, one too many, and kinds that PyTorch knows and nobody has here: each fails in a way of its own."""
    with pytest.raises(InputError, match=rf"^device '{device}' [^\n]{{,200}}$"):
        build_video_encoder("timm:mobilenetv3_small_050", weights="random", device=device)


@pytest.mark.parametrize(("device", "fits"), [("cuda", True), ("cuda:1", True), ("cuda:2", False)])
def test_gpus_are_counted(device: str, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from rdmf_extract.encoders.compute import choose_device

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    if fits:
        assert str(choose_device(device)) == device
    else:
        with pytest.raises(InputError, match=r"device 'cuda:2' asked for, but the last CUDA GPU here is cuda:1"):
            choose_device(device)


@pytest.mark.parametrize("made", [{}, {"encoder": "import"}])
def test_features_made_elsewhere_cannot_be_made_again(made: dict[str, str]) -> None:
    with pytest.raises(InputError, match="video features were not made by an encoder of rdmf"):
        encoders_from_provenance(Provenance(video=made, text={}))
