"""`rdmf report`: the results page and the README's block, from measured studies only."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rdmf_pipelines.studies.page import Section
    from rdmf_pipelines.studies.plan import Plan
    from rdmf_pipelines.studies.results import Results
    from rdmf_pipelines.studies.rules import Rule

PLAN = Path("docs/results.yaml")


def report(
    results: Annotated[
        list[Path] | None, typer.Option(help="Folder that rdmf ablate wrote; repeatable. Instead of a plan.")
    ] = None,
    plan: Annotated[Path | None, typer.Option(help="What belongs on the page; default docs/results.yaml.")] = None,
    run: Annotated[
        bool, typer.Option("--run", help="First run all that the plan asks for and is not done yet.")
    ] = False,
    short: Annotated[
        bool,
        typer.Option(
            "--short", help="With --run: a minute's worth of it on made-up caches, in results/short, emptied first."
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The page; default as the plan says, else docs/results.md.")] = None,
    readme: Annotated[
        Path | None, typer.Option(help="Replace the block between the marks in this file; default as the plan says.")
    ] = None,
    rule: Annotated[
        list[Path] | None, typer.Option(help="Scores of a rule without learning (JSON); repeatable.")
    ] = None,
    notes: Annotated[Path | None, typer.Option(help="Markdown to include as it is; default as the plan says.")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Write it although something is missing, and say what.")
    ] = False,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="With --run: leave out the runs whose scores stand beside the page.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="With --run: as rdmf ablate --jobs.")] = None,
    keep: Annotated[str, typer.Option(help="With --run: as rdmf ablate --keep.")] = "best",
) -> None:
    """Write docs/results.md, its plots and lists of runs, and the README's top lines. Measured runs only.

    `rdmf report --run --from-scratch` regenerates everything: it makes the caches that are absent, trains what is not
    trained yet and goes on where it was stopped. Without --from-scratch the runs that the page was made of count as
    done, as long as their settings and features are the plan's; without --run the page is made anew of their scores.
    """
    import shlex

    from rdmf.evaluation.records import write_text_atomically
    from rdmf.store import InputError
    from rdmf_pipelines.pages import refuse_bare
    from rdmf_pipelines.studies.page import Page, link_from, marked, replace_block
    from rdmf_pipelines.studies.plan import Plan

    if results and (plan is not None or run):
        raise InputError("--results takes folders as they are; leave out --plan and --run, or --results")
    for name, asked in (("--short", short), ("--from-scratch", from_scratch)):
        if asked and not run:
            raise InputError(f"{name} goes with --run")
    if out is not None:
        refuse_bare(out, "--out")
    said = ["rdmf", "report"]
    code = 0
    if results:
        absent, sections = _sections([(path, "", None) for path in results])
        said += [part for path in results for part in ("--results", str(path))]
        planned = Plan(Path(), ())
    else:
        planned = Plan.read(plan or PLAN)
        refuse_bare(planned.out, f"{plan or PLAN}: out:")
        said += ["--plan", str(plan or PLAN), "--run"]
        if short:
            planned = planned.short()
            _make_short(planned)
            said.append("--short")
        if run:
            code = _run(planned, jobs, keep, None if from_scratch or short else planned.out)
        absent, sections = _sections([(s.out, s.title, s.headline) for s in planned.studies], planned.out)
        absent += _shortfalls(planned, sections)
    names = Counter(section.name for section in sections)
    for name, count in names.items():
        if count > 1:
            raise InputError(f"{count} studies are in folders called {name}, which names their files; rename one")
    scored, no_rules = _rules([*planned.rules, *(rule or [])], planned.out)
    words, no_notes = _notes(notes or planned.notes)
    absent += no_rules + no_notes
    if absent and not partial:
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise InputError(f"nothing written: {absent[0]}{more}; run it, or write what there is with --partial")
    if not sections:
        raise InputError("nothing written: no study has any results yet")
    target, block_in = out or planned.out, readme or planned.readme
    if block_in is not None:
        marked(block_in)
    page = Page(sections, list(scored.values()), words, shlex.join(said), planned.files, absent)
    page.write(target)
    for path in scored:
        write_text_atomically(target.with_suffix("") / path.name, path.read_text(encoding="utf-8"))
    print(f"{target}, with its plots and lists of runs in {target.with_suffix('')}")
    if block_in is not None:
        replace_block(block_in, page.block(link_from(block_in, target)))
        print(f"{block_in}: block of results replaced")
    if code:
        raise typer.Exit(code)


def _sections(
    places: Sequence[tuple[Path, str, bool | None]], page: Path | None = None
) -> tuple[list[str], list[Section]]:
    """What is missing in words, and the studies that have results. Headline None: where the table compares models.

    Args:
        page: where results may stand of studies whose folders are gone.
    """
    from rdmf.store import InputError
    from rdmf_pipelines.studies.archive import find
    from rdmf_pipelines.studies.files import ABOUT
    from rdmf_pipelines.studies.page import Section
    from rdmf_pipelines.studies.results import Results

    absent, sections = [], []
    for path, title, headline in places:
        try:
            own = (path / ABOUT).is_file()
            kept = None if page is None or own else find(page, path.name)
            results = kept or Results.load(path)
            if own and page is not None and (lost := _newer(page, path.name, results)) is not None:
                absent.append(
                    f"{path}: its newest run is of {results.about['finished']}, the page's of {lost}, which would be "
                    f"lost; move {path} away"
                )
        except InputError as error:
            absent.append(str(error))
            continue
        if results.missing:
            absent.append(
                f"{path}: {len(results.missing)} of {results.about['runs']} runs, the first is {results.missing[0]}"
            )
        if results.runs:
            chosen = bool(results.about["reading"]) if headline is None else headline
            sections.append(Section(title, chosen, results))
    return absent, sections


def _newer(page: Path, name: str, results: Results) -> str | None:
    """When the newest run that a page was made of was finished, where these results have none as new."""
    from rdmf.files import read_json
    from rdmf.store import InputError
    from rdmf_pipelines.studies.files import Files

    try:
        kept = read_json(Files.beside(page, name).about)["finished"]
    except (InputError, OSError, KeyError, TypeError):  # there is none, or it is damaged and written anew
        return None
    return kept if kept is not None and kept > (results.about["finished"] or "") else None


def _shortfalls(plan: Plan, sections: Sequence[Section]) -> list[str]:
    """Rows and seeds that the plan asks for and a study was made without."""
    made = {section.results.about["out"]: section.results.about for section in sections}
    found = []
    for study in plan.studies:
        about = made.get(str(study.out))
        if about is not None:
            # A row that is the same as another under the study's settings is there under the other's name.
            found.append(study.shortfall([*(row["label"] for row in about["rows"]), *about["same"]], about["seeds"]))
    return [text for text in found if text is not None]


def _rules(paths: Sequence[Path], page: Path) -> tuple[dict[Path, Rule], list[str]]:
    """The rules by the files that they are in, of which a copy may stand beside the page; what is missing in words."""
    from rdmf_pipelines.studies.rules import Rule

    found, absent = {}, []
    for path in dict.fromkeys(paths):
        there = [file for file in (path, page.with_suffix("") / path.name) if file.is_file()]
        if there:
            found[there[0]] = Rule.read(there[0])
        else:
            absent.append(f"{path} (a rule's scores)")
    return found, absent


def _notes(path: Path | None) -> tuple[str, list[str]]:
    from rdmf.store import InputError

    if path is None:
        return "", []
    if not path.is_file():
        return "", [f"{path} (the notes)"]
    try:
        return path.read_text(encoding="utf-8"), []
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text") from None


def _run(plan: Plan, jobs: int | None, keep: str, page: Path | None) -> int:
    """Make what is absent and run the studies; 1 where a run failed.

    Args:
        page: beside which finished runs may stand.
    """
    from rdmf.store import InputError
    from rdmf_pipelines.studies.archive import find, restore
    from rdmf_pipelines.studies.job import KEEP
    from rdmf_pipelines.studies.running import run_studies

    if keep not in KEEP:
        raise InputError(f"--keep {keep}: one of {', '.join(KEEP)}")
    for path, command in plan.files.items():
        if not path.exists():
            _make(path, command)
    studies = [study.make() for study in plan.studies]
    if page is not None:
        found = [restore(study, find(page, study.out.name)) for study in studies]
        count, others = sum(taken for taken, _ in found), [path for _, left in found for path in left]
        if count:
            print(f"{count} finished runs out of {page.with_suffix('')} (--from-scratch leaves them out)", flush=True)
        if others:
            print(
                f"{len(others)} finished runs in {page.with_suffix('')} are made anew: they are of the same settings, "
                f"but of other numbers in {', '.join(map(str, dict.fromkeys(others)))} (encoded on another sort of "
                "processor, for instance)",
                flush=True,
            )
    return run_studies(studies, jobs=jobs, keep=keep)


def _make(path: Path, command: list[str]) -> None:
    """Run the command that makes a file."""
    import shlex
    import subprocess

    from rdmf.store import InputError

    own = {"rdmf": [sys.executable, "-m", "rdmf_pipelines.cli"], "python": [sys.executable]}
    if not command or command[0] not in own:
        raise InputError(
            f"{path}: its command in the plan must begin with rdmf or python, found '{shlex.join(command)}'"
        )
    print(f"making {path}: {shlex.join(command)}", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    code = subprocess.run([*own[command[0]], *command[1:]], check=False).returncode
    # 1 means done, with failures that were listed: a cache of all videos that could be read.
    if code not in (0, 1) or not path.exists():
        raise InputError(f"{path} was not made (exit code {code}): {shlex.join(command)}")


def _make_short(plan: Plan) -> None:
    """The caches that the short version runs on, and the README that it writes into, in an empty folder."""
    import shutil

    from rdmf_pipelines.studies.page import BEGIN, END
    from rdmf_pipelines.studies.plan import SHORT_FOLDER
    from rdmf_pipelines.studies.synthetic import write_synthetic_cache

    # It is there to see whether everything runs, so nothing of an earlier time may stand in for it.
    shutil.rmtree(SHORT_FOLDER, ignore_errors=True)
    caches = dict.fromkeys(path for study in plan.studies for path in study.features)
    for number, path in enumerate(caches):
        write_synthetic_cache(path, seed=number)
    if plan.readme is not None:
        plan.readme.parent.mkdir(parents=True, exist_ok=True)
        plan.readme.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
