"""Runs in one folder: who is alive, who has what, and what becomes of a dead run's work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rdmf_extract import presence as presence_module
from rdmf_extract.claims import Claims
from rdmf_extract.presence import STALE_SECONDS, Presence, Run, machine, started


def foreign(folder: Path, name: str = "far-1-00000000", *, age: float = 0.0, **card: object) -> Path:
    """The file of a run of another machine, last touched `age` seconds ago by the file system's clock."""
    path = folder / f"{name}.run"
    facts = {"host": "far", "machine": "far away", "pid": 1, "started": "7", "facts": {}, **card}
    path.write_text(json.dumps(facts))
    now = path.stat().st_mtime
    os.utime(path, (now - age, now - age))
    return path


def claim_of(folder: Path, name: str, run: str) -> Path:
    path = folder / f"{name}.claim"
    path.write_text(json.dumps({"run": run, "host": "far", "pid": 1}))
    return path


def test_a_run_has_a_file_while_it_is_at_work(tmp_path):
    with Presence(tmp_path / "parts", {"fingerprint": "abc"}) as mine, Presence(tmp_path / "parts", {}) as other:
        (seen,) = other.others()
        assert (seen.name, seen.pid, seen.facts) == (mine.name, os.getpid(), {"fingerprint": "abc"})
        assert not other.is_dead(seen)
        assert not mine.alone()
        assert str(seen).startswith(f"process {os.getpid()} on ")
    assert list((tmp_path / "parts").iterdir()) == []


def test_a_process_that_was_killed_is_known_to_be_dead_at_once(tmp_path):
    code = "import sys; from pathlib import Path; from rdmf_extract.presence import Presence\n"
    code += "Presence(Path(sys.argv[1]), {}).__enter__(); print('in', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "in\n"
        with Presence(tmp_path, {}) as mine:
            assert mine.bury() == []
            process.kill()
            process.wait()
            assert [run.pid for run in mine.bury()] == [process.pid]
            assert mine.bury() == []
            assert mine.alone()


def test_a_process_id_that_is_in_use_again_is_not_mistaken_for_the_run(tmp_path):
    with Presence(tmp_path, {}) as mine:
        foreign(tmp_path, "here-1-00000000", machine=machine(), pid=os.getpid(), started="long ago")
        assert [run.name for run in mine.bury()] == ["here-1-00000000"]
    assert started(os.getpid()) not in {"", "long ago"}


@pytest.mark.parametrize("skew", [-1e6, 0.0, 1e6])
def test_age_is_told_by_the_file_systems_clock_not_by_this_machines(tmp_path, monkeypatch, skew):
    really = time.time
    monkeypatch.setattr(time, "time", lambda: really() + skew)
    foreign(tmp_path, "far-1-00000001", age=STALE_SECONDS - 60)
    foreign(tmp_path, "far-1-00000002", age=STALE_SECONDS + 60)
    with Presence(tmp_path, {}) as mine:
        assert [run.name for run in mine.bury()] == ["far-1-00000002"]
        assert [run.name for run in mine.others()] == ["far-1-00000001"]


