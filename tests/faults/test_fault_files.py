"""Videos that change while they are read, and parts that change after they were written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_tools import Data, Extraction, content_hash, render

from rdmf.store import open_cache, verify
from rdmf.store.layout import read_structure


def of(data: Data, out: Path) -> str:
    """What an undisturbed run makes of the videos as they are now."""
    run = Extraction(data, out)
    done = run.run()
    assert done.code == 0, done.err
    return content_hash(run.out)


def test_a_video_that_is_replaced_while_it_is_read_is_read_again(own: Callable[[], Extraction], tmp_path: Path) -> None:
    extraction = own()
    other = render(tmp_path / "other.mp4", frames=22, seed=99)
    extraction.faults({"v2": {"do": "replace", "by": str(other), "at": 4, "times": 1}})
    done = extraction.run()
    assert done.code == 0, done.err
    assert (extraction.data.home / "v2.mp4").read_bytes() == other.read_bytes()
    assert content_hash(extraction.out) == of(extraction.data, tmp_path / "after" / "f.h5")
    assert extraction.left() == ["f.h5"]


@pytest.mark.long
def test_a_video_that_is_cut_while_it_is_read_is_what_is_left_of_it(
    own: Callable[[], Extraction], tmp_path: Path
) -> None:
    extraction = own()
    extraction.faults({"v0": {"do": "truncate", "at": 4, "times": 1}})
    done = extraction.run()
    after = Extraction(extraction.data, tmp_path / "after" / "f.h5")
    alone = after.run()
    assert (done.code, done.failures()) == (alone.code, alone.failures())
    assert content_hash(extraction.out) == content_hash(after.out)
    assert extraction.left() == ["f.h5"]


@pytest.mark.long
def test_a_video_that_never_stays_the_same_is_given_up_and_tried_by_the_next_run(
    own: Callable[[], Extraction], tmp_path: Path
) -> None:
    extraction = own()
    other = render(tmp_path / "other.mp4", frames=22, seed=99)
    extraction.faults({"v2": {"do": "replace", "by": str(other), "at": 4}})
    done = extraction.run()
    assert done.code == 1
    assert done.failures() == {"v2": "the file changed while it was read, 3 times over"}
    extraction.faults({})
    assert extraction.run().code == 0
    assert content_hash(extraction.out) == of(extraction.data, tmp_path / "after" / "f.h5")


@pytest.fixture(scope="module")
def half_done(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with parts: the first of two shards, and no cache yet."""
    run = Extraction(data, tmp_path_factory.mktemp("half") / "out" / "f.h5", options=["--shard=0/2"])
    done = run.run()
    assert done.code == 0, done.err
    assert not run.out.exists()
    return run.out.parent


def spots(part: Path) -> dict[str, int]:
    """Places in a part, one in each kind of thing that it consists of: name -> offset of a byte."""
    extents = read_structure(part).extents
    found = {
        name.replace("/", " "): extents[name].offset + 1 for name in ("video/features", "video/times", "video/vid_utf8")
    }
    found |= {"header": 30, "padding of the header": 400, "HDF5's own": 512 + 9, "the end": part.stat().st_size - 1}
    found["provenance"] = part.read_bytes().index(b'"stripes"') + 3
    found["the schema in the header"] = part.read_bytes().index(b'"schema":') + len(b'"schema":')
    return found


SPOTS = [
    "video features",
    "video times",
    "video vid_utf8",
    "header",
    "padding of the header",
    "HDF5's own",
    "provenance",
    "the schema in the header",
    "the end",
]


def flipped(half_done: Path, extraction: Extraction, spot: str) -> None:
    """Put the half-done work where the extraction goes on, one byte of one part changed."""
    shutil.copytree(half_done, extraction.out.parent)
    parts = sorted(extraction.out.with_suffix(".parts").glob("*.h5"))
    part = next(path for path in parts if vids_of(path))
    damaged = bytearray(part.read_bytes())
    damaged[spots(part)[spot]] ^= 0x01
    part.write_bytes(damaged)


def test_a_part_with_a_changed_byte_is_set_aside_and_done_again(
    half_done: Path, extraction: Extraction, undisturbed: str
) -> None:
    flipped(half_done, extraction, "video features")
    done = extraction.run()
    assert done.code == 0, done.err
    assert "is damaged and set aside, what it held is extracted again" in done.err
    assert content_hash(extraction.out) == undisturbed
    assert extraction.left() == ["f.h5"]


@pytest.mark.long
@pytest.mark.parametrize("spot", SPOTS)
def test_any_changed_byte(spot: str, half_done: Path, extraction: Extraction, undisturbed: str) -> None:
    """Wherever it is; where it does no harm (a byte that nothing reads), the cache is right as well."""
    flipped(half_done, extraction, spot)
    done = extraction.run()
    assert done.code == 0, done.err
    assert content_hash(extraction.out) == undisturbed
    assert verify(extraction.out) == []
    assert extraction.left() == ["f.h5"]


def vids_of(part: Path) -> list[str]:
    with open_cache(part) as cache:
        return cache.vids
