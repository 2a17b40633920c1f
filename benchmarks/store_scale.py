"""What a cache of a million videos and ten million queries costs to open, look up, list, select, subset and merge.

    OMP_NUM_THREADS=1 python benchmarks/store_scale.py --videos 1000000 --queries 10000000

Makes an index over sparse parts (in `--folder`, twice 2 GB of small tables at the default size; the features, 170 GB,
are holes that take no space), then runs every operation twice in processes of their own. Told are seconds (cold: the
system was asked to forget the files first), CPU seconds, and the most memory that the process ever held, of which an
interpreter with numpy and h5py is the first line. No operation here reads features. What was made is kept and used
again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rdmf.store import Provenance, describe, merge, open_cache, subset
from rdmf.store.compose import Links, Tables, write_tables
from rdmf.store.header import SCHEMA, Header
from rdmf.store.ragged import offsets_of
from rdmf.store.strings import Strings

ROWS, TOKENS = 75, 12  # a video of 150 s at 2 s a row; a sentence of ten words
D_VIDEO, D_TEXT = 512, 384
SPLITS = ("train", "val", "test")


def make_index(path: Path, *, first: int, videos: int, queries: int, parts: int) -> Path:
    """An index over `parts` sparse files, of videos and queries numbered from `first` on; every sentence differs."""
    folder = path.parent / f"{path.stem}.parts"
    folder.mkdir(parents=True, exist_ok=True)
    per_part = np.diff(np.linspace(0, videos, parts + 1).astype(np.int64))
    texts_per_part = np.diff(np.linspace(0, queries, parts + 1).astype(np.int64))
    row_bytes, time_bytes = ROWS * D_VIDEO * 2, ROWS * 16
    names, lengths, places = [], [], []
    for number, (n_videos, n_texts) in enumerate(zip(per_part.tolist(), texts_per_part.tolist(), strict=True)):
        features, times = 4096, 4096 + n_videos * row_bytes
        tokens = times + n_videos * time_bytes
        length = tokens + n_texts * TOKENS * D_TEXT * 2
        with (folder / f"{number:06d}.h5").open("wb") as file:
            file.write(Header(SCHEMA, length, f"{first + number:064x}").pack())
            file.truncate(length)
        names.append(f"{folder.name}/{number:06d}.h5")
        lengths.append(length)
        places.append((features, times, tokens))
    video_at = np.concatenate(([0], np.cumsum(per_part)[:-1])) * ROWS
    text_at = np.concatenate(([0], np.cumsum(texts_per_part)[:-1])) * TOKENS
    digests = b"".join(bytes.fromhex(f"{first + number:064x}") for number in range(parts))
    generator = np.random.default_rng(first)
    asked = np.repeat(np.arange(videos), -(-queries // videos))[:queries]
    starts = generator.uniform(0, 120, queries)
    tables = Tables(
        provenance=Provenance({"encoder": "synthetic", "fps": 2.0, "dim": D_VIDEO}, {"encoder": "synthetic"}),
        feature_dtype="float16",
        d_video=D_VIDEO,
        d_text=D_TEXT,
        n_rows=videos * ROWS,
        n_tokens=queries * TOKENS,
        row_blocks=(),
        token_blocks=(),
        arrays={
            "video/row_offsets": lambda: np.arange(videos + 1) * ROWS,
            "video/duration": lambda: np.full(videos, 150.0),
            "video/annotated_duration": lambda: np.full(videos, np.nan),
            "video/recovered": lambda: np.ones(videos),
            "video/padded": lambda: np.zeros(videos, bool),
            "video/decoder_code": lambda: np.zeros(videos, np.int32),
            "video/sha256": lambda: np.zeros((videos, 32), np.uint8),
            "text/token_offsets": lambda: np.arange(queries + 1) * TOKENS,
            "text/sha256": lambda: np.zeros((queries, 32), np.uint8),
            "query/qid_int": lambda: np.arange(first, first + queries),
            "query/qid_is_text": lambda: np.zeros(queries, bool),
            "query/vid_code": lambda: asked,
            "query/text_index": lambda: np.arange(queries),
            "query/split_code": lambda: np.where(asked % 10 < 8, 0, asked % 10 - 7).astype(np.int32),
            "query/kind_code": lambda: np.zeros(queries, np.int32),
            "query/clip_length": lambda: np.full(queries, 2.0),
            "query/duration": lambda: np.full(queries, 150.0),
            "query/window_offsets": lambda: np.arange(queries + 1),
            "query/windows": lambda: np.stack([starts, starts + 10], axis=1),
            "query/saliency_offsets": lambda: np.zeros(queries + 1, np.int64),
            "query/saliency_clips": lambda: np.zeros(0, np.int64),
            "query/saliency_scores": lambda: np.zeros((0, 0), np.float32),
            "query/n_annotators": lambda: np.zeros(queries, np.int32),
        },
        strings={
            "video/vid": lambda: numbered_words(videos, first, words=1),
            "video/decoder_name": lambda: Strings.of(["pyav"]),
            "text/text": lambda: numbered_words(queries, first, words=6),
            "query/qid": lambda: Strings(np.zeros(0, np.uint8), np.zeros(queries + 1, np.int64)),
            "query/absent_vid": lambda: Strings.of([]),
            "query/split_name": lambda: Strings.of(SPLITS),
            "query/kind_name": lambda: Strings.of([""]),
            "failure/vid": lambda: Strings.of([]),
            "failure/reason": lambda: Strings.of([]),
        },
        links=Links(
            paths=names,
            n_bytes=np.array(lengths, np.int64),
            sha256=np.frombuffer(digests, np.uint8).reshape(-1, 32),
            data_offsets=np.array(places, np.int64),
            video_runs=np.stack([np.arange(parts), np.zeros(parts, np.int64), video_at], axis=1),
            text_runs=np.stack([np.arange(parts), np.zeros(parts, np.int64), text_at], axis=1),
        ),
    )
    return write_tables(path, tables)


def numbered_words(count: int, first: int, *, words: int) -> Strings:
    """Distinct strings: a nine-digit number and words of five letters, of different lengths."""
    generator = np.random.default_rng(words)
    number = np.arange(first, first + count)
    digits = (number[:, None] // 10 ** np.arange(8, -1, -1)) % 10 + ord("0")
    letters = generator.integers(ord("a"), ord("z") + 1, (count, words, 6), dtype=np.uint8)
    letters[:, :, 0] = ord(" ") if words > 1 else ord("_")
    table = np.concatenate([digits.astype(np.uint8), letters.reshape(count, -1)], axis=1)
    lengths = generator.integers(table.shape[1] - 4, table.shape[1] + 1, count)
    return Strings(table[np.arange(table.shape[1]) < lengths[:, None]], offsets_of(lengths))


def _list(path: Path, *options: str) -> None:
    from rdmf_pipelines.cli import main

    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # the process ends with it
    try:
        main(["features", "list", str(path), *options])
    except SystemExit as stop:
        if stop.code:
            raise


def _look_up(path: Path) -> None:
    cache = open_cache(path)
    for vid in cache.vids[:: max(1, cache.n_videos // 1000)]:
        cache.video(vid)


#: name -> (what it does to the index at the path; the second path is a place for what it writes)
OPERATIONS: dict[str, Callable[[Path, Path], object]] = {
    "interpreter, numpy, h5py": lambda index, out: None,
    "open": lambda index, out: open_cache(index),
    "open, counts": lambda index, out: (open_cache(index).n_videos, len(open_cache(index).queries)),
    "open, select val": lambda index, out: open_cache(index).select("val"),
    "open, 1,000 videos read by name": lambda index, out: _look_up(index),
    "open, 1,000 queries as records": lambda index, out: _records(index),
    "features info": lambda index, out: describe(index),
    "features list --limit 10": lambda index, out: _list(index, "--limit", "10"),
    "features list": lambda index, out: _list(index),
    "features list --queries --split val --json": lambda index, out: _list(
        index, "--queries", "--split", "val", "--json"
    ),
    "features list --queries --json": lambda index, out: _list(index, "--queries", "--json"),
    "features subset --split val --link": lambda index, out: subset(index, out, splits=["val"], self_contained=False),
    "features subset --limit 1000 --link": lambda index, out: subset(index, out, limit=1000, self_contained=False),
    "features merge --link (two halves)": lambda index, out: merge(
        [index.parent / "half-0.h5", index.parent / "half-1.h5"], out, self_contained=False
    ),
}


def _records(index: Path) -> None:
    cache = open_cache(index)
    cache.queries.records(np.arange(0, len(cache.queries), max(1, len(cache.queries) // 1000)))


def run_one(name: str, index: Path) -> None:
    """One operation, told as a line of JSON."""
    out = index.parent / f"out-{os.getpid()}.h5"
    start, worked = time.perf_counter(), time.process_time()
    OPERATIONS[name](index, out)
    told = [time.perf_counter() - start, time.process_time() - worked, peak_megabytes()]
    out.unlink(missing_ok=True)
    print(json.dumps(told), file=sys.__stdout__)


def peak_megabytes() -> float:
    """The most memory this process held. Linux's own count for a process begins with its parent's, hence /proc."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forget(paths: Sequence[Path]) -> None:
    """Asks the system to drop what it holds of these files in memory."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=10_000_000)
    parser.add_argument("--parts", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path("results/store-scale"))
    parser.add_argument("--only", default="", help="Operations whose name holds this.")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder / f"{options.videos}-{options.queries}-{options.parts}"
    index = folder / "index.h5"
    if options.one:
        run_one(options.one, index)
        return
    size = {"videos": options.videos, "queries": options.queries, "parts": options.parts}
    if not index.exists():
        start = time.perf_counter()
        half = {name: number // 2 for name, number in size.items()}
        for i in range(2):
            make_index(folder / f"half-{i}.h5", first=i * options.queries, **half)
        make_index(index, first=0, **size)
        print(f"made in {time.perf_counter() - start:.0f} s")
    holding = list(folder.rglob("*.h5"))
    holes = sum(path.stat().st_size for path in (folder / "index.parts").iterdir())
    print(f"{options.videos:,} videos, {options.queries:,} queries, {options.parts:,} parts: index of ", end="")
    print(f"{index.stat().st_size / 1e6:,.0f} MB over {holes / 1e9:,.0f} GB of holes")
    print(f"{'':<46}{'cold s':>9}{'warm s':>9}{'CPU s':>9}{'peak MB':>9}")
    for name in OPERATIONS:
        if options.only not in name:
            continue
        command = [sys.executable, __file__, "--one", name, "--folder", str(options.folder)]
        command += [word for key, value in size.items() for word in (f"--{key}", str(value))]
        told = []
        for cold in (True, False):
            if cold:
                forget(holding)
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr}")
            told.append(json.loads(done.stdout.splitlines()[-1]))
        (cold_s, _, _), (warm_s, cpu_s, peak) = told
        print(f"{name:<46}{cold_s:>9.2f}{warm_s:>9.2f}{cpu_s:>9.2f}{peak:>9.0f}", flush=True)


if __name__ == "__main__":
    main()
