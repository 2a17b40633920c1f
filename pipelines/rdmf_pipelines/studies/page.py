"""The results page and the README's block, made of nothing but measured studies."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rdmf.evaluation.summary import SALIENCY_METRICS
from rdmf.store import InputError
from rdmf_pipelines.studies import layout
from rdmf_pipelines.studies.comparison import SHOWN, Row
from rdmf_pipelines.studies.figure import draw
from rdmf_pipelines.studies.files import Files
from rdmf_pipelines.studies.provenance import machine_text
from rdmf_pipelines.studies.results import READ_OFF, Results
from rdmf_pipelines.studies.rules import Rule
from rdmf_pipelines.studies.sheet import against_text, clocks, notes, what_is_shown

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
#: What issue 3 asks the reference to win, and the columns of the README's table.
WON_BY = ("R1@0.5", "R1@0.7", "mIoU", "saliency mAP")
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Section:
    """One study on the page: its heading, whether the README shows it, its measurements."""

    title: str
    headline: bool
    results: Results

    @property
    def name(self) -> str:
        """What its files are called beside the page."""
        return Path(self.results.about["out"]).resolve().name

    @property
    def heading(self) -> str:
        """Over its tables."""
        return f"{self.title}: {self.results.about['title']}" if self.title else self.results.about["title"]


@dataclass(frozen=True)
class Page:
    """All that the page says.

    Attributes:
        sections: the studies. rules: rows without learning, put into every study that they answer.
        notes: Markdown in free words, included as it is; "" for none. made_by: the command that writes the page.
        files: {path: command} of the files that the studies need. absent: what is not there, in words.
    """

    sections: Sequence[Section]
    rules: Sequence[Rule]
    notes: str
    made_by: str
    files: dict[Path, list[str]]
    absent: Sequence[str]
    _known: dict[str, layout.Values] = field(default_factory=dict)

    def write(self, out: Path) -> None:
        """Write the page, and its plots, lists of runs and scores into a folder of its name beside it."""
        from rdmf.evaluation.records import write_text_atomically

        folder = out.with_suffix("")
        for section in self.sections:
            draw(section.results, folder / f"{section.name}.png", self._rows(section))
            section.results.save(Files.beside(out, section.name))
        write_text_atomically(out, self.text(folder.name))

    def text(self, folder: str) -> str:
        """The page as Markdown; `folder` holds its pictures."""
        parts = [
            "# Results\n",
            f"`{self.made_by}` makes this page, of measured runs; it is not edited by hand. Percent throughout. Every "
            "model runs on the same feature caches, in the same trainer, under the same evaluation. *Read off* means: "
            "the moments are the maximum-sum runs of that model's saliency above a level chosen on its training split, "
            "in place of its decoder's. *Query-blind* is one window for every query, *text-only* one for each "
            "sentence, both chosen on the training split.\n",
            *self._incomplete(),
        ]
        for section in self.sections:
            parts += self._section(section, folder)
        if self.notes:
            parts += [f"{self.notes.strip()}\n"]
        return "\n".join([*parts, *self._again()])

    def _incomplete(self) -> list[str]:
        return ["**Incomplete.** Not there yet:\n", *(f"- {what}" for what in self.absent), ""] if self.absent else []

    def _rows(self, section: Section) -> list[Row]:
        rows = [rule.row(section.results.queries) for rule in self.rules]
        return [row for row in rows if row is not None]

    def _values(self, section: Section) -> layout.Values:
        """Worked out once: thousands of resamples for every row and metric."""
        if section.name not in self._known:
            self._known[section.name] = section.results.values(self._rows(section))
        return self._known[section.name]

    def _section(self, section: Section, folder: str) -> list[str]:
        values, results = self._values(section), section.results
        columns = layout.columns_of(values, SHOWN)
        rules = [f"*{rule.label}*: {rule.about}.\n" for rule in self.rules if rule.row(results.queries) is not None]
        return [
            f"## {section.heading}\n",
            *notes(results),
            f"{what_is_shown(results)}\n",
            layout.means_table(values, columns),
            *clocks(results),
            *(rules if section.headline else []),
            *verdict(values, results),
            f"{against_text(values)}\n",
            layout.differences_table(values, columns),
            *layout.parts_tables(values, columns),
            f"![{section.heading}]({folder}/{section.name}.png)\n",
            f"Every run: [{section.name}.csv]({folder}/{section.name}.csv); every query's scores of every run: "
            f"{section.name}.npz beside it. {_presets(results)}\n",
        ]

    def _again(self) -> list[str]:
        """The commands, machines and dates."""
        commands = [shlex.join(command) for command in self.files.values()]
        commands += [rule.command for rule in self.rules if rule.command not in commands]
        commands += [section.results.about["command"] for section in self.sections]
        told = [machine for section in self.sections for machine in section.results.about["machines"]]
        machines = list(dict.fromkeys(machine_text(machine) for machine in told))
        dates = [section.results.about["finished"] for section in self.sections if section.results.about["finished"]]
        code = sorted({name for section in self.sections for name in section.results.about["code"]})
        versions = (
            f"code {code[0]}" if len(code) == 1 else f"{len(code)} versions of the code (which: in the lists of runs)"
        )
        return [
            "## How these were measured\n",
            "All at once, from nothing:\n",
            f"```sh\n{self.made_by}{' --from-scratch' * self.made_by.endswith(' --run')}\n```\n",
            "One by one:\n",
            "```sh\n" + "\n".join(commands) + "\n```\n",
            f"On {' and '.join(machines) or 'no machine yet'}; the last run finished "
            f"{max(dates, default='never')[:10]}; {versions if code else 'no code yet'}.\n",
        ]

    def block(self, link: str) -> str:
        """What stands between the README's marks: the headline studies' top lines.

        Args:
            link: the page's path, as the README links to it.
        """
        still = f"**Incomplete**: what of the plan is still to be run stands on [{link}]({link}).\n"
        parts = [still] if self.absent else []
        for section in self.sections:
            if section.headline:
                values = self._values(section)
                parts += [
                    f"**{section.title or section.results.about['title']}**: {what_is_shown(section.results)}\n",
                    top_lines(values),
                    *verdict(values, section.results),
                ]
        parts.append(f"Everything else, with the commands: [{link}]({link}).\n")
        return "\n".join(parts)


def top_lines(values: layout.Values) -> str:
    """A short table: the metrics that count, and how sure the difference from the reference is. No rows read off."""
    columns = layout.columns_of(values, WON_BY)
    tested = [name for name in ("R1@0.5", "mIoU") if name in columns]
    rows = []
    for row in values["rows"]:
        if row["model"].endswith(READ_OFF):
            continue
        label = f"**{row['model']}**" if row["model"] == values["reference"] else row["model"]
        found = [row["against"].get(name) for name in tested]
        cells = [layout.mean_text(row["metrics"].get(name)) for name in columns]
        rows.append([label, *cells, *(layout.p_text(test["p"]) if test else "" for test in found)])
    return layout.markdown_table(["", *columns, *(f"p, {name}" for name in tested)], rows)


def verdict(values: layout.Values, results: Results) -> list[str]:
    """Whether the reference is above every rival, metric by metric; nothing for tables that compare no models."""
    if not results.about["reading"]:
        return []
    own = {row["label"] for row in results.about["rows"] if row["model"] == "rdmf"}
    rivals = [row for row in values["rows"] if not any(row["model"].startswith(label) for label in own)]
    lines = []
    for metric in layout.columns_of(values, WON_BY):
        # Read off or not, a model's saliency is the same.
        shown = [r for r in rivals if metric not in SALIENCY_METRICS or not r["model"].endswith(READ_OFF)]
        tests: list[tuple[str, Any]] = [(r["model"], r["against"][metric]) for r in shown if metric in r["against"]]
        if not tests:
            continue
        lost = [_told(name, test) for name, test in tests if test["difference"] >= 0]
        open_ = [_told(name, t) for name, t in tests if t["difference"] < 0 and t["p"] >= SIGNIFICANT]
        if lost or open_:
            said = [f"not above {', '.join(lost)}"] if lost else []
            said += [f"above but not surely: {', '.join(open_)}"] if open_ else []
            rest = len(tests) - len(lost) - len(open_)
            said += [f"surely above the other {rest}"] if rest else []
            lines.append(f"- {metric}: {'; '.join(said)}.")
        else:
            worst = max(test["p"] for _, test in tests)
            lines.append(f"- {metric}: above all {len(tests)} others (largest p {layout.p_text(worst)}).")
    head = f"Does {values['reference']} win? (In brackets: the other less {values['reference']}, and p.)\n"
    return [head, *lines, ""] if lines else []


def _told(name: str, test: Mapping[str, Any]) -> str:
    return f"{name} ({test['difference']:+.1f}, p {layout.p_text(test['p'])})"


def _presets(results: Results) -> str:
    presets = list(dict.fromkeys(row["preset"] for row in results.about["rows"]))
    changed = ", ".join(f"`{name}={value}`" for name, value in results.about["settings"].items())
    return (
        f"Preset{'s' * (len(presets) > 1)}: {', '.join(presets)}{f'; changed for all: {changed}' if changed else ''}."
    )


def replace_block(readme: Path, block: str) -> None:
    """Put a text between the README's marks.

    Raises:
        InputError: the file is not there, or holds not exactly one pair of marks in their order.
    """
    from rdmf.evaluation.records import write_text_atomically

    text = marked(readme)
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    write_text_atomically(readme, f"{before}{BEGIN}\n{block.strip()}\n{END}{after}")


def marked(readme: Path) -> str:
    """The README's text, once it is known to have the marks.

    Raises:
        InputError: as `replace_block`.
    """
    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{readme}: cannot be read ({error.__class__.__name__}); give another with --readme") from None
    if (text.count(BEGIN), text.count(END)) != (1, 1) or text.index(BEGIN) > text.index(END):
        raise InputError(f"{readme}: needs one line {BEGIN} and after it one line {END}; the block between is replaced")
    return text


def link_from(readme: Path, page: Path) -> str:
    """The page's path as seen from the README's folder."""
    return Path(os.path.relpath(page, readme.parent)).as_posix()
