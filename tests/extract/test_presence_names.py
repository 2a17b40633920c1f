"""The folder of parts, listed while another run takes it away and makes it anew."""

from __future__ import annotations

import threading
from pathlib import Path

from rdmf_extract.presence import Presence, names_in


def test_a_folder_that_comes_and_goes_is_listed_as_it_is(tmp_path: Path) -> None:
    folder, end = tmp_path / "f.parts", threading.Event()

    def come_and_go() -> None:
        while not end.is_set():
            folder.mkdir()
            (folder / "a.run").touch()
            (folder / "a.run").unlink()
            folder.rmdir()

    run = Presence(folder, {})
    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        seen = [frozenset(names_in(folder, ".run", ".partial")) for _ in range(3000)]
        others = [tuple(other.name for other in run.others()) for _ in range(3000)]
    finally:
        end.set()
        thread.join()
    assert set(seen) <= {frozenset(), frozenset({"a.run"})}
    assert set(others) <= {(), ("a",)}


def test_names_are_told_apart_by_their_endings(tmp_path: Path) -> None:
    for name in ("a.run", "b.partial", "c.h5", ".lock"):
        (tmp_path / name).touch()
    assert names_in(tmp_path, ".run") == {"a.run"}
    assert names_in(tmp_path, ".partial", ".lock") == {"b.partial", ".lock"}
