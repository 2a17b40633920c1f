"""`rdmf bench extract`: what extraction costs beside its parts, and beside the usual way of doing it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def bench_extract(
    videos: Annotated[
        list[Path] | None,
        typer.Option(help="A video or a folder of videos to measure on; repeatable. Default: three are rendered."),
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="light (mean colours: decoding is what is waited for), heavy (efficientnet-lite0: on a CPU encoding "
            "is), or a video encoder of `rdmf extract`; repeatable. Default: light and heavy."
        ),
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames looked at per second. Default: the encoder's.")] = None,
    decoder: Annotated[
        list[str] | None,
        typer.Option(help="auto, pyav, decord-first or decord; repeatable. Default: auto, decord-first."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Decoder processes.")] = 1,
    device: Annotated[str, typer.Option(help="Where the network runs, in every way: cpu, cuda:0, ...")] = "cpu",
    turns: Annotated[int, typer.Option(min=1, help="How often each way is run.")] = 3,
    no_selection: Annotated[
        bool,
        typer.Option("--no-selection", help="Leave out what decoding costs by how often rows look."),
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="Figures of an earlier run (its --json), to compare with.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny videos, each way once: whether everything works, not how fast.")
    ] = False,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Measure nothing: show the figures of an earlier run.")
    ] = None,
) -> int:
    """Measure decoding alone, encoding alone and the whole extraction on the same files, then the usual way.

    The usual way: encode the video again at the wanted rate, read it frame by frame, resize with PIL, encode, save, one
    after the other. On the wall, in processor seconds, in memory. Being slow is no failure: the exit code stays 0.
    """
    import tempfile

    from rdmf.store.errors import InputError
    from rdmf_extract.decode.events import POLICIES
    from rdmf_pipelines.benching.sample_videos import TINY, USUAL, render_samples, video_files
    from rdmf_pipelines.benching.sheet import Sheet, load, machine, typed
    from rdmf_pipelines.benching.show import terminal

    before = load(against) if against is not None else None
    if from_ is not None:
        print(terminal(load(from_), before))
        return 0
    decoders = list(dict.fromkeys(decoder or ["auto", "decord-first"]))
    if not set(decoders) <= set(POLICIES):
        raise InputError(f"--decoder {', '.join(decoders)}: use one of {', '.join(POLICIES)}")
    if json is not None and (json.is_dir() or not json.absolute().parent.is_dir()):
        raise InputError(f"--json {json}: name a file in a folder that is there")
    named = video_files(videos) if videos else []

    def tell(said: str) -> None:
        print(f"  {said}", file=sys.stderr, flush=True)

    from rdmf_extract.encoders.compute import choose_device
    from rdmf_pipelines.benching.extraction import ExtractionBench
    from rdmf_pipelines.benching.selected_decoding import measure_selection

    where = device if device == "cpu" else str(choose_device(device))
    sheet = Sheet(typed("bench", "extract"), machine(where))
    with tempfile.TemporaryDirectory(prefix="rdmf-bench-") as folder:
        if not named:
            tell("rendering videos")
            named = render_samples(Path(folder), TINY if quick else USUAL)
        bench = ExtractionBench(
            sheet,
            named,
            Path(folder),
            encoders=list(dict.fromkeys(encoder or ["light", "heavy"])),
            fps=fps,
            decoders=decoders,
            workers=workers,
            device=device,
            turns=1 if quick else turns,
            tell=tell,
        )
        bench.measure()
        if not no_selection:
            measure_selection(sheet, named, turns=1 if quick else turns, tell=tell)
    if json is not None:
        sheet.save(json)
    print(terminal(sheet, before))
    return 0
