"""Original Video Swin checkpoints under torchvision's names."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rdmf.store.errors import InputError
from rdmf_extract.encoders.swin_checkpoint import is_original, to_torchvision, torchvision_name
from rdmf_extract.encoders.videoswin import load_weights
from rdmf_extract.encoders.weights import fill_random, load_strictly, read_weights, tensors_sha256


def small_swin() -> nn.Module:
    """The real architecture with four stages, small enough to build in a blink."""
    from torchvision.models.video.swin_transformer import SwinTransformer3d

    model: nn.Module = SwinTransformer3d(
        patch_size=[2, 4, 4],
        embed_dim=12,
        depths=[1, 2, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=[2, 2, 2],
        num_classes=5,
    )
    return model


def original_name(name: str) -> str:
    """The inverse of the rules, written the other way round: from torchvision's name to the authors'."""
    kind, *rest = name.split(".")
    if kind == "head":
        return ".".join(["cls_head.fc_cls", *rest])
    if kind != "features":
        return "backbone." + name
    stage = int(rest[0])
    if stage % 2:
        return ".".join([f"backbone.layers.{stage // 2}.downsample", *rest[1:]])
    tail = ".".join(rest[2:]).replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.")
    return f"backbone.layers.{stage // 2}.blocks.{rest[1]}.{tail}"


def original(model: nn.Module) -> dict[str, Tensor]:
    return {original_name(name): tensor.clone() for name, tensor in model.state_dict().items()}


def test_a_renamed_checkpoint_loads_strictly_and_is_the_same_network(tmp_path: Path) -> None:
    source, target = small_swin(), small_swin()
    fill_random(source, seed=1)
    torch.save({"meta": {"epoch": 30}, "state_dict": original(source)}, tmp_path / "swin.pth")
    tensors = read_weights(tmp_path / "swin.pth")
    assert is_original(tensors)
    load_weights(target, tensors, where="the checkpoint")
    source.head = nn.Identity()
    assert tensors_sha256(target.state_dict()) == tensors_sha256(source.state_dict())
    clip = torch.randn(1, 3, 4, 32, 32)
    assert torch.equal(source.eval()(clip), target.eval()(clip))


def test_torchvision_names_pass_unchanged(tmp_path: Path) -> None:
    source, target = small_swin(), small_swin()
    assert not is_original(source.state_dict())
    save_file(source.state_dict(), tmp_path / "swin.safetensors")
    load_weights(target, read_weights(tmp_path / "swin.safetensors"), where="the file")
    assert torch.equal(target.state_dict()["norm.weight"], source.state_dict()["norm.weight"])


def test_missing_and_unexpected_keys_are_named() -> None:
    tensors = original(small_swin())
    tensors["backbone.layers.0.blocks.0.attn.surprise"] = tensors.pop("backbone.layers.0.blocks.0.attn.qkv.weight")
    with pytest.raises(InputError) as caught:
        load_weights(small_swin(), tensors, where="weights 'w.pth'")
    message = str(caught.value)
    assert "weights 'w.pth'" in message
    assert "1 missing: features.0.0.attn.qkv.weight" in message
    assert "1 unexpected: features.0.0.attn.surprise" in message


def test_a_tensor_of_another_shape_is_named() -> None:
    tensors = original(small_swin())
    tensors["backbone.norm.bias"] = torch.zeros(3)
    with pytest.raises(InputError, match=r"norm\.bias \(3,\) for \(96,\)"):
        load_weights(small_swin(), tensors, where="w")


@pytest.mark.shared
def test_names_agree_with_the_published_rules(shared: Path) -> None:
    mapping = json.loads((shared / "golden/swin/mapping.json").read_text())
    for old, new in mapping["example"]:
        assert torchvision_name(old) == torchvision_name("backbone." + old) == new


@pytest.mark.shared
def test_the_same_fill_gives_the_published_feature_map(shared: Path) -> None:
    fixture = json.loads((shared / "golden/swin/video_swin_t.json").read_text())
    golden = np.load(shared / "golden/swin/video_swin_t.npz")
    shapes = {name: shape for name, shape, dtype in fixture["state_dict"] if dtype == "float32"}
    shapes |= {"cls_head.fc_cls.weight": [400, 768], "cls_head.fc_cls.bias": [400]}
    tensors = {}
    for name, shape in shapes.items():
        value = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32) * 0.05
        norm = name.endswith("weight") and ("norm" in name)
        tensors[name] = torch.from_numpy(value + np.float32(1) if norm else value)

    from torchvision.models.video import swin3d_t

    model = swin3d_t(weights=None).eval()
    index = {k: v for k, v in model.state_dict().items() if k.endswith("relative_position_index")}
    load_strictly(model, {**to_torchvision(tensors), **index}, where="the fixture")
    clip = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 16, 112, 112)).astype(np.float32))
    with torch.inference_mode():
        grid = model.norm(model.features(model.pos_drop(model.patch_embed(clip)))).permute(0, 4, 1, 2, 3)
        logits = model.head(grid.mean(dim=(2, 3, 4)))
        model.head = nn.Identity()
        pooled = model(clip)
    np.testing.assert_allclose(grid.numpy(), golden["out"], atol=2e-5)
    np.testing.assert_allclose(logits.numpy(), golden["cls_logits"], atol=2e-5)
    np.testing.assert_allclose(pooled.numpy(), golden["out"].mean(axis=(2, 3, 4)), atol=2e-5)
