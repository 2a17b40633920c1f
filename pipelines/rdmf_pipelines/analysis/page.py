"""analysis.md and what is printed: tables first, then sentences, every number from analysis.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rdmf.analysis.regime import REGIMES
from rdmf.analysis.words import listed, share

#: Queries that are shown of each end of the distribution.
EXTREMES = 3

#: Names of analysis.json as people read them.
LABELS = {"fold_margin": "1 - 4 (F + k)² / F, equations", "map_fold_margin": "the same of the steps"}

Rows = list[tuple[str, ...]]


def overview(summary: Mapping[str, Any]) -> Rows:
    """The table of regimes: a head and a row a part."""
    median = "" if all(block["uniform"] for block in summary["blocks"]) else ", median"
    names = ("F", "k", "D_s / D_a")
    rows: Rows = [("part", *(n + median for n in names), "regime of the equations", "regime of the steps taken")]
    for block in summary["blocks"]:
        c = block["coefficients"]
        figures = (_figure(c[name]["50%"]) for name in names)
        rows.append((block["name"], *figures, *(_regimes(block["shares"][name]) for name in ("system", "map"))))
    return rows


def _regimes(shares: Mapping[str, float]) -> str:
    return next(iter(shares)) if len(shares) == 1 else listed(dict(shares))


def markdown(summary: Mapping[str, Any], pictures: Mapping[str, Path]) -> str:
    """The whole page.

    Args:
        summary: what analysis.json holds. pictures: {title: file beside the page}.
    """
    parts = [f"# Analysis of {summary['source']}", _about(summary), "## The regime", table(overview(summary))]
    if not summary["blocks"]:
        parts = parts[:2]
    known = {
        name for block in summary["blocks"] for of in block["shares"].values() if isinstance(of, dict) for name in of
    }
    parts += ["\n".join(f"- *{name}*: {meaning}." for name, meaning in REGIMES if name in known)]
    parts += ["## In words", "\n".join(f"- {line}" for line in summary["words"])]
    for block in summary["blocks"]:
        parts += [f"## {block['name'].capitalize()}", *_block(block, summary)]
    if summary.get("space_time"):
        parts += ["## On one video", _video(summary["space_time"])]
    if pictures:
        parts += ["## Pictures", "\n\n".join(f"![{title}]({path.name})" for title, path in pictures.items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(rows: Rows) -> str:
    """Rows as Markdown, the first one as its head."""
    head, *body = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _about(summary: Mapping[str, Any]) -> str:
    s = summary["settings"]
    out = [f"Waves are those of a video of {summary['clips']} clips."]
    if s["kind"] != "cross-attention":
        out.append(
            f"fusion.kind={s['kind']}, {s['steps']} {s['integrator']} steps of {s['step_size']:g}, "
            f"video as {s['video']}, fusion.order={s['order']}, fusion.kinetics={s['kinetics']}."
        )
    if summary["queried"]:
        out.append(
            f"Kinetics for the {summary['sentences']} sentences of split {summary['split']} of {summary['features']}."
        )
    elif summary["driven_by_queries"] and summary["trained"]:
        out.append("Queries set the kinetics; these are the ones that queries shift from.")
    return " ".join(out)


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e4):
        return f"{value:.1e}"
    return f"{value:.4f}" if abs(value) < 2 else f"{value:.3g}"


def _block(block: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    out = []
    if not block["uniform"]:
        names = list(next(iter(block["coefficients"].values())))
        rows: Rows = [("coefficient", *names)]
        rows += [(LABELS.get(name, name), *(_figure(q[n]) for n in names)) for name, q in block["coefficients"].items()]
        for name, key in (("largest multiplier, clips alike", "radius_at_rest"), ("of waves", "radius_of_waves")):
            rows.append((name, *(_figure(block["map"][key][n]) for n in names)))
        out += [
            "Quantiles over all channels and sentences:" if summary["queried"] else "Quantiles over channels:",
            table(rows),
        ]
    if len(block["scales"]) > 1 and not block["uniform"]:
        rows = [("reach, clips", "channels", "combs of the video", "equations", "steps taken")]
        for s in block["scales"]:
            lengths = sorted(set(s["combs"]))
            combs = f"{len(s['combs'])} of {' or '.join(map(str, lengths))} clips"
            rows.append((str(s["reach_clips"]), str(s["channels"]), combs, listed(s["system"]), listed(s["map"])))
        out += ["By time scale:", table(rows)]
    out += _at("At these coefficients" if block["uniform"] else "At the median of each coefficient", block["middle"])
    if block["middle_of_attracting"] is not None:
        out += _at("At the medians of those whose non-trivial state attracts", block["middle_of_attracting"])
    if block.get("by_query"):
        out += ["Sentences at the ends of the distribution:", table(_extremes(block["by_query"]))]
    return out


def _at(title: str, point: Mapping[str, Any]) -> list[str]:
    """One operating point: its coefficients, its table of states, and Turing's ratio where that has a meaning."""
    figures = ", ".join(f"{name} {_figure(point[name])}" for name in ("F", "k", "D_a", "D_s"))
    out = [f"{title} ({figures}):", table(_point(point))]
    if point["waves"] is not None and point["waves"]["critical_ratio"] is not None:
        out.append(
            f"Turing's condition needs D_s / D_a above {_figure(point['waves']['critical_ratio'])}; it is "
            f"{_figure(point['waves']['ratio'])}."
        )
    return out


