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


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(InputError, match="device 'warp'"):
        build_video_encoder("timm:mobilenetv3_small_050", weights="random", device="warp")


@pytest.mark.parametrize("made", [{}, {"encoder": "import"}])
def test_features_made_elsewhere_cannot_be_made_again(made: dict[str, str]) -> None:
    with pytest.raises(InputError, match="video features were not made by an encoder of rdmf"):
        encoders_from_provenance(Provenance(video=made, text={}))
