"""`rdmf extract`: a dataset's videos and sentences to one feature cache."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rdmf_pipelines.datasets import DatasetPlan


def extract(
    dataset: Annotated[
        str | None,
        typer.Option(help="A known dataset: charades, qvhighlights or activitynet. Either this or --manifest."),
    ] = None,
    manifest: Annotated[
        list[Path] | None,
        typer.Option(
            help="Your own sentences: JSON lines or CSV with 'vid' (or 'video', a path) and 'query', optionally "
            "'start' and 'end' (or 'relevant_windows'), 'split', 'type', 'qid', 'duration'. Repeatable, e.g. train "
            "and val."
        ),
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(
            help="Folder tree of the video files. Default: data/DATASET/videos, or the folder of the manifest."
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="Folder of a known dataset's annotation files. Default: data/DATASET/annotations."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Split of manifest rows that name none. Default: what the file's name tells, or 'all'."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The cache to write. Default: features/NAME.h5, after dataset or manifest.")
    ] = None,
    video_encoder: Annotated[
        str,
        typer.Option(help="videoswin-t, videoswin-s, videoswin-b, efficientnet-lite0 or timm:NAME."),
    ] = "videoswin-t",
    text_encoder: Annotated[
        str, typer.Option(help="bert-base-uncased, minilm, or any Hugging Face text model by name or folder.")
    ] = "bert-base-uncased",
    weights: Annotated[
        str | None,
        typer.Option(help="File of weights for the video encoder, or 'random'. Default: the published ones."),
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames looked at per second of video.")] = None,
    window: Annotated[float | None, typer.Option(help="Seconds of video that one feature row sees.")] = None,
    stride: Annotated[float | None, typer.Option(help="Seconds between the starts of rows.")] = None,
    frames_per_window: Annotated[int | None, typer.Option(help="Frames that one feature row sees.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Side in pixels of the frames the network gets.")] = None,
    decoder: Annotated[
        str,
        typer.Option(
            help="auto (PyAV where rows look at up to 8 frames a second, else decord-first), pyav, decord-first "
            "(Decord, and PyAV where it fails or differs) or decord. Frames differ a little, and caches tell which."
        ),
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Decoder processes; on Ray a CPU each. Default: by the cores.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that decoding one video may take (long videos: their length more).")
    ] = 600.0,
    max_fail: Annotated[int | None, typer.Option(min=0, help="Stop when more videos than this have failed.")] = None,
    retry_failed: Annotated[bool, typer.Option(help="Try videos again that failed in an earlier run.")] = False,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            "--devices",
            help="Where the encoders run: auto, cpu, cuda, cuda:1, ...; several separated by commas, or all GPUs with "
            "'all': a process each.",
        ),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="What the networks compute in: auto (bfloat16 on a GPU, float16 on an older one, float32 on a CPU), "
            "float32, bfloat16 or float16 (GPUs only). Features differ a little, and caches tell which."
        ),
    ] = "auto",
    shard: Annotated[
        str | None,
        typer.Option(
            help="Do only share i of n of the videos, i/n with i from 0. Default: what Slurm (arrays, srun) or "
            "torchrun say in the environment; none: everything. Runs on one --out share the work in any case."
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local: this machine; ray: the nodes of a Ray cluster (pip install 'rdmf[ray]').")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="With --engine ray: the cluster, e.g. auto for the one here. Default: one of this machine."),
    ] = None,
) -> None:
    """Decode videos, compute their features and those of the sentences, and write one cache.

    Run it again to do only what is missing; run it on several machines at once to share the work. Exit code 0: done; 1:
    done, but videos failed or were not found (they are listed); 2: bad input.
    """
    from rdmf_extract.decode.process import Ahead
    from rdmf_extract.defaults import fewest_workers
    from rdmf_extract.encoders import registry
    from rdmf_extract.encoders.spec import EncoderSpec
    from rdmf_extract.pipeline import extract as run
    from rdmf_extract.progress import ProgressDisplay
    from rdmf_pipelines.extraction import default_out, report, tell_plan, tell_shard
    from rdmf_pipelines.extractors import Request, extractors, share_of

    mine = share_of(shard)
    plan = _plan(dataset, manifest or [], videos=videos, annotations=annotations, split=split)
    target = default_out(out, plan)
    tell_plan(plan)
    tell_shard(mine, plan)
    seeing = EncoderSpec.of(
        registry.build_video_encoder,
        video_encoder,
        fps=fps,
        window=window,
        stride=stride,
        frames_per_window=frames_per_window,
        resolution=resolution,
        weights=weights,
        precision=precision,
    )
    reading = EncoderSpec.of(registry.build_text_encoder, text_encoder, precision=precision)
    request = Request(seeing, reading, device=device, engine=engine, address=address, decoder=decoder, timeout=timeout)
    try:
        # Decoders load while the encoders do.
        early = 0 if engine == "ray" else min(workers or fewest_workers(), len(plan.videos))
        with Ahead(early) as ahead, extractors(request) as (video, text, where), ProgressDisplay() as progress:
            notes = {**plan.notes, "licence": plan.licence, "video_weights": video.source, "text_encoder": text.source}
            summary = run(
                plan.videos,
                plan.queries,
                out=target,
                video_encoder=video,
                text_encoder=text,
                notes=notes,
                decoder=decoder,
                workers=workers,
                timeout_seconds=timeout,
                max_fail=max_fail,
                retry_failed=retry_failed,
                shard=mine,
                engine=where,
                ahead=ahead,
                progress=progress,
            )
    except KeyboardInterrupt:
        print(
            f"interrupted; what is done is kept beside {target}, run the same command again to go on", file=sys.stderr
        )
        raise typer.Exit(130) from None
    if report(summary):
        raise typer.Exit(1)


def _plan(
    dataset: str | None,
    manifests: list[Path],
    *,
    videos: Path | None,
    annotations: Path | None,
    split: str | None,
) -> DatasetPlan:
    """The dataset or the manifests, whichever was named."""
    from rdmf.store.errors import InputError
    from rdmf_pipelines.datasets import load_dataset, load_manifest

    if (dataset is None) == (not manifests):
        raise InputError("name either a known dataset with --dataset or your own file with --manifest")
    if dataset is not None:
        if split is not None:
            raise InputError("--split is for manifests; a known dataset has its own splits")
        return load_dataset(dataset, annotations, videos)
    if annotations is not None:
        raise InputError("--annotations is for known datasets; a manifest holds its own annotations")
    return load_manifest(manifests, videos or manifests[0].parent, split=split)
