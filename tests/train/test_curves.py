"""The picture of a run shows every loss and score it has, whatever its epochs lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from rdmf.train.curves import draw_curves

COLOURS = {"first": (31, 119, 180), "second": (255, 127, 14)}  # as lines get them, in this order


def epoch(number: int, losses: dict[str, float], scores: dict[str, float] | None) -> dict[str, Any]:
    told: dict[str, Any] = {"epoch": number, "loss": sum(losses.values()), "losses": losses}
    return {**told, "scores": scores, "monitored": scores["mIoU"]} if scores else told


def coloured(path: Path) -> dict[str, tuple[int, int]]:
    """How many dots of each line's colour there are on the left with its legend, and on the right."""
    picture = np.rint(matplotlib.image.imread(path)[..., :3] * 255).astype(int)
    between = picture.shape[1] * 9 // 16
    halves = picture[:, :between], picture[:, between:]
    return {
        name: tuple(int((np.abs(half - colour) <= 1).all(-1).sum()) for half in halves)
        for name, colour in COLOURS.items()
    }


@pytest.mark.parametrize("held", [True, False])
def test_losses_are_on_the_left_and_scores_on_the_right(held: bool, tmp_path: Path) -> None:
    history = [
        epoch(n, {"saliency": 1.0 / n, "span": 2.0 / n}, {"R1@0.5": 10.0 * n, "mIoU": 12.0 * n} if held else None)
        for n in range(1, 5)
    ]
    draw_curves(history, tmp_path / "curves.png")
    for left, right in coloured(tmp_path / "curves.png").values():
        assert left > 300
        assert (right > 300) == held
        assert held or right == 0


def test_an_epoch_may_lack_a_loss_and_its_scores(tmp_path: Path) -> None:
    """Saliency is not learnt in every batch; scores come every few epochs."""
    history = [
        epoch(1, {"span": 3.0, "saliency": 1.0}, None),
        epoch(2, {"span": 2.0}, {"mIoU": 20.0}),
        epoch(3, {"span": 1.0, "saliency": 0.5}, {"mIoU": 30.0}),
    ]
    draw_curves(history, tmp_path / "curves.png")
    dots = coloured(tmp_path / "curves.png")
    assert dots["first"][0] > 300
    assert dots["second"][0] > 0  # in the legend at least: no two epochs in a row have it
    assert dots["first"][1] > 100
