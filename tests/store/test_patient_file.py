"""A disk that fills up while HDF5 writes: one error, told when HDF5 is done, at whatever byte it happens."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdmf.store.layout import open_for_writing
from rdmf.store.patient_file import PatientFile


def write(path: Path) -> None:
    with open_for_writing(path) as file:
        for number in range(5):
            file.create_dataset(f"group/{number}", data=np.arange(2000 * number))
        file.attrs["about"] = np.bytes_(b"x" * 500)


def test_what_is_written_is_what_hdf5_writes_by_itself(tmp_path: Path) -> None:
    write(tmp_path / "ours.h5")
    with h5py.File(tmp_path / "ours.h5") as file:
        assert file.userblock_size == 512
        assert [len(file[f"group/{n}"][()]) for n in range(5)] == [0, 2000, 4000, 6000, 8000]
        assert file.attrs["about"] == b"x" * 500


@settings(max_examples=40, deadline=None)
@given(room=st.integers(0, 170_000))
def test_a_disk_that_fills_up_at_any_byte(tmp_path_factory: pytest.TempPathFactory, room: int) -> None:
    path, left, usual = tmp_path_factory.mktemp("full") / "f.h5", room, os.pwrite

    def pwrite(handle: int, data: memoryview, at: int) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = usual(handle, data[:left], at)
        left -= done
        return done

    failure: OSError | None = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        try:
            write(path)
        except OSError as error:
            failure = error
    if failure is None:
        assert path.stat().st_size <= room
    else:
        assert (failure.errno, left) == (errno.ENOSPC, 0)
    write(path)  # HDF5 is as well as before


def test_reading_back_and_cutting(tmp_path: Path) -> None:
    with PatientFile(tmp_path / "f") as file:
        assert file.write(b"abcdef") == 6
        assert file.seek(2) == 2
        assert file.read(3) == b"cde"
        assert file.seek(-1, os.SEEK_END) == 5
        assert file.read() == b"f"
        assert file.truncate(3) == 3
        file.flush()
        file.seek(0)
        assert (file.read(), file.tell()) == (b"abc", 3)
    assert (tmp_path / "f").read_bytes() == b"abc"


def test_a_file_closed_under_hdf5_is_not_told(tmp_path: Path) -> None:
    with PatientFile(tmp_path / "f") as file:
        file.write(b"abc")
    file.write(b"def")
    file.seek(0)
    assert file.read(3) == b"\0\0\0"
    assert file.truncate(2) == 2
    assert (tmp_path / "f").read_bytes() == b"abc"
