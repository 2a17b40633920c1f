"""`rdmf`: one module a command, loaded only when that command runs, so that help answers at once."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import Any

#: command -> (module, function, one line for the overview). A name with a space is a subcommand of a group.
COMMANDS = {
    "extract": ("extract", "extract", "Decode videos and cache their features, with the queries, in one HDF5 file."),
    "train": ("train", "train", "Train a model on a feature cache."),
    "eval": ("eval", "evaluate", "Evaluate a run, or anybody's prediction file."),
    "compare": ("compare", "compare", "Several runs, seeds or folds side by side, with paired tests over queries."),
    "ablate": ("ablate", "ablate", "A table of variants, each trained with several seeds; goes on where it stopped."),
    "report": ("report", "report", "The results page and the README's table, from measured runs only."),
    "predict": ("predict", "predict", "Find the moments of one video that a sentence describes."),
    "analyze": ("analyze", "analyze", "The mathematics of a run: states, stability, waves, a pattern as it forms."),
    "import-checkpoint": ("import_checkpoint", "import_checkpoint", "Make a run of a published model's checkpoint."),
    "bench": ("bench", "bench", "What takes how long here, side by side, and beside an earlier run."),
    "bench extract": ("bench_extract", "bench_extract", "Extraction beside its parts, and beside the usual way."),
    "demo": ("demo", "demo", "Everything once, on videos rendered here; nothing is downloaded."),
    "doctor": ("doctor", "doctor", "Say what this machine can and cannot do."),
    "features info": ("features", "info", "What a cache holds and how it was made."),
    "features verify": ("features", "verify", "Find any damaged byte of a cache and name the video it hits."),
    "features import": ("features_import", "import_", "Make a cache of features that you already have."),
    "features list": ("features_list", "list_", "The videos or queries of a cache, line by line."),
    "features subset": ("features_copy", "subset", "A smaller cache: some videos, a split, the first few."),
    "features merge": ("features_copy", "merge", "One cache out of several that were made with the same settings."),
    "features diff": ("features_diff", "diff", "Do two caches hold the same features?"),
    "features push": ("features_share", "push", "Share a cache, on the Hugging Face Hub or in a folder."),
    "features pull": ("features_share", "pull", "Fetch a shared cache, and check every byte of it."),
}

#: OSErrors that are about the user's disk and paths, not about this program: one line says enough.
THE_MACHINES = {
    errno.EACCES,
    errno.EAGAIN,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
    errno.ESTALE,
}


def _command(name: str) -> Any:
    """The command for one entry, its module imported now."""
    import typer

    module, function, _ = COMMANDS[name]
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    loaded = importlib.import_module(f"rdmf_pipelines.commands.{module}")
    app.command(name=name.split()[-1])(getattr(loaded, function))
    return typer.main.get_command(app)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, _, text) in COMMANDS.items()]
    return "\n".join(
        [
            "rdmf: find the moments in a video that a sentence describes, and the clips worth watching.",
            "",
            "  rdmf extract --dataset charades",
            "  rdmf train --features features/charades.h5",
            "  rdmf eval",
            "",
            "Commands (each answers --help):",
            *lines,
            "",
            "Exit codes: 0 done, 1 done with failures that were listed, 2 bad input.",
        ]
    )


def main(arguments: list[str] | None = None) -> None:
    """Entry point; turns an InputError into one line and exit code 2."""
    _use_half_the_cores()
    args = list(sys.argv[1:] if arguments is None else arguments)
    if not args or args[0] in {"--help", "-h", "help"}:
        print(_overview())
        raise SystemExit(0)
    if args[0] == "--version":
        from rdmf import __version__

        print(f"rdmf {__version__}")
        raise SystemExit(0)
    name = " ".join(args[:2]) if " ".join(args[:2]) in COMMANDS else args[0]
    if name not in COMMANDS:
        _unknown(args)
    rest = args[len(name.split()) :]
    raise SystemExit(_run(name, rest))


def _use_half_the_cores() -> None:
    """Torch takes a thread a core, which on shared or two-core machines is slower than one: its threads spin while
    decoders and neighbours want the core. Half the cores it is, unless the user has said otherwise."""
    # As `rdmf.store.cores` has it, but importing that loads numpy, which reads the number when it is loaded.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // 2)))


def _run(name: str, rest: list[str]) -> int:
    """Run one command; returns its exit code."""
    import typer

    from rdmf.store.errors import InputError

    # Older typers stand on the package click, newer ones carry a copy of it; either way the bad use of a command
    # is an ancestor of BadParameter with this name.
    misuse: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
    try:
        result = _command(name).main(args=rest, prog_name=f"rdmf {name}", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except InputError as error:
        return _complain(str(error))
    except typer.Exit as stop:
        return int(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _complain("interrupted", code=130)
    except misuse as error:
        return _complain(f"{_message(error)}; see `rdmf {name} --help`")
    except BrokenPipeError:
        # The reader (head, less) went away: not an error; give the interpreter nothing left to flush into the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in THE_MACHINES:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror}")


def _message(error: Any) -> str:
    """What was wrong with the command line, as the parser puts it."""
    return str(error.format_message()).rstrip(".")


def _complain(message: str, code: int = 2) -> int:
    """One line on standard error, whatever the message holds."""
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    return code


def _unknown(args: list[str]) -> None:
    import difflib

    group = [name for name in COMMANDS if name.startswith(f"{args[0]} ")]
    if group and args[1:2] in (["--help"], ["-h"]):
        for name in group:
            print(f"  rdmf {name:<16}  {COMMANDS[name][2]}")
        raise SystemExit(0)
    if group and len(args) == 1:
        raise SystemExit(_complain(f"'{args[0]}' is a group; use one of {', '.join(f'`rdmf {n}`' for n in group)}"))
    wanted = " ".join(args[:2]) if group else args[0]
    close = difflib.get_close_matches(wanted, COMMANDS, n=1, cutoff=0.5)
    hint = f" (did you mean 'rdmf {close[0]}'?)" if close else ""
    raise SystemExit(_complain(f"unknown command '{wanted}'{hint}; `rdmf --help` lists them"))


if __name__ == "__main__":
    main()
