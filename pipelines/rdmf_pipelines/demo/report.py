"""The demo's report: one HTML file with its pictures inside."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from rdmf_pipelines import plots
from rdmf_pipelines.demo.results import HIT, Example, Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rdmf_pipelines.demo.steps import Place
    from rdmf_pipelines.prediction import Prediction

EXAMPLES = 8
COLUMNS = ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU", "mAP", "saliency mAP")
BASELINES = (
    ("text-only", "text-only guess", "for each sentence the window that fitted it best in training"),
    ("query-blind", "query-blind guess", "one window for everything, chosen in training"),
    ("query-blind oracle", "best query-blind guess", "one window for everything, chosen on these very queries"),
)

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #24292f;
  background: #f4f5f7; margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 28px 64px; }
h1 { font-size: 30px; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 44px 0 10px; }
p { margin: 8px 0; max-width: 78ch; }
.faint { color: #656d76; }
.tiles { display: flex; gap: 14px; margin: 22px 0 8px; flex-wrap: wrap; }
.tile { background: #fff; border: 1px solid #dfe2e6; border-radius: 10px; padding: 14px 20px; flex: 1 1 170px; }
.tile b { display: block; font-size: 32px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile.ours b { color: #c25f0c; }
.tile span { color: #656d76; font-size: 14px; }
.card { background: #fff; border: 1px solid #dfe2e6; border-radius: 10px; padding: 14px 18px; margin: 14px 0;
  overflow-x: auto; }
.card img { width: 100%; display: block; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 7px 10px; border-bottom: 1px solid #eceef0; white-space: nowrap; }
th { font-size: 13px; color: #656d76; font-weight: 600; }
th:first-child, td:first-child { text-align: left; white-space: normal; }
tr:last-child td { border-bottom: 0; }
tr.ours td { font-weight: 700; }
td small { color: #656d76; font-weight: 400; display: block; }
.verdict { display: inline-block; font-size: 13px; font-weight: 600; padding: 1px 9px; border-radius: 99px; }
.hit { background: #dcf3e8; color: #146c4b; } .miss { background: #fbe3df; color: #a5281b; }
.meta { display: flex; gap: 12px; align-items: center; font-size: 14px; color: #656d76; margin: 2px 0 6px;
  flex-wrap: wrap; }
code { background: #eceef0; border-radius: 5px; padding: 2px 6px; font-size: 14px; }
pre { background: #24292f; color: #e6e8ea; border-radius: 10px; padding: 14px 18px; overflow-x: auto; font-size: 14px; }
"""


