"""A study's own page: OUT/table.md with its plot, beside the numbers that it was made of."""

from __future__ import annotations

from pathlib import Path

from rdmf_pipelines.studies import layout
from rdmf_pipelines.studies.comparison import SHOWN
from rdmf_pipelines.studies.figure import draw
from rdmf_pipelines.studies.files import Files
from rdmf_pipelines.studies.provenance import machine_text
from rdmf_pipelines.studies.results import KINDS, Results


def write_sheet(results: Results, folder: Path) -> None:
    """Write results.csv, per-query.npz, study.json, table.md and plot.png."""
    from rdmf.evaluation.records import write_text_atomically

    results.save(Files.of(folder))
    draw(results, folder / "plot.png")
    write_text_atomically(folder / "table.md", sheet(results))


def sheet(results: Results) -> str:
    """The page as Markdown."""
    values = results.values()
    columns = layout.columns_of(values, SHOWN)
    return "\n".join(
        [
            f"# {results.about['title']}\n",
            *notes(results),
            f"{what_is_shown(results)}\n",
            layout.means_table(values, columns),
            *clocks(results),
            against_text(values) + "\n",
            layout.differences_table(values, columns),
            *layout.parts_tables(values, columns),
            "![The same as a picture](plot.png)\n",
            *origin(results),
        ]
    )


def what_is_shown(results: Results) -> str:
    """The caption of a table of means."""
    folds, seeds = results.queries.folds, results.about["seeds"]
    where = f"{len(folds)} folds ({', '.join(folds)}), " if len(folds) > 1 else f"{folds[0]}, "
    splits = sorted({fold["split"] for fold in results.about["folds"]})
    spread = "mean ± standard deviation over seeds" if len(seeds) > 1 else "one seed"
    return f"{where}split {' and '.join(splits)}, {len(results.queries)} queries pooled, percent; {spread}."


def clocks(results: Results) -> list[str]:
    """What the seconds of an epoch are, and on what; nothing where no run has any."""
    said = []
    for kind in KINDS:
        runs = [run for run in results.runs if run["seconds per epoch"] and results.kind(run) == kind]
        if runs:
            devices = " and ".join(sorted({str(run["device"]) for run in runs}))
            most = max(int(run.get("at once") or 1) for run in runs)
            shared = f", up to {most} runs at once" if most > 1 else ""
            what = "processor time, or wall time where that is less" if kind == "CPU" else "wall time"
            said.append(f"{kind}: {what}, on {devices}{shared}")
    return [f"Seconds an epoch, median of the runs ({'; '.join(said)}).\n"] if said else []


def against_text(values: layout.Values) -> str:
    """The caption of a table of differences."""
    return (
        f"Against **{values['reference']}**, paired over queries (their scores averaged over seeds first): "
        "difference in points [95% bootstrap interval], p of the paired t-test."
    )


def notes(results: Results) -> list[str]:
    """What a reader must know before the numbers: what is missing, what was left out, mixed code."""
    out = []
    if results.missing:
        shown = "; ".join(results.missing[:6]) + ("; ..." if len(results.missing) > 6 else "")
        out.append(f"**Incomplete: {len(results.missing)} of {results.about['runs']} runs are missing** ({shown}).\n")
    for label, other in results.about["same"].items():
        out.append(f"*{label}* is left out: under these settings it is the same as *{other}*.\n")
    if len(results.about["code"]) > 1:
        out.append(
            f"The runs were made by {len(results.about['code'])} versions of the code; results.csv says which.\n"
        )
    return out


def origin(results: Results) -> list[str]:
    """The command, the settings, the machine and the date."""
    about = results.about
    presets = ", ".join(f"{row['label']}: {row['preset']}" for row in about["rows"])
    alike = {row["preset"] for row in about["rows"]}
    return [
        f"```sh\n{about['command']}\n```\n",
        f"Preset {alike.pop()}." if len(alike) == 1 else f"Presets: {presets}.",
        f"Measured on {' and '.join(machine_text(told) for told in about['machines'])}; finished {about['finished']}; "
        f"code {', '.join(about['code'])}.\n",
    ]
