"""Runs of `rdmf extract` in processes of their own, and what they leave."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np

HERE = Path(__file__).parent
DRIVER = HERE / "fault_driver.py"
LIMIT_SECONDS = 540  # of anything at all: a test that reaches it has found a hang


def render(path: Path, *, frames: int, seed: int) -> Path:
    """A video of ten frames a second in which every frame differs from every other of every video."""
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(10), options={"crf": "20", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(frames):
            blocks = rng.integers(0, 256, (4, 6), np.uint8).repeat(16, 0).repeat(16, 1)
            frame = av.VideoFrame.from_ndarray(np.repeat(blocks[:, :, None], 3, axis=2), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@dataclass(frozen=True)
class Data:
    """Videos and the sentences about them.

    Attributes:
        home: folder of the videos and of manifest.jsonl. vids: all names.
    """

    home: Path
    vids: list[str]

    @property
    def manifest(self) -> Path:
        return self.home / "manifest.jsonl"


def make_data(home: Path, files: dict[str, Path]) -> Data:
    """A manifest with two sentences about each video."""
    rows = [
        {"vid": vid, "query": f"{what} number {i}", "qid": f"{vid}-{what}", "start": 0.0, "end": 0.5, "split": "train"}
        for i, vid in enumerate(files)
        for what in ("something", "nothing")
    ]
    data = Data(home, list(files))
    data.manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return data


@dataclass
class Extraction:
    """`rdmf extract` of some data into `out`, again and again.

    Attributes:
        options: further options of the command.
        environment: further variables; see `fault_driver`.
    """

    data: Data
    out: Path
    options: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def faults(self, plan: dict[str, dict[str, Any]]) -> None:
        """Decoders go wrong from now on; see `fault_decoder`."""
        place = self.out.parent.parent / "faults"
        place.mkdir(exist_ok=True)
        (place / "plan.json").write_text(json.dumps(plan))
        self.environment["RDMF_TEST_FAULTS"] = str(place / "plan.json")

    def start(self, *more: str, **settings: Any) -> subprocess.Popen[str]:
        """Start a run; its output is piped."""
        command = [sys.executable, str(DRIVER), "extract", f"--manifest={self.data.manifest}"]
        command += [f"--videos={self.data.home}", f"--out={self.out}", "--workers=1", *self.options, *more]
        paths = os.pathsep.join([str(HERE), *filter(None, sys.path)])
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLURM_")},
            "PYTHONPATH": paths,
            "OMP_NUM_THREADS": "1",
            **self.environment,
        }
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, **settings)

    def run(self, *more: str, **settings: Any) -> Ended:
        """Run to the end."""
        return ended(self.start(*more, **settings))

    def left(self) -> list[str]:
        """Every file and folder beside and below the cache."""
        return sorted(str(path.relative_to(self.out.parent)) for path in self.out.parent.rglob("*"))


def names_like(folder: Path, pattern: str) -> list[str]:
    """Names of a folder's files by a pattern; none where runs that are at work take the folder away meanwhile."""
    try:
        return fnmatch.filter(os.listdir(folder), pattern)  # noqa: PTH208 - Path.glob raises in the middle
    except FileNotFoundError:
        return []


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code, and what it printed."""

    code: int
    out: str
    err: str

    def count(self, what: str) -> int:
        """The number before a word of the table's line about videos."""
        found = re.search(rf"(\d+) {what}", self.out)
        assert found is not None, self.out + self.err
        return int(found[1])

    def failures(self) -> dict[str, str]:
        """video -> reason, of the lines about failed videos."""
        return dict(re.findall(r"^failed: (\S+): (.*)$", self.err, re.MULTILINE))


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for a run."""
    try:
        out, err = process.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"a run hangs\n{out}\n{err}") from None
    assert "Traceback" not in err, err
    return Ended(process.returncode, out, err)


def content_hash(path: Path) -> str:
    """sha256 over every table of a cache, with provenance and notes: all but the time at which it was made."""
    digest = hashlib.sha256()
    with h5py.File(path, "r", locking=False) as file:
        for name in ("fingerprint", "provenance", "notes"):
            digest.update(bytes(file.attrs[name]) + b"\0")
        tables: list[str] = []
        file.visititems(lambda name, item: tables.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in sorted(tables):
            values = file[name][()]
            digest.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()
