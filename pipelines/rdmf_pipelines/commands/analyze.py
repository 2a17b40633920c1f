"""`rdmf analyze`: what the mathematics says of a configuration or a run: states, stability, waves, steps, a pattern."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rdmf.analysis.model import System
    from rdmf.run import Run
    from rdmf.store import Cache
    from rdmf_pipelines.analysis.spacetime import Scene

#: Clips of the video whose waves are meant where nothing says how many: QVHighlights' 150 s in clips of 2 s.
CLIPS = 75


def analyze(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Run directory, or a checkpoint in it; without one, settings at their initial coefficients."
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Without a run: settings by name; default paper.")] = None,
    config: Annotated[Path | None, typer.Option(help="Without a run: settings from a YAML or JSON file.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Without a run: one setting, name=value; repeatable.")
    ] = None,
    features: Annotated[Path | None, typer.Option(help="Feature cache, if not where the run was trained.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Split whose queries the kinetics are taken for; default val, else test.")
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(min=2, help="Clips L of the video whose waves are meant; default: as in the cache, else 75."),
    ] = None,
    vid: Annotated[str | None, typer.Option(help="A video of the cache, whose pattern is to be drawn.")] = None,
    video: Annotated[
        Path | None, typer.Option(help="Any video file, whose pattern is to be drawn; with --vid, for its frames only.")
    ] = None,
    query: Annotated[
        str | None, typer.Option(help="What to look for in it: a sentence, or a query id of the cache.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the page and the pictures; default RUN/analysis, or analysis/PRESET."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    allow_mismatch: Annotated[
        bool,
        typer.Option(
            "--allow-mismatch", help="With --video: go on where the extractor differs from the one trained on."
        ),
    ] = False,
) -> None:
    """Where the reaction rests, whether it is stable, which waves grow, what a step does: in words, JSON and pictures.

    For settings, or for a run with the kinetics that its queries set; with a video and a query also the pattern as it
    forms, step by step. docs/analysis.md says how to read it all.
    """
    from rdmf.store.errors import InputError

    if run is None:
        given = {"--features": features, "--split": split, "--vid": vid, "--video": video, "--query": query}
        extra = [name for name, value in given.items() if value is not None]
        if extra:
            raise InputError(f"{', '.join(extra)}: needs trained weights; name a run: rdmf analyze RUN {extra[0]} ...")
    elif preset is not None or config is not None or set_:
        raise InputError("--preset, --config and --set describe a model without a run; a run has its own settings")
    if run is not None and not run.exists():
        raise InputError(f"no run at {run}; `rdmf train` writes runs under runs/")
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; give a folder")
    if video is not None:
        if not video.is_file():
            raise InputError(f"{video}: {'not a file' if video.exists() else 'no such video file'}")
        if query is None and vid is None:
            raise InputError(f'say what to look for in {video} with --query, e.g. --query "a dog jumps"')

    if run is None:
        summary, system, scene = _of_settings(preset, config, set_ or [], clips)
        where = out if out is not None else Path("analysis") / (preset or (config.stem if config else "paper"))
    else:
        summary, system, scene = _of_run(
            run, features, split, clips, asked=(vid, video, query), device=device, allow_mismatch=allow_mismatch
        )
        where = out if out is not None else (run.parent if run.suffix == ".safetensors" else run) / "analysis"
    pictures = _write(summary, system, scene, where)
    _show(summary, where, pictures)


def _of_settings(
    preset: str | None, config: Path | None, assignments: list[str], clips: int | None
) -> tuple[dict[str, Any], System, None]:
    from rdmf.analysis.model import from_config
    from rdmf.analysis.summary import summarise
    from rdmf.config import load_config, parse_overrides

    if preset is None and config is None:
        preset = "paper"
        print("no run given: preset paper at its initial coefficients (another with --preset, a run as RUN)\n")
    system = from_config(load_config(preset, config, parse_overrides(assignments)))
    name = f"preset {preset}" if config is None else str(config)
    changed = f" with {', '.join(assignments)}" if assignments else ""
    about = {"source": f"{name}{changed}, initial coefficients", "trained": False}
    return {**about, **summarise(system, clips=clips or CLIPS)}, system, None


def _of_run(
    path: Path,
    features: Path | None,
    split: str | None,
    clips: int | None,
    *,
    asked: tuple[str | None, Path | None, str | None],
    device: str,
    allow_mismatch: bool,
) -> tuple[dict[str, Any], System, Scene | None]:
    import numpy as np

    from rdmf.analysis.model import from_model, pooled_queries, reaction_model
    from rdmf.analysis.summary import summarise
    from rdmf.run import load_run, pick_device, refuse_mismatch
    from rdmf.store import InputError, open_cache

    run = load_run(path)
    model = reaction_model(run.model, str(path)).to(pick_device(device))
    vid, video, query = asked
    in_cache = vid is not None or (query is not None and video is None)
    cache_path = features if features is not None else run.features
    about: dict[str, Any] = {"source": str(path), "trained": True, "features": None, "split": None}
    if features is None and not cache_path.exists():
        if in_cache or split is not None:
            raise InputError(f"{path} was trained on {cache_path}, which is not there; say where with --features")
        if model.config.fusion.kind == "blocks":
            print(f"note: {cache_path} is not there: no queries; say where it is with --features\n", file=sys.stderr)
        scene = _scene(run, None, None, asked, device, allow_mismatch)
        system = from_model(model)
        length = clips or (len(scene.times) if scene is not None else CLIPS)
        return _with_scene({**about, **summarise(system, clips=length)}, scene), system, scene
    with open_cache(cache_path) as cache:
        refuse_mismatch(run, cache)
        chosen = _split(cache, split)
        scene = _scene(run, cache, chosen if vid is None else None, asked, device, allow_mismatch)
        index = cache.select(chosen)
        texts = np.unique(cache.queries.text_index[index])
        sentences = [cache.texts[i] for i in texts]
        system = from_model(model, pooled_queries(model, cache, texts))
        length = clips or (len(scene.times) if scene is not None else _typical_length(cache, index, run))
    about.update(features=str(cache_path), split=chosen)
    return _with_scene({**about, **summarise(system, clips=length, sentences=sentences)}, scene), system, scene


def _scene(
    run: Run,
    cache: Cache | None,
    split: str | None,
    asked: tuple[str | None, Path | None, str | None],
    device: str,
    allow_mismatch: bool,
) -> Scene | None:
    """What the video and the query that were asked for give, where any were."""
    from rdmf_pipelines.analysis.scene import find, of_cache, of_file

    vid, video, query = asked
    if video is not None and vid is None:
        scene, mismatch = of_file(run, video, query or "", device=device, allow_mismatch=allow_mismatch)
        for field in mismatch:
            print(f"WARNING: not the extractor of the training: {field}", file=sys.stderr)
        return scene
    if cache is None or (vid is None and query is None):
        return None
    return of_cache(run, cache, find(cache, split, vid, query), frames=video, device=device)


def _with_scene(summary: dict[str, Any], scene: Scene | None) -> dict[str, Any]:
    """The summary with what was measured on the video."""
    from rdmf.analysis.spacetime import measure
    from rdmf.analysis.words import pattern

    if scene is None:
        return {**summary, "space_time": None}
    measured = measure(scene.seen)
    about = {
        "video": scene.name,
        "query": scene.query,
        "pred_relevant_windows": [list(map(float, m)) for m in scene.predicted],
        "relevant_windows": scene.truth,
    }
    return {**summary, "space_time": {**about, **measured, "words": pattern(measured)}}


def _split(cache: Cache, split: str | None) -> str:
    from rdmf_pipelines.studies.scoring import default_split

    return split if split is not None else default_split(cache)


def _typical_length(cache: Cache, index: Any, run: Run) -> int:
    """The median number of clips of the videos asked about, as the model sees them."""
    import numpy as np

    videos = cache.queries.video_index[index]
    counts = np.diff(cache.row_offsets)[np.unique(videos[videos >= 0])]
    pool = run.config.data.pool
    return max(2, int(np.median(-(-counts // pool)))) if len(counts) else CLIPS


def _write(summary: dict[str, Any], system: System, scene: Scene | None, out: Path) -> dict[str, Path]:
    """The page, the figures as JSON and the pictures; returns {title: picture}."""
    import json
    from functools import partial

    from rdmf.analysis.words import sentences
    from rdmf.files import write_atomically
    from rdmf_pipelines.analysis import growth_rate, kinetics, page, phase_plane, spacetime
    from rdmf_pipelines.analysis.style import save

    summary["words"] = sentences(summary)
    figures = {}
    if system.blocks:
        seen = scene.seen if scene is not None else None
        figures["phase_plane.png"] = ("Phase plane", phase_plane.draw(system, clips=summary["clips"], seen=seen))
    figures["growth_rate.png"] = ("Growth rate against wavelength", growth_rate.draw(system, clips=summary["clips"]))
    if system.blocks:
        figures["kinetics.png"] = ("Kinetics", kinetics.draw(system, clips=summary["clips"]))
    if scene is not None:
        figures["spacetime.png"] = ("A pattern forming", spacetime.draw(scene))
    pictures = {}
    for name, (title, figure) in figures.items():
        write_atomically(out / name, partial(save, figure))
        pictures[title] = out / name
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(out / "analysis.json", lambda p: p.write_text(text, encoding="utf-8"))
    whole = page.markdown(summary, pictures)
    write_atomically(out / "analysis.md", lambda p: p.write_text(whole, encoding="utf-8"))
    return pictures


def _show(summary: dict[str, Any], out: Path, pictures: dict[str, Path]) -> None:
    """The table of regimes and the sentences, as wide as the terminal."""
    import shutil
    import textwrap

    from rich import box
    from rich.console import Console
    from rich.table import Table

    from rdmf_pipelines.analysis.page import overview

    # Off a terminal the table keeps its full width rather than fold into 80 columns.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 140
    print(f"{summary['source']}; waves of a video of {summary['clips']} clips")
    head, *body = overview(summary)
    if body:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for i, name in enumerate(head):
            table.add_column(name, no_wrap=0 < i < 4, ratio=1 if i > 3 else None)
        for row in body:
            table.add_row(*row)
        Console(width=width, highlight=False).print(table)
    print()
    for line in [*summary["words"], *(summary.get("space_time") or {}).get("words", [])]:
        print(textwrap.fill(line, min(width, 120), initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False))
    print(f"\npage: {out / 'analysis.md'}\nfigures: {out / 'analysis.json'}")
    print("pictures: " + ", ".join(str(path) for path in pictures.values()))
