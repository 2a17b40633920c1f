"""features/README.md tells the truth: its example runs, and it names the tables that a cache has."""

from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path

import h5py
import pytest
import store_samples as samples

from rdmf.store import merge
from rdmf.store.layout import expected_tables

README = Path(__file__).resolve().parents[2] / "features" / "README.md"


def test_the_example_runs_with_h5py_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert "rdmf" not in example
    samples.sample_cache(tmp_path / "features" / "demo.h5")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(README), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("{'encoder': 'test', 'fps': 2.0")
    assert printed[6] == "video-05 (6, 8) [0. 2.] [10. 12.]"


def test_every_table_is_documented_with_its_type(tmp_path: Path) -> None:
    documented = dict(re.findall(r"^\| (`.*?) \| (.*?) \|", README.read_text(encoding="utf-8"), re.MULTILINE))
    names = {name for cell in documented for name in re.findall(r"`([^`]+)`", cell)}
    expected = {
        re.sub(r"_utf8$", "", name) for name in expected_tables(is_index=True) | expected_tables(is_index=False)
    }
    columns_of_strings = {re.sub(r"_utf8$", "", n) for n in expected_tables(is_index=True) if n.endswith("_utf8")}
    assert names == expected - {f"{name}_offsets" for name in columns_of_strings}
    part = samples.sample_cache(tmp_path / "part.h5")
    index = merge([part], tmp_path / "index.h5", self_contained=False)
    types = {}
    for path in (part, index):
        with h5py.File(path, "r") as file:
            types.update({f"{group}/{name}": str(file[group][name].dtype) for group in file for name in file[group]})
    for cell, described in documented.items():
        for name, kind in zip(re.findall(r"`([^`]+)`", cell), re.findall(r"strings|\b[a-z]+\d+\b|bool", described)):
            assert kind in (("strings",) if name in columns_of_strings else (types[name],)), (name, kind)


def test_the_checksums_are_what_is_documented(tmp_path: Path) -> None:
    path = samples.sample_cache(tmp_path / "cache.h5")
    data = path.read_bytes()
    assert f'"sha256":"{hashlib.sha256(data[512:]).hexdigest()}"}}'.encode() in data[:512]
    with h5py.File(path, "r") as file:
        video = file["video"]
        a, b = video["row_offsets"][2:4]
        numbers = [video[name][2] for name in ("duration", "annotated_duration", "recovered")]
        whole = b"".join(
            [
                video["features"][a:b].tobytes(),
                video["times"][a:b].tobytes(),
                struct.pack("<3d", *numbers),
                b"\1" if video["padded"][2] else b"\0",
                b"pyav 1\0",
                b"video-02",
            ]
        )
        assert hashlib.sha256(whole).digest() == video["sha256"][2].tobytes()
        text = file["text"]
        a, b = text["token_offsets"][1:3]
        words = b"someone opens the fridge"
        assert hashlib.sha256(text["features"][a:b].tobytes() + words).digest() == text["sha256"][1].tobytes()
        windows = file["query/windows"]
        assert hashlib.sha256(windows[:].tobytes()).hexdigest().encode() == windows.attrs["sha256"]