def _point(point: Mapping[str, Any]) -> Rows:
    rows: Rows = [("state", "a", "s", "trace", "determinant", "eigenvalues", "attracts", "Euler's limit, all waves")]
    for name, state in point["states"].items():
        if state is None:
            rows.append((name, "none", *[""] * 6))
            continue
        values = ", ".join(_complex(*pair) for pair in state["eigenvalues"])
        figures = (_signed(state[n]) for n in ("trace", "determinant"))
        limit = f"{state['euler_step_limit']['all waves']:.3g}" if state["stable"] else "-"
        stable = "yes" if state["stable"] else "no"
        rows.append((name, f"{state['a']:.4f}", f"{state['s']:.4f}", *figures, values, stable, limit))
    own = point["map"]["upper"]
    if own is not None:
        values = ", ".join(_complex(*pair) for pair in own["multipliers"])
        rows.append(
            (
                "upper, of the steps",
                f"{own['a']:.4f}",
                f"{own['s']:.4f}",
                "",
                "",
                f"multipliers {values}",
                "yes" if own["radius"] < 1 else "no",
                "",
            )
        )
    return rows


def _signed(value: float) -> str:
    return "0" if abs(value) < 1e-6 else f"{value:+.4g}"


def _complex(real: float, imaginary: float) -> str:
    return _signed(real) if not imaginary else f"{_signed(real)} {'+' if imaginary > 0 else '-'} {abs(imaginary):.4g}i"


def _extremes(queries: Sequence[Mapping[str, Any]]) -> Rows:
    """The sentences with the most and the fewest channels whose non-trivial state attracts, and of extreme F and k."""
    rows: Rows = [("", "sentence", "median F", "median k", "channels whose non-trivial state attracts", "Turing")]
    for key, name in (("attracting", "attracting"), ("F", "F"), ("k", "k")):
        order = sorted(queries, key=lambda q: -float(q[key]))
        count = min(EXTREMES, math.ceil(len(order) / 2))
        for which, chosen in (("most", order[:count]), ("least", order[-count:])):
            for i, q in enumerate(chosen if len(order) > 1 or which == "most" else []):
                label = (
                    f"{which} {name}" if key == "attracting" else f"{'highest' if which == 'most' else 'lowest'} {name}"
                )
                rows.append(
                    (
                        label if i == 0 else "",
                        q["sentence"],
                        f"{q['F']:.4f}",
                        f"{q['k']:.4f}",
                        share(q["attracting"]),
                        share(q["turing"]),
                    )
                )
    return rows


def _video(seen: Mapping[str, Any]) -> str:
    lines = [f"“{seen['query']}” in {seen['video']}, {seen['clips']} clips.", *(f"- {line}" for line in seen["words"])]
    return "\n\n".join((lines[0], "\n".join(lines[1:])))
