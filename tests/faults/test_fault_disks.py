"""Disks that fill up or cannot be written to: one line that says so, nothing lost, and the next run completes."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_tools import Extraction, content_hash


class SmallDisk:
    """A file system in memory at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], SmallDisk]]:
    """Makes one of a given size; skips where mounting is not permitted."""
    mounted: list[Path] = []

    def make(size: str) -> SmallDisk:
        path = tmp_path / "disk"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no file system can be mounted here ({error})")
        mounted.append(path)
        return SmallDisk(path)

    yield make
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


def one_line(text: str) -> str:
    """The one line that a refused run may print."""
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, text
    return lines[0]


@pytest.mark.long
def test_a_full_disk(extraction: Extraction, undisturbed: str, disk: Callable[[str], SmallDisk]) -> None:
    small = disk("48k")
    extraction.out = small.path / "f.h5"
    done = extraction.run()
    assert done.code == 2, done.err
    assert "No space left on device" in one_line(done.err)
    assert not extraction.out.exists()
    small.remount("size=8m")
    again = extraction.run()
    assert again.code == 0, again.err
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


@pytest.mark.long
def test_a_disk_that_is_full_only_when_the_cache_is_written(
    extraction: Extraction, undisturbed: str, disk: Callable[[str], SmallDisk]
) -> None:
    """The parts fit, the cache beside them does not."""
    small = disk("8m")
    extraction.out = small.path / "f.h5"
    assert extraction.run("--shard=0/2").code == 0
    assert extraction.run("--shard=1/2").code == 0
    whole = extraction.out.stat().st_size
    extraction.out.unlink()
    assert extraction.run("--shard=0/2").code == 0
    assert not extraction.out.exists()
    small.remount(f"size={(used(small.path) + whole // 2) >> 10}k")
    done = extraction.run()
    assert done.code == 2, done.err
    assert "No space left on device" in one_line(done.err)
    small.remount("size=8m")
    assert extraction.run().code == 0
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


def used(path: Path) -> int:
    """Bytes in use on a file system."""
    status = os.statvfs(path)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.mark.long
def test_files_that_may_not_grow(extraction: Extraction, undisturbed: str) -> None:
    """A quota's little brother, which needs no mounting: no file may exceed 6 kB."""
    limit = 6 << 10
    extraction.environment["DECORD_EOF_RETRY_MAX"] = "2048"
    done = extraction.run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert done.code == 2, done.err
    assert "File too large" in one_line(done.err)
    assert extraction.run().code == 0
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


def test_an_output_that_cannot_be_written(
    extraction: Extraction, undisturbed: str, disk: Callable[[str], SmallDisk]
) -> None:
    locked = disk("8m")
    extraction.out = locked.path / "f.h5"
    locked.remount("ro")
    done = extraction.run()
    assert done.code == 2
    assert f"cannot write beside {extraction.out}: Read-only file system" in one_line(done.err)
    locked.remount("rw")
    assert extraction.run().code == 0
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]
