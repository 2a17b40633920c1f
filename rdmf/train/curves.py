"""The picture of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rdmf.files import write_atomically


def draw_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Losses by epoch beside hold-out scores by epoch, as a PNG.

    Args:
        history: one dict an epoch with "epoch", "loss", "losses" and, where there is a hold-out, "scores".
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = [h["epoch"] for h in history]
    for name in history[0]["losses"]:
        left.plot(epochs, [h["losses"].get(name) for h in history], label=name, linewidth=1.4)
    left.set(xlabel="epoch", ylabel="loss (unweighted)", title="training losses", yscale="log")
    # Beside the lines: there are up to ten, and no corner is free of them.
    beside: dict[str, Any] = {"frameon": False, "fontsize": 8, "loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    left.legend(**beside)
    scored = [h for h in history if h.get("scores")]
    names = [n for n in ("R1@0.5", "R1@0.7", "mIoU", "mAP", "saliency mAP") if scored and n in scored[-1]["scores"]]
    for name in names:
        right.plot([h["epoch"] for h in scored], [h["scores"].get(name) for h in scored], label=name, linewidth=1.4)
    if names:
        best = max(scored, key=lambda h: (h["monitored"], -h["epoch"]))
        right.axvline(best["epoch"], color="0.7", linestyle=":", linewidth=1)
        right.set(xlabel="epoch", ylabel="percent", title=f"hold-out (best: epoch {best['epoch']})", ylim=(0, 100))
        right.legend(**beside)
    else:
        right.axis("off")
        right.text(0.5, 0.5, "no hold-out: every training video was learnt from", ha="center", va="center", color="0.4")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    write_atomically(path, lambda p: figure.savefig(p, dpi=130, format="png"))