def write_report(place: Place, results: Results, shown: Prediction, command: str) -> None:
    """Write `place.report`: metrics beside baselines, training curves, examples from best to worst, and one prediction.

    Args:
        results: of the held-out videos.
        shown: what `rdmf predict` found in one of them.
        command: the command line that gives `shown`.
    """
    ours, oracle = results.metrics["metrics"], results.metrics["baselines"]["query-blind oracle"]
    videos = len({e.query["vid"] for e in results.examples})
    tiles = [
        (f"{ours['R1@0.5']:.1f}", "R1@0.5 of rdmf, percent", True),
        (f"{oracle['R1@0.5']:.1f}", "R1@0.5 of the best query-blind guess", False),
        (f"{ours['mIoU']:.1f}", "mean IoU of rdmf, percent", True),
        (f"{results.found} of {len(results.examples)}", f"queries found (IoU at least {HIT:g})", False),
    ]
    body = [
        "<h1>rdmf demo</h1>",
        '<p class="faint">'
        f"Trained on {results.train_queries} queries about {results.train_videos} rendered videos; everything below is "
        f"on {len(results.examples)} queries about {videos} videos that training never saw. Some ask for "
        "compositions of colour, shape and place that occur in no training video (“new”).</p>",
        '<div class="tiles">' + "".join(_tile(*tile) for tile in tiles) + "</div>",
        "<h2>Held-out videos</h2>",
        f'<div class="card">{_metrics_table(results)}</div>',
        f'<div class="card">{_types_table(results)}</div>',
        '<p class="faint">R1@t: share of queries whose first answer overlaps a true moment with IoU of at least t. '
        "mIoU: mean IoU of the first answer. saliency mAP: how well the saliency curve ranks the clips inside the "
        "moments first.</p>",
        "<h2>Training</h2>",
        '<div class="card">' + _image((place.run / "curves.png").read_bytes(), "losses and scores by epoch") + "</div>",
        "<h2>From the best answer to the worst</h2>",
        f"<p>All {len(results.examples)} held-out queries were ranked by the IoU of their first answer; these are the "
        f"{min(EXAMPLES, len(results.examples))} at equal steps of that ranking, so successes and failures appear in "
        "proportion. Green: the true moment. Orange: the first three answers with their scores. Blue: saliency.</p>",
        *(_example(place, example) for example in results.spread(EXAMPLES)),
        "<h2>One prediction, from the command line</h2>",
        f"<pre>{html.escape(command)}</pre>",
        _shown(shown),
    ]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>rdmf demo</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )
    partial = place.report.with_name(place.report.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(place.report)


def _tile(number: str, label: str, ours: bool) -> str:
    return f'<div class="tile{" ours" if ours else ""}"><b>{number}</b><span>{html.escape(label)}</span></div>'


def _metrics_table(results: Results) -> str:
    rows = [_row("rdmf", results.metrics["metrics"], ours=True)]
    for key, name, meaning in BASELINES:
        if key in results.metrics["baselines"]:
            rows.append(_row(f"{name}<small>{meaning}</small>", results.metrics["baselines"][key]))
    head = "".join(f"<th>{column}</th>" for column in COLUMNS)
    return f"<table><tr><th>percent</th>{head}</tr>{''.join(rows)}</table>"


def _types_table(results: Results) -> str:
    rows = [
        _row(html.escape(kind), values, first=f"<td>{int(values['queries'])}</td>")
        for kind, values in results.metrics["by_type"].items()
    ]
    head = "<th>queries</th>" + "".join(f"<th>{column}</th>" for column in COLUMNS)
    return f"<table><tr><th>rdmf by type of query</th>{head}</tr>{''.join(rows)}</table>"


def _row(name: str, values: dict[str, Any], *, first: str = "", ours: bool = False) -> str:
    cells = "".join(
        f"<td>{values[column]:.1f}</td>" if isinstance(values.get(column), (int, float)) else "<td>–</td>"
        for column in COLUMNS
    )
    return f"<tr{' class=ours' if ours else ''}><td>{name}</td>{first}{cells}</tr>"


def _example(place: Place, example: Example) -> str:
    from rdmf_pipelines.thumbnails import film_strip

    query, answer = example.query, example.answer
    duration = float(query["duration"])
    saliency = np.asarray(answer["pred_saliency_scores"], dtype=float)
    # Prediction records hold one value a clip; the clips divide the video evenly but for the last, which is cut.
    clip = _clip_seconds(duration, len(saliency))
    edges = np.minimum(np.arange(len(saliency) + 1) * clip, duration)
    figure = plots.moments_figure(
        title=f"“{query['query']}”",
        duration=duration,
        times=np.stack([edges[:-1], edges[1:]], axis=1),
        saliency=saliency,
        predicted=answer["pred_relevant_windows"],
        truth=query["relevant_windows"],
        strip=film_strip(place.videos / f"{query['vid']}.mp4", duration, strip_aspect=plots.STRIP_ASPECT),
    )
    hit = example.iou >= HIT
    verdict = f'<span class="verdict {"hit" if hit else "miss"}">{"found" if hit else "missed"}</span>'
    facts = (f"IoU {example.iou:.2f}", query["type"], query["vid"])
    meta = verdict + "".join(f"<span>{html.escape(fact)}</span>" for fact in facts)
    return f'<div class="card"><div class="meta">{meta}</div>{_figure(figure, query["query"])}</div>'


def _clip_seconds(duration: float, clips: int) -> float:
    """Length of a clip, a whole number of seconds where `clips` of them cover the duration."""
    whole = np.ceil(duration / clips - 1e-6)
    return float(whole) if np.ceil(duration / whole - 1e-6) == clips else duration / clips


def _shown(shown: Prediction) -> str:
    return f'<div class="card">{_figure(plots.figure_of(shown), shown.query)}</div>'


def _figure(figure: Figure, alt: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return _image(buffer.getvalue(), alt)


def _image(png: bytes, alt: str) -> str:
    return f'<img alt="{html.escape(alt, quote=True)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
