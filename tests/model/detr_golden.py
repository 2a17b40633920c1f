"""What the parity tests of the DETR-like models share."""

from __future__ import annotations

import pytest
import torch
from golden_models import Golden, error
from torch import Tensor, nn

from rdmf.baselines.detr import Moments, Pairs, assign, moment_losses
from rdmf.baselines.names import NAMES
from rdmf.baselines.settings import DETRConfig
from rdmf.model.spans import to_edges
from rdmf.train.losses import Targets

TOLERANCE = 1e-4


def golden_targets(golden: Golden) -> Targets:
    """The fixture's windows; its saliency enters the losses by their own arguments."""
    spans = [golden.arrays[f"target/span_labels/{i}/spans"] for i in range(3)]
    most, mask = max(map(len, spans)), golden.inputs["src_vid_mask"].bool()
    windows, valid = torch.zeros(3, most, 2), torch.zeros(3, most, dtype=torch.bool)
    for i, found in enumerate(spans):
        windows[i, : len(found)], valid[i, : len(found)] = to_edges(found), True
    return Targets(windows, valid, torch.zeros(mask.shape), mask)


def golden_pairs(golden: Golden) -> Pairs:
    """The pairs of clips that the authors' loader drew."""
    high, low = (golden.arrays[f"target/saliency_{kind}_labels"] for kind in ("pos", "neg"))
    return Pairs(high, low, torch.ones_like(high, dtype=torch.bool))


def check_outputs(golden: Golden, which: str, saliency: Tensor, moments: Moments) -> None:
    """Saliency and the last layer's moments against the fixture's `which/*`."""
    assert error(moments.logits, golden.arrays[f"{which}/pred_logits"]) < TOLERANCE
    assert error(moments.spans, golden.arrays[f"{which}/pred_spans"]) < TOLERANCE
    assert error(saliency, golden.arrays[f"{which}/saliency_scores"]) < TOLERANCE


def check_early_layers(golden: Golden, layers: list[Moments]) -> None:
    """The moments after all layers but the last."""
    for i, moments in enumerate(layers[:-1]):
        assert error(moments.logits, golden.arrays[f"out/aux_outputs/{i}/pred_logits"]) < TOLERANCE
        assert error(moments.spans, golden.arrays[f"out/aux_outputs/{i}/pred_spans"]) < TOLERANCE


def check_moment_losses(golden: Golden, layers: list[Moments], own: DETRConfig) -> None:
    """Which query answers for which window, and the three losses, after every layer."""
    targets = golden_targets(golden)
    for i, moments in enumerate(layers):
        last = i + 1 == len(layers)
        theirs = golden.info["matcher_indices"]["last" if last else f"aux_{i}"]
        for chosen, (queries, windows) in zip(assign(moments, targets, own).tolist(), theirs, strict=True):
            assert {w: q for w, q in enumerate(chosen) if q >= 0} == dict(zip(windows, queries, strict=True))
        for name, value in moment_losses(moments, targets, own).items():
            full = f"loss_{name}" + ("" if last else f"_{i}")
            assert abs(float(value) - golden.info["losses"][full]) < TOLERANCE, full
            assert getattr(own, name) == golden.info["weight_dict"][full], full


def check_total(golden: Golden, total: Tensor) -> None:
    """The weighted sum of all losses; float32 has seven digits."""
    assert float(total.detach()) == pytest.approx(golden.info["total_weighted_loss"], rel=1e-6, abs=TOLERANCE)


def check_gradients(golden: Golden, network: nn.Module, model: str, *, smallest: float = 1e-3) -> None:
    """Norms of the total loss's gradients, parameter by parameter, where they are clearly not zero."""
    own = dict(network.named_parameters())
    compared = 0
    for theirs, norm in golden.info["grad_l2_norm_of_total_loss"].items():
        ours = NAMES[model].ours(theirs)
        assert ours is not None, theirs
        if ours and norm is not None and norm > smallest:
            found = torch.cat([own[name].grad.flatten() for name in ours]).norm()  # type: ignore[union-attr]
            assert float(found) == pytest.approx(norm, rel=2e-3), theirs
            compared += 1
    assert compared > 0.7 * len(golden.info["state_dict"])
