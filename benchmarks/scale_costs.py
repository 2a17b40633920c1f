"""What very many videos cost: time, bytes, files, by formulae over rates that are given.

    python benchmarks/scale_costs.py
    python benchmarks/scale_costs.py --videos 1000000 --nodes 1 4 --cores 96 --gpus 8 --rows-per-second 40
    OMP_NUM_THREADS=1 python benchmarks/scale_costs.py --measure

Prints the tables of docs/scale.md, which a test compares. The defaults of the rates are measured ones, where and how
is said in docs/scale.md; no rate of a GPU is among them. `--measure` measures the encoders of this machine's CPU.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass

#: Bytes of an index, from one of a million videos and ten million queries (benchmarks/store_scale.py): its columns.
INDEX_BYTES_A_VIDEO, INDEX_BYTES_A_QUERY = 93, 184
TIMES_BYTES = 16  # start and end of a row
PART_VIDEOS, PART_BYTES = 64, 64 << 20  # when the extractor begins a new part, whichever comes first
YEAR_HOURS = 24 * 365.25


@dataclass(frozen=True)
class Encoder:
    """Rows of a video encoder: seconds between them, numbers in one, and how many a CPU core makes in a second."""

    name: str
    stride_seconds: float
    dim: int
    rows_per_core_second: float


#: Rates of one core of the machine this was made on, by `--measure` (float32, one thread, a second of CPU time).
ENCODERS = (
    Encoder("efficientnet-lite0", 1.0, 1280, 19.0),
    Encoder("videoswin-t", 2.0, 768, 0.2),
)
#: Frames a second that one core decodes and scales to 224 px (../shared/design/decoding.md).
DECODERS = {"Decord": 989.0, "PyAV": 485.0}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def storage(options: argparse.Namespace) -> str:
    """Bytes a video-hour and of everything, at several strides and widths."""
    hours = options.videos * options.seconds / 3600
    rows = []
    for dim in options.dims:
        for stride in options.strides:
            each = 3600 / stride * (dim * 2 + TIMES_BYTES)
            a_video = options.seconds / stride * (dim * 2 + TIMES_BYTES)
            rows.append([f"{dim} numbers, a row every {stride:g} s", size(each), size(a_video), size(each * hours)])
    return table(["fp16 features", "a video-hour", "a video", f"{options.videos:,} videos"], rows)


def small_tables(options: argparse.Namespace) -> str:
    """Bytes of the sentences' features and of the index."""
    queries = options.videos * options.queries
    tokens = queries * options.tokens * options.text_dim * 2
    index = options.videos * INDEX_BYTES_A_VIDEO + queries * INDEX_BYTES_A_QUERY
    return table(
        ["what else", "size"],
        [
            [f"token features, {queries:,} sentences of {options.tokens} tokens x {options.text_dim}", size(tokens)],
            ["index (names, times, queries, sentences, checksums)", size(index)],
            ["one column of it, 8 bytes a query", size(queries * 8)],
            ["the sentences' words", size(queries * 41)],
        ],
    )


def extraction(options: argparse.Namespace) -> str:
    """Hours on N nodes, by what they wait for."""
    seconds = options.videos * options.seconds
    rows = []
    for name, rate in DECODERS.items():
        work = seconds * options.frame_rate / rate / options.cores
        rows.append([f"decoding with {name}, {options.cores} cores a node", *spread(work, options.nodes)])
    for encoder in ENCODERS:
        work = seconds / encoder.stride_seconds / encoder.rows_per_core_second / options.cores
        rows.append([f"{encoder.name}, on {options.cores} cores a node", *spread(work, options.nodes)])
    for rate in options.rows_per_second:
        work = seconds / options.strides[-1] / rate / options.gpus
        label = (
            f"any encoder of a row every {options.strides[-1]:g} s at {rate:g} rows/s a GPU, {options.gpus} GPUs a node"
        )
        rows.append([label, *spread(work, options.nodes)])
    return table(["hours of", *(f"{nodes} nodes" if nodes > 1 else "1 node" for nodes in options.nodes)], rows)


