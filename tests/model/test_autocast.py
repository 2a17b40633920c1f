"""The model under bfloat16 autocast, as on a GPU: finite, close to float32, gradients everywhere."""

from __future__ import annotations

import pytest
import torch

from rdmf.config import Config
from rdmf.model import RDMF, Batch
from rdmf.train.losses import Targets, total_loss


@pytest.mark.parametrize("kind", ["blocks", "literal", "cross-attention"])
def test_bfloat16_autocast(kind: str) -> None:
    torch.manual_seed(0)
    config = Config().updated({"model.hidden": 32, "decoder.queries": 40, "fusion.kind": kind})
    model = RDMF(config, 12, 10)
    lengths = torch.tensor([20, 7, 1])
    mask = torch.arange(20)[None] < lengths[:, None]
    batch = Batch(
        video=torch.randn(3, 20, 12) * mask[..., None],
        video_mask=mask,
        edges=(torch.arange(21)[None] / lengths[:, None]).clamp(max=1),
        text=torch.randn(3, 5, 10),
        text_mask=torch.ones(3, 5, dtype=torch.bool),
    )
    windows = torch.tensor([[[0.1, 0.4]], [[0.2, 0.9]], [[0.0, 1.0]]])
    targets = Targets(windows, torch.ones(3, 1, dtype=torch.bool), (torch.rand(3, 20) > 0.5).float(), mask)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(batch)
    total_loss(output, targets, config)[0].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    model.eval()
    with torch.inference_mode():
        exact = model(batch)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(batch)
    # Spans are not compared: a rounding can make another run of the pattern the best one.
    assert rounded.saliency.dtype == rounded.moments.spans.dtype == torch.float32
    torch.testing.assert_close(rounded.saliency[mask], exact.saliency[mask], atol=0.1, rtol=0)
