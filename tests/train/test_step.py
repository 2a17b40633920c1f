"""One step: padding to few shapes, compiled code, clipping, the running average."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rdmf.config import Config
from rdmf.model import build_model
from rdmf.store import open_cache
from rdmf.train import step as step_module
from rdmf.train import train
from rdmf.train.data import Split
from rdmf.train.schedule import Average
from rdmf.train.step import Step, bucket_size


@pytest.fixture(scope="module")
def split(cache_path: Path) -> Iterator[Split]:
    with open_cache(cache_path) as cache:
        yield Split.load(cache, cache.select("train"), device=torch.device("cpu"))


def make_step(split: Split, settings: dict[str, Any], average: float = 0.0) -> Step:
    config = Config().updated(settings)
    torch.manual_seed(0)
    model = build_model(config, split.rows.shape[1], split.tokens.shape[1]).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return Step(model, optimizer, Average(model, average) if average else None, config)


def steps(step: Step, split: Split, count: int, multiple: int = 0) -> list[dict[str, float]]:
    told = []
    for which in list(split.batches(8, torch.Generator().manual_seed(1)))[:count]:
        torch.manual_seed(3)
        parts = step(*split.batch(which, split.shape(which, multiple)), 0.05)
        told.append({name: float(value) for name, value in parts.items()})
    return told


def test_shapes_are_few_and_padding_changes_no_loss(split: Split, tiny: dict[str, Any]) -> None:
    order = list(split.batches(4, torch.Generator().manual_seed(1)))
    plain, rounded = ([split.shape(which, multiple) for which in order] for multiple in (0, 8))
    assert len(set(rounded)) < len(set(plain))
    assert all(shape[0] % 8 == shape[1] % 8 == 0 for shape in rounded)
    for which, shape in zip(order, plain, strict=True):
        assert split.batch(which)[0].video.shape[:2] == (4, shape[0])
        assert split.batch(which)[1].windows.shape == (4, shape[2], 2)
    batch, targets = split.batch(order[0], (32, 16, 3))
    assert (batch.video.shape[1], batch.edges.shape[1], batch.text.shape[1]) == (32, 33, 16)
    assert (targets.saliency.shape[1], targets.windows.shape[1]) == (32, 1)  # there are no more than one in this cache
    assert not batch.video[~batch.video_mask].any()
    assert not batch.text[~batch.text_mask].any()
    exact, padded = (steps(make_step(split, tiny), split, 3, multiple) for multiple in (0, 8))
    for one, two in zip(exact, padded, strict=True):
        assert one == pytest.approx(two, rel=1e-4, abs=1e-6)


@pytest.mark.long
def test_a_bucketed_run_learns_and_goes_on_where_it_stopped(
    cache_path: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"overrides": {**tiny, "bucket": 8, "dropout": 0.1}, "quiet": True}
    whole = train(cache_path, tmp_path / "whole", **options)
    part = train(cache_path, tmp_path / "part", **options, stop_after=1)
    train(cache_path, part, **options, resume=True)
    assert (whole / "last.safetensors").read_bytes() == (part / "last.safetensors").read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("name", ["moment-detr", "rdmf", "qd-detr", "univtg"])
def test_compiled_code_gives_the_same_losses(
    name: str, split: Split, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced and differentiated as for a GPU, but run by PyTorch: generating code takes minutes on a slow machine."""
    monkeypatch.setattr(step_module, "BACKEND", "aot_eager")
    own = {} if name == "rdmf" else {f"{name.replace('-', '_')}.heads": 2, f"{name.replace('-', '_')}.feedforward": 32}
    settings = {**tiny, "model.name": name, **own}
    plain = steps(make_step(split, settings), split, 2, 16)
    torch._dynamo.reset()
    compiled = make_step(split, {**settings, "compile": True})
    assert bucket_size(compiled.config) == 16
    for one, two in zip(plain, steps(compiled, split, 2, 16), strict=True):
        assert one == pytest.approx(two, rel=1e-3, abs=1e-5)
    torch._dynamo.reset()


def test_the_gradients_norm_is_limited(split: Split, tiny: dict[str, Any]) -> None:
    for limit in (0.0, 0.25):
        step = make_step(split, {**tiny, "clip_norm": limit})
        before = [p.detach().clone() for p in step.parameters]
        step(*split.batch(torch.arange(6)), 1.0)
        moved = torch.cat([(p - q).detach().flatten() for p, q in zip(step.parameters, before, strict=True)])
        assert (float(moved.norm()) <= 0.2501) == bool(limit)


def test_the_average_is_updated(split: Split, tiny: dict[str, Any]) -> None:
    step = make_step(split, tiny, average=0.9)
    assert step.average is not None
    before = {k: v.clone() for k, v in step.average.values.items()}
    step(*split.batch(torch.arange(6)), 0.1)
    state = step.model.state_dict()
    for name, value in step.average.values.items():
        decay = min(0.9, 2 / 11)
        torch.testing.assert_close(value, decay * before[name] + (1 - decay) * state[name])
