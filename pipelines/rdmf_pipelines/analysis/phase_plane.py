"""phase_plane.png: where the reaction pushes, where it rests, and where a model's channels and clips are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rdmf.analysis.coefficients import Coefficients
from rdmf.analysis.equilibria import activator_nullcline, states, substrate_nullcline
from rdmf.analysis.summary import classify, uniform
from rdmf_pipelines.analysis.style import COLOURS, bare, new_figure, percent
from rdmf_pipelines.plots import FAINT, FOUND, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rdmf.analysis.model import System
    from rdmf.analysis.spacetime import SpaceTime


def draw(system: System, *, clips: int, seen: SpaceTime | None = None) -> Figure:
    """A panel a block: flow and nullclines at the middle of its coefficients, states of its channels, fields of a
    video.

    Args:
        seen: fields of a video, drawn as one line a channel from its mean over clips at the start to that after N
            steps.
    """
    count = len(system.blocks)
    figure = new_figure(max(5.2, 5.0 * count), 6.7)
    for i, block in enumerate(system.blocks):
        axis = figure.add_axes(((0.62 + i * 5.0) / figure.get_figwidth(), 0.34, 4.2 / figure.get_figwidth(), 0.61))
        codes, _ = classify(block, clips)
        run = seen.runs[i] if seen is not None else None
        c = block.coefficients
        at = states(c.feed, c.kill)
        known = at.upper_a[np.isfinite(at.upper_a)]
        highest = [0.45, *([1.1 * float(np.quantile(known, 0.98))] if known.size else [])]
        if run is not None:
            highest.append(1.1 * float(run.activator.mean(1).max()))
        limit = min(max(highest), 2.0)
        point = c.median()
        _flow(axis, point, limit)
        _nullclines(axis, point, limit)
        if uniform(c):
            _one_state(axis, c)
        else:
            _channel_states(axis, c, codes, limit)
        if run is not None:
            _paths(axis, run)
        f, k = float(point.feed[0]), float(point.kill[0])
        what = "" if uniform(c) else "flow at the medians "
        bare(axis, title=f"{block.name}: {what}F {f:.3f}, k {k:.3f}", x="activator a", y="substrate s")
        axis.set(xlim=(-0.02 * limit, limit), ylim=(-0.02, 1.05))
        axis.legend(
            loc="upper left", bbox_to_anchor=(-0.02, -0.11), fontsize=7.5, frameon=False, ncols=1, labelspacing=0.35
        )
    return figure


def _flow(axis: Any, point: Coefficients, limit: float) -> None:
    a, s = np.meshgrid(np.linspace(0, limit, 60), np.linspace(0, 1.05, 60))
    f, k = float(point.feed[0]), float(point.kill[0])
    reacted = a * a * s
    axis.streamplot(
        a, s, reacted - (f + k) * a, f * (1 - s) - reacted, color="#d5dae0", linewidth=0.7, arrowsize=0.7, density=1.1
    )


def _nullclines(axis: Any, point: Coefficients, limit: float) -> None:
    a = np.linspace(1e-3, limit, 600)
    f, k = float(point.feed[0]), float(point.kill[0])
    axis.plot(
        a, activator_nullcline(a, f, k), color=FOUND, linewidth=1.5, label="a is at rest: s = (F + k) / a, or a = 0"
    )
    axis.plot([0, 0], [0, 1.05], color=FOUND, linewidth=1.5)
    axis.plot(a, substrate_nullcline(a, f), color=INK, linewidth=1.5, label="s is at rest: s = F / (F + a²)")
    axis.plot(
        0, 1, "o", color=INK, markersize=7, clip_on=False, zorder=5, label="trivial state (0, 1), always attracts"
    )


def _one_state(axis: Any, c: Coefficients) -> None:
    """The states of a block whose channels are all alike."""
    f, k = float(c.feed.flat[0]), float(c.kill.flat[0])
    at = states(f, k)
    if not np.isfinite(at.upper_a):
        axis.plot([], [], " ", label="no non-trivial state")
        return
    a, s = float(at.upper_a), float(at.upper_s)
    if at.upper_a == at.lower_a:
        axis.plot(
            a, s, "o", mfc="white", color=INK, markersize=8, zorder=6, label=f"the fold: a {a:.3f}, s {s:.3f}, unstable"
        )
        return
    stable = a**2 > max(f, k)
    told = "attracts" if stable else "repels"
    axis.plot(
        a,
        s,
        "o",
        mfc=INK if stable else "white",
        color=INK,
        markersize=8,
        zorder=6,
        label=f"upper state ({a:.3f}, {s:.3f}), {told}",
    )
    axis.plot(
        float(at.lower_a),
        float(at.lower_s),
        "s",
        mfc="white",
        color=INK,
        markersize=6,
        zorder=6,
        label=f"lower state ({float(at.lower_a):.3f}, {float(at.lower_s):.3f}), a saddle",
    )


def _channel_states(axis: Any, c: Coefficients, codes: Any, limit: float) -> None:
    """The upper state of every (query, channel) pair that has one, by its regime."""
    from rdmf.analysis.regime import REGIMES

    at = states(c.feed, c.kill)
    exists = np.isfinite(at.upper_a)
    for code in sorted(set(codes[exists].tolist()), key=lambda x: -int((codes == x).sum())):
        chosen = exists & (codes == code)
        label = f"upper states, {REGIMES[code][0]} ({percent(float(chosen.mean()))})"
        axis.scatter(
            at.upper_a[chosen],
            at.upper_s[chosen],
            s=7,
            color=COLOURS[code],
            alpha=0.35,
            linewidths=0,
            zorder=3,
            label=label,
        )
    if not exists.all():
        axis.plot([], [], " ", label=f"no upper state ({percent(float((~exists).mean()))})")


def _paths(axis: Any, run: Any) -> None:
    """Each channel's mean over clips, from the first step to the last."""
    from matplotlib.collections import LineCollection

    a, s = run.activator.mean(1), run.substrate.mean(1)  # (N + 1, d)
    lines = np.stack((a, s), -1).transpose(1, 0, 2)  # (d, N + 1, 2)
    axis.add_collection(LineCollection(list(lines), colors=FAINT, linewidths=0.6, alpha=0.8, zorder=4))
    axis.scatter(
        a[0],
        s[0],
        s=8,
        facecolors="white",
        edgecolors=INK,
        linewidths=0.6,
        zorder=5,
        label="channels before the first step, mean over the video's clips",
    )
    axis.scatter(a[-1], s[-1], s=9, color=INK, linewidths=0, zorder=5, label=f"the same after {len(a) - 1} steps")