def test_a_dead_run_is_buried_by_one_of_many(tmp_path):
    foreign(tmp_path, age=STALE_SECONDS + 60)
    runs = [Presence(tmp_path, {}) for _ in range(8)]
    for run in runs:
        run.__enter__()
    buried: list[Run] = []
    threads = [threading.Thread(target=lambda run=run: buried.extend(run.bury())) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in runs:
        run.__exit__(None, None, None)
    assert [run.name for run in buried] == ["far-1-00000000"]


def test_a_run_keeps_its_file_fresh_and_makes_it_anew_when_it_was_declared_dead(tmp_path, monkeypatch):
    monkeypatch.setattr(presence_module, "BEAT_SECONDS", 0.02)
    with Presence(tmp_path, {}) as mine:
        path = tmp_path / f"{mine.name}.run"
        os.utime(path, (0, 0))
        while path.stat().st_mtime == 0:
            time.sleep(0.01)
        path.unlink()
        # Between making and writing it is empty for a moment, which others take for a run of unknown host.
        while not (mine.alive() and path.read_bytes()):
            time.sleep(0.01)
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_run_file_that_cannot_be_read_counts_by_its_age(tmp_path):
    (tmp_path / "far-1-00000003.run").write_text("{")
    with Presence(tmp_path, {}) as mine:
        assert mine.bury() == []
        os.utime(tmp_path / "far-1-00000003.run", (0, 0))
        assert [run.name for run in mine.bury()] == ["far-1-00000003"]


def test_a_claim_is_got_by_one_of_many(tmp_path):
    runs = [Presence(tmp_path, {}) for _ in range(8)]
    claims = [Claims(run.__enter__()) for run in runs]
    got: list[tuple[int, str]] = []

    def take(i: int) -> None:
        for work in "abcdefghij":
            if claims[i].take(work):
                got.append((i, work))

    threads = [threading.Thread(target=take, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(work for _, work in got) == list("abcdefghij")
    for claim in claims:
        claim.drop_all()
    for run in runs:
        run.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_live_runs_claim_holds_and_a_dead_ones_is_taken_over(tmp_path):
    with Presence(tmp_path, {}) as mine:
        claims = Claims(mine)
        far = foreign(tmp_path)
        claim_of(tmp_path, "a", "far-1-00000000")
        assert not claims.take("a")
        claims.sweep()
        assert claims.taken() == {"a"}
        far.unlink()
        assert claims.take("a")
        assert claims.take("a")
        assert json.loads((tmp_path / "a.claim").read_text())["run"] == mine.name
        claims.drop("a")
        assert claims.taken() == set()


def test_orphaned_claims_are_swept_away(tmp_path):
    with Presence(tmp_path, {}) as mine:
        claims = Claims(mine)
        assert claims.take("mine")
        foreign(tmp_path)
        claim_of(tmp_path, "theirs", "far-1-00000000")
        claim_of(tmp_path, "nobodys", "gone-1-00000000")
        claims.sweep()
        assert claims.taken() == {"mine", "theirs"}
        assert not list(tmp_path.glob("*.taken"))
        claims.drop_all()


def test_a_claim_whose_writer_died_over_it_is_free_after_a_while(tmp_path):
    (tmp_path / "a.claim").touch()
    with Presence(tmp_path, {}) as mine:
        claims = Claims(mine)
        assert not claims.take("a")
        os.utime(tmp_path / "a.claim", (0, 0))
        assert claims.take("a")
        claims.drop_all()


def test_who_looks_too_late_gives_back_what_another_has_taken_over(tmp_path, monkeypatch):
    """Between the look and the rename a third run took the orphan over: its claim must survive."""
    with Presence(tmp_path, {}) as mine:
        claims = Claims(mine)
        claim_of(tmp_path, "a", "gone-1-00000000")
        foreign(tmp_path)
        look = claims._orphan

        def slow(name: str) -> str | None:
            owner = look(name)
            claim_of(tmp_path, "a", "far-1-00000000")
            return owner

        monkeypatch.setattr(claims, "_orphan", slow)
        assert not claims.take("a")
        assert json.loads((tmp_path / "a.claim").read_text())["run"] == "far-1-00000000"
        assert not list(tmp_path.glob("*.taken"))


def test_dropping_leaves_a_claim_that_was_taken_over_meanwhile(tmp_path):
    with Presence(tmp_path, {}) as mine:
        claims = Claims(mine)
        assert claims.take("a")
        claim_of(tmp_path, "a", "far-1-00000000")  # this run was suspended for long
        claims.drop("a")
        assert (tmp_path / "a.claim").exists()


def test_a_run_whose_folder_went_away_while_it_was_thought_dead_goes_on(tmp_path):
    with Presence(tmp_path / "parts", {}) as mine:
        claims = Claims(mine)
        assert claims.take("a")
        shutil.rmtree(tmp_path / "parts")
        assert mine.alone()
        assert claims.taken() == set()
        claims.drop("a")
        assert claims.take("b")
        assert mine.alive()
        claims.drop_all()
    assert list((tmp_path / "parts").iterdir()) == []
