"""A comparison as plain values (for JSON), and those as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rdmf_pipelines.studies.comparison import (
    SHOWN,
    Difference,
    Mean,
    Queries,
    Row,
    by_fold,
    by_type,
    differences,
    means,
)
from rdmf_pipelines.studies.scoring import METRICS

Values = dict[str, Any]


def as_values(rows: Sequence[Row], queries: Queries, reference: Row, notes: Mapping[str, Any] | None = None) -> Values:
    """Everything the tables show, unrounded in the means and p-values.

    Args:
        notes: put in as they are, such as the settings in which the models differ.
    """

    def part(found: dict[str, tuple[int, list[dict[str, Mean]]]]) -> Values:
        return {
            name: {
                "queries": count,
                "rows": [
                    {"model": row.label, "metrics": {m: _mean(v) for m, v in values.items()}}
                    for row, values in zip(rows, every)
                ],
            }
            for name, (count, every) in found.items()
        }

    return {
        "queries": len(queries),
        "reference": reference.label,
        "rows": [
            {
                "model": row.label,
                "seeds": list(row.seeds),
                **row.facts,
                "metrics": {m: _mean(v) for m, v in means(row).items()},
                "against": {}
                if row is reference
                else {m: _difference(d) for m, d in differences(row, reference, METRICS).items()},
            }
            for row in rows
        ],
        "by_type": part(by_type(rows, queries)),
        "by_fold": part(by_fold(rows, queries)) if len(queries.folds) > 1 else {},
        **(notes or {}),
    }


def _mean(value: Mean) -> Values:
    return {"mean": value.mean, "spread": value.spread, "seeds": value.seeds}


def _difference(value: Difference) -> Values:
    return {
        "difference": value.difference,
        "low": value.low,
        "high": value.high,
        "p": value.p,
        "queries": value.queries,
    }


def mean_text(value: Values | None) -> str:
    """ "63.1 ± 1.2", "63.1" of one seed, "-" of nothing."""
    if value is None:
        return "-"
    spread = "" if value["spread"] is None else f" ± {value['spread']:.1f}"
    return f"{value['mean']:.1f}{spread}"


def p_text(p: float) -> str:
    """ "<0.001", else three decimals (two from 0.1 on)."""
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def number_text(count: int | None) -> str:
    """1234567 as "1.23 M", 12345 as "12 k"; "" for none."""
    if count is None:
        return ""
    return f"{count / 1e6:.2f} M" if count >= 1e6 else f"{count / 1e3:.0f} k" if count >= 1e4 else str(count)


def seconds_text(seconds: float | None) -> str:
    """Three digits; "" for none."""
    return "" if seconds is None else f"{seconds:.3g}" if seconds < 100 else f"{seconds:.0f}"


def clocks_of(values: Values) -> dict[str, str]:
    """{kind of device: its column}, "s/epoch" for seconds of no kind or where no row has any."""
    told = [row.get("seconds per epoch") for row in values["rows"]]
    kinds = sorted({kind for seconds in told if isinstance(seconds, dict) for kind in seconds})
    plain = not kinds or any(isinstance(seconds, float) for seconds in told)
    return {**({"": "s/epoch"} if plain else {}), **{kind: f"s/epoch, {kind}" for kind in kinds}}


def _clock_texts(row: Values, kinds: Iterable[str]) -> list[str]:
    seconds = row.get("seconds per epoch")
    by_kind = seconds if isinstance(seconds, dict) else {"": seconds}
    return [seconds_text(by_kind.get(kind)) for kind in kinds]


def columns_of(values: Values, names: Sequence[str] = SHOWN) -> list[str]:
    """Those of the metrics that any row has."""
    return [name for name in names if any(name in row["metrics"] for row in values["rows"])]


def show(values: Values) -> None:
    """On standard output: every model with its difference from the first, then the query types."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    columns, clocks = columns_of(values), clocks_of(values)
    # Off a terminal the table keeps its full width rather than fold into 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 180, highlight=False, markup=False)
    first = f"against {values['reference']}"
    table = Table(
        title=f"{values['queries']} queries, percent: mean ± standard deviation over seeds; below, {first}: "
        "difference, its 95% interval, p",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for name in ("", "seeds", *columns, "parameters", *clocks.values()):
        table.add_column(name, justify="left" if not name else "right", no_wrap=bool(name))
    for row in values["rows"]:
        table.add_row(
            row["model"],
            str(len(row["seeds"])) if row["seeds"] else "",
            *(mean_text(row["metrics"].get(name)) for name in columns),
            number_text(row.get("parameters")),
            *_clock_texts(row, clocks),
            style="bold" if row["model"] == values["reference"] else None,
        )
        if row["against"]:
            found = [row["against"].get(name) for name in columns]
            blank = ("",) * (1 + len(clocks))
            table.add_row("  difference", "", *(f"{d['difference']:+.1f}" if d else "-" for d in found), *blank)
            table.add_row("  95%", "", *(interval_text(d) if d else "-" for d in found), *blank)
            table.add_row("  p", "", *(p_text(d["p"]) if d else "-" for d in found), *blank, end_section=True)
    console.print(table)
    for title, kinds in (("by query type", values["by_type"]), ("by fold", values["by_fold"])):
        if kinds:
            console.print(_parts_table(title, kinds, columns))


def interval_text(found: Values) -> str:
    """ "[-1.2, 3.4]"."""
    return f"[{found['low']:.1f}, {found['high']:.1f}]"


def _parts_table(title: str, parts: Values, columns: Sequence[str]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in (title.removeprefix("by "), "queries", "", *columns):
        table.add_column(name, justify="right" if name == "queries" or name in columns else "left", no_wrap=True)
    for name, part in parts.items():
        for number, row in enumerate(part["rows"]):
            head = (name, str(part["queries"])) if not number else ("", "")
            last = number == len(part["rows"]) - 1
            cells = (mean_text(row["metrics"].get(column)) for column in columns)
            table.add_row(*head, row["model"], *cells, end_section=last)
    return table


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A Markdown table, the first `left` columns to the left and the rest to the right."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(_escaped(cells)) + " |" for cells in (head, rule, *rows)) + "\n"


def _escaped(cells: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]


def markdown(values: Values) -> str:
    """Three tables: the means, the differences from the reference, the query types and folds where there are any."""
    columns = columns_of(values)
    return "\n".join(
        [
            f"{values['queries']} queries, percent; mean ± standard deviation over seeds.\n",
            means_table(values, columns),
            f"Against **{values['reference']}**, paired over queries (their scores averaged over seeds first): "
            "difference in points [95% bootstrap interval], p of the paired t-test.\n",
            differences_table(values, columns),
            *parts_tables(values, columns),
        ]
    )


def means_table(values: Values, columns: Sequence[str]) -> str:
    """A row a model."""
    clocks = clocks_of(values)
    rows = [
        [
            row["model"],
            str(len(row["seeds"])) if row["seeds"] else "",
            *(mean_text(row["metrics"].get(name)) for name in columns),
            number_text(row.get("parameters")),
            *_clock_texts(row, clocks),
        ]
        for row in values["rows"]
    ]
    return markdown_table(["", "seeds", *columns, "parameters", *clocks.values()], rows)


def differences_table(values: Values, columns: Sequence[str]) -> str:
    """A row a model but the reference."""
    rows = []
    for row in values["rows"]:
        if row["against"]:
            found = [row["against"].get(name) for name in columns]
            cells = (f"{d['difference']:+.1f} {interval_text(d)}, p {p_text(d['p'])}" if d else "-" for d in found)
            rows.append([row["model"], *cells])
    return markdown_table([f"against {values['reference']}", *columns], rows)


def parts_tables(values: Values, columns: Sequence[str]) -> list[str]:
    """Tables by query type and by fold, each with its heading; none where there are none."""
    out = []
    for title, parts in (("By query type", values["by_type"]), ("By fold", values["by_fold"])):
        if not parts:
            continue
        rows = [
            [name if not i else "", str(part["queries"]) if not i else "", row["model"]]
            + [mean_text(row["metrics"].get(column)) for column in columns]
            for name, part in parts.items()
            for i, row in enumerate(part["rows"])
        ]
        out.append(f"{title}:\n")
        out.append(markdown_table([title.removeprefix("By "), "queries", "", *columns], rows, left=3))
    return out


def as_csv(values: Values) -> str:
    """A line for each part (all queries, a type, a fold), model and metric."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    tested = ("difference", "low", "high", "p")
    writer.writerow(["part", "name", "queries", "model", "metric", "mean", "spread", "seeds", *tested])
    parts: list[tuple[str, str, int, Any]] = [("all", "", values["queries"], values["rows"])]
    for title, key in (("type", "by_type"), ("fold", "by_fold")):
        parts.extend((title, name, part["queries"], part["rows"]) for name, part in values[key].items())
    for part, name, count, rows in parts:
        for row in rows:
            for metric, value in row["metrics"].items():
                found = row.get("against", {}).get(metric, {})
                numbers = [_rounded(value["mean"]), _rounded(value["spread"]), value["seeds"]]
                numbers += [_rounded(found.get(key)) for key in tested[:-1]]
                numbers.append(f"{found['p']:.3g}" if found else "")
                writer.writerow([part, name, count, row["model"], metric, *numbers])
    return file.getvalue()


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 3)
