"""benchmarks/footage_folds.py: what is watched shares no footage with what is learnt from, and keeps its labels."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from benchmark_scripts import load_script

from rdmf.store import Provenance, QueryRecord, TextRecord, VideoRecord, open_cache, write_cache

KINDS = ("run", "jump", "wave")
CALM, DIM = 12, 48


@pytest.fixture(scope="module")
def folds() -> ModuleType:
    return load_script("footage_folds")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Footage f is the unit vector f: 36 moments, 12 of a kind and all different, among 12 calm scenes seen again and
    again."""
    rng = np.random.default_rng(0)
    unit = np.eye(DIM, dtype=np.float32)
    videos, queries = [], []
    for number in range(36):
        kind, moment = KINDS[number % 3], CALM + number
        scenes = [int(rng.integers(CALM)) for _ in range(4)]
        order = [*[scenes[0]] * 5, *[scenes[1]] * 3, *[moment] * 4, *[scenes[2]] * 5, *[scenes[3]] * 3]
        starts = np.arange(len(order), dtype=float)
        vid = f"v{number}"
        videos.append(VideoRecord(vid, unit[order], np.stack((starts, starts + 1), 1), float(len(order))))
        text = f"somebody does {kind}"
        queries.append(QueryRecord(number, vid, text, "train", windows=((8.25, 11.75),), kind=kind))
    texts = [TextRecord(f"somebody does {kind}", np.ones((3, 4), np.float32)) for kind in KINDS]
    made = Provenance(video={"encoder": "unit vectors", "dim": DIM}, text={"encoder": "ones", "dim": 4})
    return write_cache(tmp_path_factory.mktemp("footage") / "all.h5", made, videos, texts, queries)


def test_watched_footage_is_never_learnt(
    folds: ModuleType, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["footage_folds", str(cache), "--folds", "3", "--out", str(tmp_path / "f")])
    folds.main()
    watched_anywhere = set()
    for fold in range(3):
        with open_cache(tmp_path / f"f{fold}.h5") as made:
            shown: dict[str, set[int]] = {"learn": set(), "watch": set()}
            for split, found in shown.items():
                queries = made.query_records(split)
                assert queries
                for query in queries:
                    features, times = made.video(query.vid)
                    footage = features.argmax(1)
                    found.update(footage.tolist())
                    middle = times.mean(1)
                    inside = np.zeros(len(middle), dtype=bool)
                    for start, end in query.windows:
                        assert 0 <= start < end <= times[-1, 1]
                        inside |= (middle >= start) & (middle < end)
                    # A quarter into the first clip, three into the last: where they were.
                    assert all((start % 1, end % 1) == (0.25, 0.75) for start, end in query.windows)
                    kinds = {KINDS[(f - CALM) % 3] if f >= CALM else "" for f in footage[inside].tolist()}
                    assert kinds == {query.kind}
                    elsewhere = {KINDS[(f - CALM) % 3] for f in footage[~inside].tolist() if f >= CALM}
                    assert query.kind not in elsewhere
            assert not shown["learn"] & shown["watch"]
            watched_anywhere |= shown["watch"]
    assert watched_anywhere == set(range(CALM + 36))
