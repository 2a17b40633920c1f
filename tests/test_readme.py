"""The documents tell the truth: every `rdmf` command in them parses, every file they name exists, snippets compile.

Read are README.md, CONTRIBUTING.md, CHANGELOG.md, features/README.md and docs/. A command in a block of its own is
parsed whole, with its presets, settings and dataset names; of one with placeholders ([--split S], $fold) the options.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from rdmf.config import load_config, parse_overrides
from rdmf.store.layout import FORMAT
from rdmf_pipelines.cli import COMMANDS, _command
from rdmf_pipelines.datasets.load import SOURCES

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    {
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *(d / "README.md" for d in (ROOT / "features", ROOT / "benchmarks")),
    }
)
DOCUMENTS = [path for path in DOCUMENTS if path.is_file()]
FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SHELL = {"", "sh", "bash", "shell", "console"}
GROUPS = {name.split()[0] for name in COMMANDS if " " in name}
#: In a usage line, not for the shell.
PLACEHOLDER = re.compile(r"[\[\]<>$…]|\.\.\.")
#: What these folders hold is in the repository; features/, runs/, demo/ and data/ are filled by commands.
SOURCE_FOLDERS = ("rdmf", "extract", "pipelines", "tests", "docs", "benchmarks", ".ci")


class WrongDocument(Exception):
    """What a document says is not so."""


@dataclass(frozen=True)
class Mention:
    """A piece of a document: where it stands and what it says."""

    where: str
    text: str


def _where(path: Path, text: str, position: int) -> str:
    return f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, position) + 1}"


def blocks(languages: set[str]) -> Iterator[Mention]:
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[1].lower() in languages:
                yield Mention(_where(path, text, match.start()), match[2])


def inline_code() -> Iterator[Mention]:
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        prose = FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
        for match in re.finditer(r"``?([^`]+?)``?", prose):
            yield Mention(_where(path, prose, match.start()), " ".join(match[1].split()))


def rdmf_commands(block: str) -> Iterator[str]:
    """The `rdmf ...` statements of a piece of shell, continuation lines joined, comments and prompts gone."""
    for line in block.replace("\\\n", " ").splitlines():
        for statement in re.split(r"&&|;", re.sub(r"(^|\s)#.*", "", line)):
            # After a prompt, the words of a loop, and variables set for this one command.
            found = re.match(r"\s*(?:\$ |do |then |time |[A-Z_]+=\S* )*(rdmf(?:\s+[-A-Za-z].*)?)$", statement.rstrip())
            if found:
                yield found[1].strip()


COMMANDS_IN_BLOCKS = [Mention(b.where, c) for b in blocks(SHELL) for c in rdmf_commands(b.text)]
COMMANDS_IN_PROSE = [m for m in inline_code() if re.match(r"rdmf( |$)", m.text) and m.text != FORMAT]


@lru_cache
def parser(name: str) -> Any:
    return _command(name)


def check_command(said: str) -> None:
    """Raises `WrongDocument` where the command line is not one that rdmf understands."""
    usage = PLACEHOLDER.search(said) is not None
    if not usage:
        said = said.split(" | ")[0]
    words = said.split()[1:]
    if not words or words[0].startswith("-"):
        if not set(words) <= {"--help", "-h", "--version"}:
            raise WrongDocument(f"{said}: no such option of rdmf itself")
        return
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
    if name is None:
        if words[0].isupper() or (words == [words[0]] and words[0] in GROUPS):
            return
        raise WrongDocument(f"{said}: there is no such command")
    command = parser(name)
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", said)) - known
    if unknown:
        raise WrongDocument(f"{said}: `rdmf {name}` has no {', '.join(sorted(unknown))}")
    if not usage and "--help" not in words:
        _check_values(command, name, shlex.split(said)[1 + len(name.split()) :])


def _check_values(command: Any, name: str, arguments: list[str]) -> None:
    try:
        values = command.make_context(f"rdmf {name}", arguments).params
    except Exception as error:
        raise WrongDocument(f"rdmf {name} {' '.join(arguments)}: {error}") from error
    if name == "train":
        load_config(values["preset"], None, parse_overrides(values["set_"] or []))
    if name == "extract" and values["dataset"] is not None and values["dataset"] not in SOURCES:
        raise WrongDocument(f"rdmf extract has no dataset {values['dataset']}")


@pytest.mark.parametrize("mention", COMMANDS_IN_BLOCKS, ids=lambda m: f"{m.where} {m.text}")
def test_commands_in_blocks_parse(mention: Mention) -> None:
    check_command(mention.text)


def test_commands_in_prose_name_what_there_is() -> None:
    for mention in COMMANDS_IN_PROSE:
        if mention.text.startswith("rdmf -"):
            check_command(mention.text)
            continue
        name, *options = re.split(r" (?=--)", mention.text)
        # In prose an argument may be left out: `rdmf train --seeds`. Commands and option names must still be right.
        check_command(" ".join([*name.split()[:3], *(option.split()[0] for option in options), "[...]"]))


@pytest.mark.parametrize(
    "wrong",
    [
        "rdmf trian --features a.h5",
        "rdmf train --featurs a.h5",
        "rdmf train --features",
        "rdmf train --features a.h5 --seed one",
        "rdmf features inf a.h5",
        "rdmf eval [RUN] [--splits S]",
        "rdmf extract --dataset charade",
        "rdmf --verison",
    ],
)
def test_a_wrong_command_would_be_found(wrong: str) -> None:
    with pytest.raises(WrongDocument):
        check_command(wrong)


@pytest.mark.parametrize(
    ("block", "commands"),
    [
        ("pip install x && rdmf demo", ["rdmf demo"]),
        ("$ rdmf eval  # the latest\nrdmf  train \\\n  --seed 1", ["rdmf eval", "rdmf  train    --seed 1"]),
        ("for f in 1 2; do OMP_NUM_THREADS=1 rdmf eval runs/$f; done", ["rdmf eval runs/$f"]),
        ("rdmf            61.0   44.2\nerror: rdmf train", []),
    ],
)
def test_finding_commands(block: str, commands: list[str]) -> None:
    assert list(rdmf_commands(block)) == commands


@pytest.mark.parametrize(
    "command",
    ['pip install -e ".[demo]" && rdmf demo', 'pip install -e ".[test]" && pytest -n auto --dist loadfile'],
)
def test_the_readme_holds_the_commands_of_ci_once(command: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line for _, block in FENCE.findall(readme) for line in block.splitlines()]
    assert lines.count(command) == 1
    assert (ROOT / ".ci" / "run").is_file()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_extras_that_are_named_exist() -> None:
    section = re.search(
        r"^\[project\.optional-dependencies\]\n(.*?)^\[",
        (ROOT / "pyproject.toml").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert section is not None
    extras = set(re.findall(r"^(\w+) = \[", section[1], re.MULTILINE))
    named = {e for path in DOCUMENTS for e in re.findall(r'(?:"\.|rdmf)\[(\w+)\]', path.read_text(encoding="utf-8"))}
    assert {"demo", "test", "dev"} <= extras
    assert named <= extras


def test_files_that_are_named_exist() -> None:
    named: list[tuple[str, Path]] = []
    for path in DOCUMENTS:
        text = FENCE.sub("", path.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if not re.match(r"\w+:", target):
                named.append((f"{path.name}: {target}", path.parent / target))
    for mention in [*inline_code(), *(m for b in blocks(SHELL) for m in _words(b))]:
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", mention.text) and _in_repository(mention.text):
            named.append((f"{mention.where}: {mention.text}", ROOT / mention.text))
    absent = [what for what, path in named if not path.exists()]
    assert not absent
    assert len(named) > 3


def _words(block: Mention) -> Iterator[Mention]:
    for word in block.text.split():
        yield Mention(block.where, word)


def _in_repository(name: str) -> bool:
    top, _, rest = name.partition("/")
    return (bool(rest) and top in SOURCE_FOLDERS) or name in {"LICENSE", "pyproject.toml", "features/README.md"}


def test_python_snippets_compile_and_import_what_there_is() -> None:
    for snippet in blocks({"python", "py"}):
        tree = ast.parse(snippet.text, filename=snippet.where)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0].startswith("rdmf"):
                module = importlib.import_module(node.module or "")
                absent = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not absent, f"{snippet.where}: {node.module} has no {', '.join(absent)}"


def test_an_overview_of_every_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    from rdmf_pipelines.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS)
    for name in COMMANDS:
        assert parser(name).help, f"`rdmf {name}` says nothing of itself"
        silent = [p.opts[0] for p in parser(name).params if not getattr(p, "help", None)]
        assert not silent, f"`rdmf {name} --help` does not explain {', '.join(silent)}"
