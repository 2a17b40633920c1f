"""`rdmf predict`: when in this video does what the sentence says happen?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rdmf_pipelines.prediction import Prediction


def predict(
    video: Annotated[Path, typer.Argument(help="A video file of any length.")],
    query: Annotated[str, typer.Argument(metavar="SENTENCE", help="What to look for, in quotes.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Run directory, or a checkpoint in it; default: the latest under runs/.")
    ] = None,
    json: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the answer as JSON to FILE; - prints only it.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw frames along time, saliency and moments to this file (.png, .pdf, .svg).")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Moments at most.")] = 5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    allow_mismatch: Annotated[
        bool,
        typer.Option("--allow-mismatch", help="Go on where the extractor here differs from the one trained on."),
    ] = False,
) -> None:
    """Find the moments of one video that a sentence describes.

    The run knows which extractor made its features; the same one looks at this video.
    """
    from rdmf.store.errors import InputError
    from rdmf_pipelines.prediction import Predictor, check_query

    # What can be refused at once is, before torch loads and a long video is decoded.
    check_query(query)
    if not video.is_file():
        raise InputError(f"{video}: {'not a file' if video.exists() else 'no such video file'}")
    if checkpoint is not None and not checkpoint.exists():
        raise InputError(f"no run at {checkpoint}; `rdmf train` writes runs under runs/")
    if json is not None and json != "-" and Path(json).is_dir():
        raise InputError(f"--json {json}: is a directory; give a file name")
    if plot is not None:
        from rdmf_pipelines.plots import picture_kind

        picture_kind(plot)
    from rdmf.evaluation.records import refuse_overwriting

    refuse_overwriting(json if json != "-" else None, "--json", video=video, picture=plot)
    refuse_overwriting(plot, "--plot", video=video)

    from rdmf.run import latest_run, load_run

    run = load_run(checkpoint if checkpoint is not None else latest_run())
    predictor = Predictor(run, device=device, allow_mismatch=allow_mismatch)
    for field in predictor.mismatch:
        print(f"WARNING: not the extractor of the training: {field}", file=sys.stderr)
    answer = predictor(video, query, top_k=top_k)
    if answer.recovered < 1:
        print(f"note: only {answer.recovered:.0%} of the video's frames could be decoded", file=sys.stderr)
    if plot is not None:
        from rdmf_pipelines.plots import figure_of, save

        save(figure_of(answer, shown=5), plot)
    if json is not None:
        _write_json(answer.as_json(), json)
    if json != "-":
        _show(answer)
        for name, path in (("JSON", json), ("picture", plot)):
            if path is not None:
                print(f"{name}: {path}")


def _write_json(value: dict[str, Any], where: str) -> None:
    import json

    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    if where == "-":
        sys.stdout.write(text)
        return
    from rdmf.evaluation.records import write_text_atomically

    write_text_atomically(Path(where), text)


def _show(answer: Prediction) -> None:
    """The moments as a table, then the saliency curve in one line with its time axis."""
    from rdmf_pipelines.plots import clock, digits_for
    from rdmf_pipelines.prediction import PLAIN_SPARKS, SPARKS, sparkline

    digits = digits_for(answer.duration)
    asked = " ".join(answer.query.split())[:100]
    print(f"{answer.video}  ({clock(answer.duration, digits=digits)})" + (f"  “{asked}”" if _unicode(asked) else ""))
    if not answer.moments:
        print("no moment found")
    else:
        print(f"{'':>3}  {'start':>9}  {'end':>9}  {'seconds':>17}  {'score':>5}")
    for rank, (start, end, score) in enumerate(answer.moments, start=1):
        seconds = f"{start:.{digits}f} - {end:.{digits}f}"
        at, till = (clock(t, digits=digits, fixed=True) for t in (start, end))
        print(f"{rank:>3}  {at:>9}  {till:>9}  {seconds:>17}  {score:>5.2f}")
    line = sparkline(answer.saliency, sparks=SPARKS if _unicode() else PLAIN_SPARKS, scale=answer.scale)
    print(f"saliency  {line}")
    last = clock(answer.duration, digits=digits)
    print(f"{'':10}0:00{last:>{max(len(line) - 4, len(last) + 1)}}")


def _unicode(text: str = "") -> bool:
    """Whether standard output can show block characters and `text`."""
    try:
        f"▁█“”{text}".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
