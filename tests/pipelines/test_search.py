"""benchmarks/search.py: every model meets the same trials, the budget stays equal, and nothing is run twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from benchmark_scripts import load_script

from rdmf.config import load_config
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
    seen = fake(search, monkeypatch, lambda settings: 100 * settings.get("model.dropout", 0.9))
    search.run("univtg", "joined", caches, tmp_path / "out", 4, seed=0)
    dropouts = sorted((draw["model.dropout"] for draw in search.drawn(4)), reverse=True)
    assert [sum(name == cache.stem for name, _ in seen) for cache in caches] == [4, 2, 1]
    assert {settings.get("model.dropout", "preset") for name, settings in seen if name == "b"} == {
        "preset",
        dropouts[0],
    }
    assert seen[-1] == ("c", {"model.name": "univtg"})
    capsys.readouterr()
    search.table(tmp_path / "out")
    said = capsys.readouterr().out
    assert "| 0 | 3 | 90.0 | 90.0 | 90.0 | 90.0 | **90.0** | the preset |" in said
    assert said.count("**") == 2


def test_what_is_there_is_not_run_again(search: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    caches = [tmp_path / "a.h5", tmp_path / "b.h5"]
    seen = fake(search, monkeypatch, lambda settings: settings.get("train.lr", 0.0))
    search.run("qd-detr", "salads50", caches, tmp_path / "out", 5, seed=0)
    first = list(seen)
    path = tmp_path / "out" / "salads50-qd-detr.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:3]) + "\n")  # cut off after three runs
    seen.clear()
    search.run("qd-detr", "salads50", caches, tmp_path / "out", 5, seed=0)
    assert seen == first[3:]
    assert path.read_text().splitlines() == lines
    assert all(json.loads(line)["seed"] == 0 for line in lines)
