"""The ablation tables as data: every row is a name and the settings that make it.

The tables have the shape of the paper's: the values in their rows are the paper's where its text kept them (Tables 4 to
7). The numbers of Figure 3's axis were lost in the text; ours span one step to a dozen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from rdmf.store import InputError


@dataclass(frozen=True)
class TableRow:
    """One row: what it is called, and what makes it.

    Attributes:
        label: its name, unique in its table. settings: "section.field" -> value, over the preset and the user's own.
        model: as `rdmf train --model`. preset: its own P instead of the dataset's, DATASET-P where there is one. x: its
            place on the axis of a sweep.
    """

    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    model: str = "rdmf"
    preset: str | None = None
    x: float | None = None

    @property
    def slug(self) -> str:
        """The label as a folder's name."""
        return re.sub(r"[^a-z0-9.]+", "-", self.label.lower()).strip("-")


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: as `rdmf ablate --table`. title: what it shows, and its place in the paper.
        rows: in the order shown. reference: label of the row that the others are tested against.
        axis: what `x` of the rows is, where the table is a sweep of one number.
        reading: also show every row with its moments read off the saliency.
        asked: the rows that were asked for by name; empty for all.
    """

    name: str
    title: str
    rows: tuple[TableRow, ...]
    reference: str
    axis: str = ""
    reading: bool = False
    asked: tuple[str, ...] = ()

    def chosen(self, names: list[str]) -> Table:
        """The same with some of the rows; the reference is then the first of them unless it is among them.

        Raises:
            InputError: a name that no row has.
        """
        known = {row.label: row for row in self.rows} | {row.slug: row for row in self.rows}
        for name in names:
            if name not in known:
                raise InputError(
                    f"table {self.name} has no row '{name}'; it has: {', '.join(r.slug for r in self.rows)}"
                )
        wanted = {known[name].label for name in names}
        rows = tuple(row for row in self.rows if not names or row.label in wanted)
        labels = [row.label for row in rows]
        reference = self.reference if self.reference in labels else labels[0]
        asked = tuple(row.slug for row in rows) if names else ()
        return replace(self, rows=rows, reference=reference, asked=asked)


def _sweep(label: str, setting: str, values: tuple[int, ...]) -> tuple[TableRow, ...]:
    return tuple(TableRow(f"{label} = {value}", {setting: value}, x=value) for value in values)


_COMPONENTS = Table(
    "components",
    "Components (Table 4 of the paper)",
    (
        TableRow("full"),
        TableRow("without temporal diffusion", {"diffusion.steps": 0}),
        TableRow("cross-attention instead of RD", {"fusion.kind": "cross-attention"}),
        TableRow("without cuts", {"model.cuts": 0}),
        TableRow("without IoU head", {"score.balance": 1, "loss.iou": 0}),
        TableRow("with centred features", {"model.centred": True}),
        TableRow("without centred features", {"model.centred": False}),
        TableRow("without votes", {"decoder.votes": 0}),
        TableRow("without borders", {"decoder.borders": False}),
        # Nothing read off the pattern: learnt queries alone, which must then be free to move and to teach the fusion.
        TableRow(
            "plain DETR decoder",
            {"decoder.runs": 0, "decoder.segments": 0, "decoder.refine": True, "decoder.gradient": 1.0},
        ),
    ),
    reference="full",
)

_COEFFICIENTS = Table(
    "diffusion-coefficients",
    "Diffusion coefficients of the fields (Table 5 of the paper)",
    tuple(
        TableRow(f"D_video {video}, D_text {text}", {"fusion.d_video": video, "fusion.d_text": text})
        for video, text in ((0.1, 0.1), (0.2, 0.1), (0.3, 0.1), (0.2, 0.05), (0.2, 0.2))
    ),
    reference="D_video 0.2, D_text 0.1",
)

_STEPS = Table(
    "diffusion-steps",
    "Steps K of temporal diffusion (Table 6 of the paper)",
    _sweep("K", "diffusion.steps", (0, 5, 10, 15, 20)),
    reference="K = 10",
    axis="K, steps of temporal diffusion",
)

_KINETICS = Table(
    "kinetics",
    "Feed and kill rates (Table 7 of the paper)",
    tuple(
        TableRow(f"F {feed}, k {kill}", {"fusion.feed": feed, "fusion.kill": kill})
        for feed, kill in ((0.02, 0.06), (0.04, 0.06), (0.06, 0.06), (0.04, 0.04), (0.04, 0.08))
    ),
    reference="F 0.04, k 0.06",
)

_RD_STEPS = Table(
    "rd-steps",
    "Steps N of the reaction-diffusion system (Figure 3 of the paper)",
    _sweep("N", "fusion.steps", (1, 2, 3, 5, 8, 12)),
    reference="N = 5",
    axis="N, reaction-diffusion steps",
)

_ROLES = Table(
    "roles",
    "Which modality is the activator, and which field diffuses faster",
    tuple(
        TableRow(f"video {role}, order {order}", {"fusion.video": role, "fusion.order": order})
        for role in ("activator", "substrate")
        for order in ("none", "paper", "turing")
    ),
    reference="video activator, order none",
)

_MODELS = Table(
    "models",
    "Models (Tables 1 to 3 of the paper)",
    (
        TableRow("rdmf"),
        TableRow("rdmf --preset paper", preset="paper"),
        *(TableRow(name, model=name) for name in ("moment-detr", "qd-detr", "cg-detr", "univtg")),
    ),
    reference="rdmf",
    reading=True,
)

TABLES = {table.name: table for table in (_COMPONENTS, _COEFFICIENTS, _STEPS, _KINETICS, _RD_STEPS, _ROLES, _MODELS)}


def find_table(name: str) -> Table:
    """The table of a name.

    Raises:
        InputError: there is none; the nearest name is given.
    """
    if name not in TABLES:
        import difflib

        close = difflib.get_close_matches(name, TABLES, n=1, cutoff=0.4)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise InputError(f"there is no table '{name}'{hint} There are: {', '.join(TABLES)}")
    return TABLES[name]
