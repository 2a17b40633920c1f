"""benchmarks/search.py: every model meets the same trials, the budget stays equal, and nothing is run twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from benchmark_scripts import BENCHMARKS, load_script

from rdmf.config import load_config
from rdmf.store import InputError
from rdmf_pipelines.presets import preset_for

MODELS = ("rdmf", "moment-detr", "qd-detr", "cg-detr", "univtg")


@pytest.fixture(scope="module")
def search() -> ModuleType:
    return load_script("search")


def fake(search: ModuleType, monkeypatch: pytest.MonkeyPatch, score: Any) -> list[tuple[str, dict[str, Any]]]:
    """Runs, instead of trainings: (name of the cache, settings) of each, in order."""
    seen: list[tuple[str, dict[str, Any]]] = []

    def trial(caches: list[Path], preset: str | None, settings: dict[str, Any], seed: int) -> dict[str, float]:
        assert preset is not None
        seen.append((caches[0].stem, settings))
        return dict.fromkeys(search.COLUMNS, score(settings))

    monkeypatch.setattr(search, "trial", trial)
    return seen


@pytest.mark.parametrize("trials", [2, 8, 16])
def test_every_value_of_a_setting_comes_up_equally_often(search: ModuleType, trials: int) -> None:
    draws = search.drawn(trials)
    assert len(draws) == trials - 1
    assert draws == search.drawn(trials)
    for name, values in search.SPREAD.items():
        counts = Counter(draw[name] for draw in draws)
        assert set(counts) <= set(values)
        assert max(counts.values()) - min(counts.get(value, 0) for value in values) <= 1


@pytest.mark.parametrize("dataset", ["joined", "salads50"])
@pytest.mark.parametrize("model", MODELS)
def test_trials_are_the_models_own_settings_and_leave_the_budget(search: ModuleType, model: str, dataset: str) -> None:
    preset = preset_for(dataset, model)
    base = load_config(preset)
    for draw in search.drawn(8):
        config = load_config(preset, overrides=search.settings_for(model, preset, draw))
        assert config.model.name == model
        assert config.train.epochs == base.train.epochs
        assert config.model.hidden == base.model.hidden
        assert config.train.lr == pytest.approx(base.train.lr * draw["rate"])
        assert config.train.batch == base.train.batch * draw["batch"]
        own = config.data if model == "rdmf" else getattr(config, model.replace("-", "_"))
        assert own.normalize == bool(draw["unit"])
    assert load_config(preset, overrides=search.settings_for(model, preset, None)) == base


def test_the_better_half_goes_on_to_the_next_cache(
    search: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    caches = [tmp_path / f"{name}.h5" for name in "abc"]
    preset = search.settings_for("univtg", "joined-univtg", None)
    seen = fake(search, monkeypatch, lambda settings: 90 if settings == preset else 100 * settings["model.dropout"])
    search.run("univtg", "joined", caches, tmp_path / "out", 4, seed=0)
    dropout = max(draw["model.dropout"] for draw in search.drawn(4))
    assert [sum(name == cache.stem for name, _ in seen) for cache in caches] == [4, 2, 1]
    second = [settings for name, settings in seen if name == "b"]
    assert second[0] == preset
    assert second[1]["model.dropout"] == dropout
    assert seen[-1] == ("c", preset)
    capsys.readouterr()
    search.table(tmp_path / "out")
    said = capsys.readouterr().out
    assert "| **0** | 3 | 90.0 | 90.0 | 90.0 | 90.0 | 90.0 | lr 0.001, " in said
    assert said.count("**") == 2


@pytest.mark.parametrize("cut", [3, 6])
def test_what_is_there_is_not_run_again_nor_mixed_with_other_trials(
    search: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cut: int
) -> None:
    caches = [tmp_path / "a.h5", tmp_path / "b.h5"]
    # The second cache is the harder one: who was seen there before the cut must not fall behind for it.
    seen = fake(search, monkeypatch, lambda settings: settings["train.lr"] if seen[-1][0] == "a" else 0.0)
    search.run("qd-detr", "salads50", caches, tmp_path / "out", 5, seed=0)
    first = list(seen)
    path = tmp_path / "out" / "salads50-qd-detr.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:cut]) + "\n")
    seen.clear()
    search.run("qd-detr", "salads50", caches, tmp_path / "out", 5, seed=0)
    assert seen == first[cut:]
    assert path.read_text().splitlines() == lines
    seen.clear()
    for trials, seed in ((6, 0), (5, 1)):
        with pytest.raises(InputError, match="name another --out"):
            search.run("qd-detr", "salads50", caches, tmp_path / "out", trials, seed=seed)
    assert (seen, path.read_text().splitlines()) == ([], lines)


def test_further_seeds_of_some_trials_tell_them_apart(
    search: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, cache = tmp_path / "out", tmp_path / "a.h5"
    fourth = search.settings_for("cg-detr", "salads50-cg-detr", search.drawn(5)[3])
    luck = [90.0]  # the first run of trial 4 alone
    seen = fake(search, monkeypatch, lambda settings: (luck.pop() if luck else 5.0) if settings == fourth else 20.0)
    lines = out / "salads50-cg-detr.jsonl"

    def chosen() -> int:
        return int(search.adopted([json.loads(line) for line in lines.read_text().splitlines()]))

    search.run("cg-detr", "salads50", [cache], out, 5, seed=0)
    assert chosen() == 4
    for seed in (1, 2, 3, 4, 4):
        search.run("cg-detr", "salads50", [cache], out, 5, seed=seed, only=[0, 4])
    assert len(seen) == 5 + 2 * 4
    assert chosen() == 4  # 22 from 20
    search.run("cg-detr", "salads50", [cache], out, 5, seed=5, only=[0, 4])
    assert chosen() == 0
    search.run("cg-detr", "salads50", [cache], out, 5, seed=0)
    assert len(seen) == 5 + 2 * 5
    capsys.readouterr()
    search.table(out)
    assert "| 4 | 6 | 19.2 |" in capsys.readouterr().out
    with pytest.raises(InputError, match="trials 0 to 4"):
        search.run("cg-detr", "salads50", [cache], out, 5, seed=5, only=[5])


@pytest.mark.parametrize(("gain", "chosen"), [(0.0, 0), (1.0, 0), (1.5, 2)])
def test_a_trial_is_adopted_where_it_is_more_than_the_margin_better(
    search: ModuleType, gain: float, chosen: int
) -> None:
    scores = {("a", 0): 50.0, ("a", 1): 90.0, ("a", 2): 50.0, ("b", 0): 40.0, ("b", 2): 40.0 + 2 * gain}
    lines = [
        {"trial": at, "cache": cache, "scores": dict.fromkeys(search.COLUMNS, score)}
        for (cache, at), score in scores.items()
    ]
    assert search.adopted(lines) == chosen  # trial 1, which did not see the second cache, is no candidate


@pytest.mark.parametrize("path", sorted((BENCHMARKS.parent / "docs" / "trials").glob("*.jsonl")), ids=lambda p: p.stem)
def test_presets_are_what_their_trials_chose(search: ModuleType, path: Path) -> None:
    dataset, _, model = path.stem.partition("-")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    chosen = next(line["settings"] for line in lines if line["trial"] == search.adopted(lines))
    assert search.settings_for(model, preset_for(dataset, model), None) == pytest.approx(chosen)
