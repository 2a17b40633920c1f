"""`rdmf bench extract`: what extraction costs beside its parts, and beside the usual way of doing it.

Each way runs in a fresh process, the ways by turns. Seconds are on the wall, from the moment the encoder is ready. On a
machine that others use too, the wall says little; so processor seconds stand beside it. Decoding and encoding run side
by side, in processes of their own, so with cores to spare an extraction lasts as long as its busiest process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from rdmf.store.cores import usable_cores
from rdmf.store.errors import InputError
from rdmf_extract.encoders.base import VideoEncoder
from rdmf_pipelines.benching.extraction_process import DECODE, ENCODE, FILE_BY_FILE, WHOLE, Measured, Order, build
from rdmf_pipelines.benching.process_tree import Watch
from rdmf_pipelines.benching.sheet import Entry, Sheet, entry

PARTS = "one pipeline"
#: By way: what was measured, and the most memory in bytes, turn by turn.
Seen = dict[str, list[tuple[Measured, int]]]
AGAINST = "beside the usual way"


@dataclass
class ExtractionBench:
    """One run of `rdmf bench extract`.

    Attributes:
        sheet: filled in. files: the videos. folder: for what is made on the way.
        encoders: "light", "heavy" or names of the registry. fps: frames looked at per second; None: the encoders'.
        decoders: see `rdmf_extract.decode.policy.read`. workers: decoder processes. device: where the network runs, in
            every way. turns: how often each way is run.
        tell: told what is being measured.
    """

    sheet: Sheet
    files: Sequence[Path]
    folder: Path
    encoders: Sequence[str]
    fps: float | None = None
    decoders: Sequence[str] = ("auto", "decord-first")
    workers: int = 1
    device: str = "cpu"
    turns: int = 3
    tell: Callable[[str], None] = lambda said: None

    def measure(self) -> None:
        """Everything, encoder by encoder."""
        # What cannot be had is refused now. On the CPU: a GPU belongs to the processes that are measured.
        built = {name: build(name, self.fps, "cpu") for name in self.encoders}
        for name, encoder in built.items():
            self._measure(name, encoder)
        self.sheet.about[PARTS] = (
            "Aim: the whole at most 1.05 times the longer of its parts. 'of the longer' is that ratio on the wall, "
            "'CPU of the longer' the same of the processor seconds of the busier process. A network may "
            "keep every core busy by itself; 'of the cores' is the wall against the longer part or both parts' "
            f"processor seconds over {usable_cores()} cores, whichever is more."
        )
        from rdmf_pipelines.benching.file_by_file import tools

        self.sheet.about[AGAINST] = (
            f"The same encoder at the same rate on {self.workers + 1} cores. File by file: encoded again at that rate "
            f"(here with {tools()}), read frame by frame, resized by PIL, encoded, saved, with timm loaded "
            "where the network is one of its; aim: half its time, less memory."
        )

    def _measure(self, name: str, encoder: VideoEncoder) -> None:
        order = Order(
            way=DECODE,
            files=[str(file) for file in self.files],
            encoder=name,
            fps=self.fps,
            decoder=self.decoders[0],
            workers=self.workers,
            device=self.device,
            sampling=encoder.sampling.as_dict(),
            rows=0,
            folder=str(self.folder),
            began=0.0,
        )
        shared: Seen = {ENCODE: [], FILE_BY_FILE: []}  # they have nothing to do with our decoders
        own: dict[str, Seen] = {decoder: {DECODE: [], WHOLE: []} for decoder in self.decoders}
        rows = 0
        for turn in range(self.turns):
            for decoder, seen in own.items():
                for way, found in seen.items():
                    self.tell(f"{name}: {way} ({decoder}), turn {turn + 1} of {self.turns}")
                    found.append(run(replace(order, way=way, decoder=decoder)))
                    rows = found[0][0].rows
            for way, found in shared.items():
                self.tell(f"{name}: {way}, turn {turn + 1} of {self.turns}")
                found.append(run(replace(order, way=way, rows=rows)))
        called = encoder.name if encoder.name == name else f"{name} ({encoder.name})"
        for decoder, seen in own.items():
            where = "" if self.device == "cpu" else f" on {self.device}"
            case = f"{called}{where}, {encoder.sampling.fps:g} frames/s, {len(self.files)} videos, decoder {decoder}"
            self._note(case, {**seen, **shared})

    def _note(self, case: str, seen: Seen) -> None:
        """Everything that was seen of one encoder with one decoder."""
        measured = {way: [m for m, _ in found] for way, found in seen.items()}
        ratio, processor = of_the_longer(measured)
        limit = of_the_cores(measured, usable_cores(), self.workers)
        for way in (DECODE, ENCODE, WHOLE):
            more = {}
            if way == WHOLE:
                more = {"of the longer": ratio, "CPU of the longer": processor, "of the cores": limit}
            self.sheet.entries.append(_entry(PARTS, case, way, seen[way], more))
        self.sheet.entries.append(_entry(AGAINST, case, FILE_BY_FILE, seen[FILE_BY_FILE], {}))
        self.sheet.entries.append(_entry(AGAINST, case, WHOLE, seen[WHOLE], {}, against=FILE_BY_FILE))


def _middle(seen: Sequence[Measured], value: Callable[[Measured], float]) -> float:
    """The median over turns."""
    return median(map(value, seen))


def _wall(seen: dict[str, list[Measured]], way: str) -> float:
    """Seconds on the wall, the median over turns."""
    return _middle(seen[way], lambda m: m.seconds)


def of_the_longer(seen: dict[str, list[Measured]]) -> tuple[float, float]:
    """The whole as a multiple of the longer of its parts: on the wall, and in processor time of the busier process.

    Medians over turns. In the second, the whole's busier process (this one or a decoder) is set against the busier of
    decoding alone and encoding alone: what the first would be with a core for each process.
    """

    def busier(way: str) -> float:
        return _middle(seen[way], lambda m: max(m.main_seconds, m.helper_seconds))

    wall = _wall(seen, WHOLE) / max(_wall(seen, DECODE), _wall(seen, ENCODE))
    return wall, busier(WHOLE) / max(1e-9, busier(DECODE), busier(ENCODE))


def of_the_cores(seen: dict[str, list[Measured]], cores: int, workers: int) -> float:
    """The whole on the wall as a multiple of the least that its parts allow on so many cores; medians over turns.

    An encoder may use every core by itself. Decoding beside it then needs time of its own, however well the two
    overlap: nothing is done sooner than the longer part, nor than both parts' processor seconds spread evenly.
    """
    spent = sum(_middle(seen[way], lambda m: m.main_seconds + workers * m.helper_seconds) for way in (DECODE, ENCODE))
    longer = max(_wall(seen, DECODE), _wall(seen, ENCODE))
    return _wall(seen, WHOLE) / max(1e-9, longer, spent / cores)


def run(order: Order) -> tuple[Measured, int]:
    """Do it in a new process; what it measured, and the most memory that it and its children held, in bytes.

    Raises:
        InputError: the encoder cannot be had, or the videos cannot be read.
        RuntimeError: the process failed.
    """
    # One thread an encoder and a process a decoder; done in one process, all of these as threads.
    threads = order.workers + 1 if order.way == FILE_BY_FILE else 1
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        OMP_NUM_THREADS=str(threads),
        OMP_WAIT_POLICY="passive",  # several threads that spin would be slowed down by whoever else is at work here
    )
    with subprocess.Popen(
        [sys.executable, "-m", "rdmf_pipelines.benching.extraction_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            with Watch(process) as watch:
                out, _ = process.communicate(json.dumps(asdict(replace(order, began=time.time()))))
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise RuntimeError(f"'{order.way}' ended with status {process.returncode}")
    said = json.loads(out.strip().splitlines()[-1])
    if "error" in said:
        raise InputError(said["error"])
    measured = Measured(**said)
    if not measured.rows:
        raise InputError("none of the videos can be read; `rdmf extract` says why, file by file")
    return measured, watch.peak_bytes


def _entry(
    group: str, case: str, name: str, seen: Sequence[tuple[Measured, int]], more: dict[str, float], *, against: str = ""
) -> Entry:
    """One way's figures: the median of each over its turns; nothing is said of what was not looked at."""
    every = [m for m, _ in seen]
    last = every[-1]
    told: dict[str, float] = {
        **more,
        "CPU s here": median(m.main_seconds for m in every),
        "CPU s a decoder": median(m.helper_seconds for m in every),
        "peak MB": median(peak for _, peak in seen) / 1e6,
        "GPU peak MB": median(m.gpu_bytes for m in every) / 1e6,
        "start s": median(m.start_seconds for m in every),
        "first row s": median(m.first_row_seconds for m in every),
        "rows": last.rows,
        "decoded": last.decoded,
        "of frames": last.frames,
        "used": last.used,
    }
    kept = {field: value for field, value in told.items() if value}
    return entry(group, case, name, [m.seconds for m in every], against=against, more=kept)