def files(options: argparse.Namespace) -> str:
    """Parts, files and what opening them costs, by how many videos a file holds."""
    a_video = options.seconds / options.strides[-1] * (options.dims[-1] * 2 + TIMES_BYTES)
    at_once = min(PART_VIDEOS, max(1, int(PART_BYTES // a_video)))
    rows = []
    for label, videos in (
        ("one file a video, as peers ship them", 1),
        ("the extractor's parts, before they are joined", at_once),
        ("caches of 10,000 videos under an index", 10_000),
        ("caches of 100,000 videos under an index", 100_000),
    ):
        count = math.ceil(options.videos / videos)
        # An index looks at the first 512 bytes of every file when it is opened, sixteen at once.
        wait = "" if videos <= PART_VIDEOS else f"{count * options.latency_ms / 1000 / 16:.2f} s"
        rows.append([label, f"{count:,}", size(a_video * videos), wait])
    return table(["files", "inodes", "each", f"an index opens, {options.latency_ms:g} ms a look"], rows)


def reading(options: argparse.Namespace) -> str:
    """What passes over all bytes cost."""
    hours = options.videos * options.seconds / 3600
    whole = hours * 3600 / options.strides[-1] * (options.dims[-1] * 2 + TIMES_BYTES)
    rows = [
        [f"{rate:,} MB/s", f"{whole / rate / 1e6 / 3600:,.1f}", f"{2 * whole / rate / 1e6 / 3600:,.1f}"]
        for rate in options.disk
    ]
    return table(["at", "verify, or copy to the GPU: hours", "join parts into one file: hours"], rows)


def spread(seconds: float, nodes: list[int]) -> list[str]:
    """Work in seconds on one node, as hours on each number of nodes."""
    hours = [seconds / 3600 / count for count in nodes]
    return [
        f"{h:,.1f}" if h < 100 else f"{h:,.0f}" if h < YEAR_HOURS else f"{h:,.0f} ({h / YEAR_HOURS:.1f} years)"
        for h in hours
    ]


def size(n_bytes: float) -> str:
    """Bytes with a unit."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:,.{1 if n_bytes < 100 * scale else 0}f} {unit}"
    return f"{n_bytes:.0f} bytes"


def measure() -> None:
    """Rows a second of the encoders on one thread of this CPU, random weights where there are no others."""
    import numpy as np
    import torch

    from rdmf_extract.encoders.registry import build_video_encoder

    torch.set_num_threads(1)
    for name, settings in (("efficientnet-lite0", {}), ("videoswin-t", {"weights": "random"})):
        encoder = build_video_encoder(name, device="cpu", **settings)
        side, frames = encoder.sampling.crop, encoder.sampling.frames_per_window
        rows = np.random.default_rng(0).integers(0, 255, (4, frames, side, side, 3)).astype(np.uint8)
        encoder.encode(rows[:1])
        start = time.process_time()
        encoder.encode(rows)
        rate = len(rows) / (time.process_time() - start)
        stride = encoder.sampling.stride_seconds
        print(f"{name}: {rate:.2f} rows of {encoder.dim} numbers a CPU second, one every {stride:g} s of video")


def arguments() -> argparse.ArgumentParser:
    """The inputs, with the defaults that docs/scale.md has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=150.0, help="Seconds of a video.")
    parser.add_argument("--frame-rate", type=float, default=30.0, help="Frames a second that its file holds.")
    parser.add_argument("--queries", type=float, default=10, help="Queries a video.")
    parser.add_argument("--tokens", type=int, default=12)
    parser.add_argument("--text-dim", type=int, default=768)
    parser.add_argument("--dims", type=int, nargs="+", default=[512, 1280, 768])
    parser.add_argument("--strides", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--cores", type=int, default=64, help="Cores of a node.")
    parser.add_argument("--gpus", type=int, default=8, help="GPUs of a node.")
    parser.add_argument("--rows-per-second", type=float, nargs="+", default=[10, 100, 1000], help="Of one GPU.")
    parser.add_argument("--latency-ms", type=float, default=2.0, help="Of a look at a file on a network disk.")
    parser.add_argument("--disk", type=int, nargs="+", default=[100, 500, 2000], help="MB/s.")
    parser.add_argument("--measure", action="store_true")
    return parser


def report(options: argparse.Namespace) -> str:
    """All tables."""
    return "\n\n".join(part(options) for part in (storage, small_tables, extraction, files, reading))


if __name__ == "__main__":
    given = arguments().parse_args()
    if given.measure:
        measure()
    else:
        print(report(given))
