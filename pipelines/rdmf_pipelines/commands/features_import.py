"""`rdmf features import`: a cache from feature files that were made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rdmf_pipelines.importing.build import ImportSummary


def import_(
    video_features: Annotated[
        list[Path],
        typer.Option(
            help="Folder with one VID.npz (array 'features') or VID.npy per video. Repeat it for several streams: "
            "their rows are joined side by side, in this order."
        ),
    ],
    annotations: Annotated[
        list[Path],
        typer.Option(help="Annotation file in the QVHighlights JSON-lines form; repeatable, e.g. train and val."),
    ],
    clip_length: Annotated[float, typer.Option(help="Seconds of video per feature row.")],
    out: Annotated[Path, typer.Option(help="The cache to write, e.g. features/mine.h5.")],
    text_features: Annotated[
        Path | None,
        typer.Option(
            help="Folder with one qidQID.npz per query (array 'last_hidden_state', if need be 'attention_mask'). "
            "Without it the text encoder computes them."
        ),
    ] = None,
    text_encoder: Annotated[
        str,
        typer.Option(help="Text encoder where no --text-features are given: minilm, bert-base-uncased, NAME or PATH."),
    ] = "bert-base-uncased",
    equal_length: Annotated[
        str,
        typer.Option(
            help="What to do with a video whose streams have different numbers of rows: error, trim (to the shortest) "
            "or pad (repeat the last row)."
        ),
    ] = "error",
    normalize: Annotated[
        str, typer.Option(help="none, or l2: scale every row of every given stream (text too) to length 1.")
    ] = "none",
    split: Annotated[
        str | None, typer.Option(help="Split of all rows. Default: the row's own, or what the file's name tells.")
    ] = None,
    split_names: Annotated[
        str,
        typer.Option(
            help="word: fold1_train.jsonl is split 'train'. stem: it is split 'fold1_train', so that one cache holds "
            "all folds."
        ),
    ] = "word",
    saliency_clip_length: Annotated[
        float | None, typer.Option(help="Seconds per clip of 'relevant_clip_ids'. Default: --clip-length.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Note on the features' licence, kept in the cache.")] = "",
    device: Annotated[str, typer.Option(help="Where the text encoder runs: auto, cpu, cuda, ...")] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="What the text encoder computes in: auto (bfloat16 on a GPU, float32 on a CPU), float32, bfloat16 or "
            "float16 (GPUs only)."
        ),
    ] = "auto",
) -> None:
    """Turn a folder of npz or npy features and annotations into one cache.

    Exit code 0: done; 1: done, but annotated videos without features were listed; 2: bad input.
    """
    from rdmf.store.errors import InputError
    from rdmf_pipelines.importing.run import ImportJob, run_import
    from rdmf_pipelines.report import print_failures

    if split is not None and split_names == "stem":
        raise InputError("--split and --split-names stem contradict each other; give one of them")
    job = ImportJob(
        video_features=video_features,
        annotations=annotations,
        clip_length_seconds=clip_length,
        out=out,
        text_features=text_features,
        text_encoder=text_encoder,
        equal_length=equal_length,
        normalize=normalize,
        split=split,
        split_names=split_names,
        saliency_clip_length_seconds=saliency_clip_length,
        licence=licence,
        device=device,
        precision=precision,
    )
    summary, remarks = run_import(job)
    _print(summary, remarks)
    print_failures(summary.failures)
    if summary.failures:
        raise typer.Exit(1)


def _print(summary: ImportSummary, remarks: list[str]) -> None:
    from rdmf.store import open_cache
    from rdmf_pipelines.report import clock, print_table

    with open_cache(summary.cache) as cache:
        rows: list[tuple[str, str]] = [
            ("videos", f"{summary.done} done, {len(summary.failures)} without features"),
            ("rows", f"{summary.rows} of {cache.d_video} numbers, {clock(summary.seconds)} of video"),
            ("queries", ", ".join(f"{len(cache.select(split))} {split}" for split in cache.splits)),
            ("sentences", f"{len(cache.texts)} distinct, tokens of {cache.d_text} numbers"),
        ]
        fingerprint: Any = cache.fingerprint
    if summary.equalized:
        rows.append(("streams", f"{summary.equalized} videos trimmed or padded to one length"))
    if summary.disagreeing:
        vid, annotated, measured = summary.disagreeing[0]
        rows.append(
            (
                "durations",
                f"{len(summary.disagreeing)} videos whose rows tell another length than the annotation by more than a "
                f"clip, e.g. '{vid}': {measured:g} s of rows, {annotated:g} s annotated",
            )
        )
    rows.extend(("note", remark) for remark in remarks)
    rows += [("cache", str(summary.cache)), ("fingerprint", fingerprint)]
    print_table("Imported features", rows)
