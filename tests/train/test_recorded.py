"""Recorded steps: without a GPU the graph is the work itself, done again at every replay.

What a graph cannot do is thereby not tested, but what is fed to it is: the slots that are overwritten, the shapes, the
sums. On a GPU the graphs themselves are tested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rdmf.config import Config
from rdmf.model import build_model
from rdmf.store import open_cache
from rdmf.train import loop, train
from rdmf.train.data import Split
from rdmf.train.loop import parameter_groups
from rdmf.train.optimizer import AdamW
from rdmf.train.recorded import SIGHTS, RecordedStep, Replay
from rdmf.train.schedule import Average
from rdmf.train.step import Step

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: no graph is recorded")


@pytest.fixture(scope="module")
def split(cache_path: Path) -> Iterator[Split]:
    with open_cache(cache_path) as cache:
        yield Split.load(cache, cache.select("train"), device=torch.device("cpu"))


def make_step(split: Split, tiny: dict[str, Any], *, amp: torch.dtype | None = None, **more: Any) -> Step:
    config = Config().updated({**tiny, **more})
    torch.manual_seed(0)
    model = build_model(config, split.rows.shape[1], split.tokens.shape[1]).to(split.rows.device).train()
    # So large an epsilon that gradients which are nothing but rounding move nothing.
    optimizer = AdamW(parameter_groups(model, config), lr=1e-3, eps=1e-3, fused=True)
    return Step(model, optimizer, Average(model, 0.9), config, amp=amp)


def at_once(work: Replay) -> Replay:
    """Recording does nothing yet; every replay does the work."""
    return work


def test_replays_learn_what_plain_steps_learn(split: Split, tiny: dict[str, Any]) -> None:
    order = [which for seed in range(3) for which in split.batches(8, torch.Generator().manual_seed(seed))]
    rates = [1e-3 * (i + 1) / len(order) for i in range(len(order))]
    plain, told = make_step(split, tiny), []
    for which, rate in zip(order, rates, strict=True):
        torch.manual_seed(7)
        told.append(plain(*split.batch(which, split.shape(which, halved=True)), rate))
    recorded = RecordedStep(make_step(split, tiny), split, record=at_once)
    for which, rate in zip(order, rates, strict=True):
        torch.manual_seed(7)
        recorded(which, rate)
    assert recorded.recordings, "no shape came often enough"
    assert sum(recorded.sights.values()) < len(order)
    assert all(count <= SIGHTS for count in recorded.sights.values())
    for ours, right in zip(recorded.step.parameters, plain.parameters, strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-4, atol=1e-6)
    assert plain.average is not None
    assert recorded.step.average is not None
    assert recorded.step.average.steps == plain.average.steps == len(order)
    for name, value in plain.average.values.items():
        torch.testing.assert_close(recorded.step.average.values[name], value, rtol=1e-4, atol=1e-6)
    means = recorded.means(len(order))
    assert means == pytest.approx({k: float(sum(t[k] for t in told)) / len(order) for k in told[0]}, rel=1e-3)
    assert set(recorded.means(1).values()) == {0.0}, "an epoch's sums must not go on into the next"


@pytest.mark.long
def test_places_that_a_model_wants_to_know_are_part_of_the_shape(split: Split, tiny: dict[str, Any]) -> None:
    """CG-DETR reads the videos whose next sample is about another one: how many differs from batch to batch."""
    settings = {**tiny, "model.name": "cg-detr", "cg_detr.heads": 2, "cg_detr.feedforward": 32}
    order = [which for seed in range(3) for which in split.batches(4, torch.Generator().manual_seed(seed))]
    plain, recorded = make_step(split, settings), RecordedStep(make_step(split, settings), split, record=at_once)
    for which in order:
        torch.manual_seed(7)
        plain(*split.batch(which, split.shape(which, halved=True)), 1e-3)
        torch.manual_seed(7)
        recorded(which, 1e-3)
    assert recorded.recordings
    found = {len(recorded.step.model.arranged(split.source[which])[0]) for which in order}
    assert len({key[-2] for key in recorded.sights}) == len(found) > 1
    for ours, right in zip(recorded.step.parameters, plain.parameters, strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-4, atol=1e-5)


def test_a_step_that_cannot_be_recorded_is_launched(split: Split, tiny: dict[str, Any]) -> None:
    def never(work: Replay) -> Replay:
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    recorded = RecordedStep(make_step(split, tiny), split, record=never)
    which = torch.arange(6)
    for _ in range(SIGHTS):
        recorded(which, 1e-3)
    with pytest.warns(RuntimeWarning, match="operation not permitted when stream is capturing"):
        recorded(which, 1e-3)
    recorded(which, 1e-3)
    assert not recorded.recordings
    assert recorded.sights.total() == SIGHTS + 2


def test_shapes_are_halves_of_the_longest(split: Split) -> None:
    clips, words, _ = split.sizes.max(0).tolist()
    shapes = {split.shape(torch.tensor([i]), halved=True) for i in range(len(split))}
    assert len(shapes) <= 6
    for i in range(len(split)):
        length, tokens, windows = split.shape(torch.tensor([i]), halved=True)
        assert split.sizes[i, 0] <= length <= clips
        assert split.sizes[i, 1] <= tokens <= words
        assert windows == split.windows.shape[1]
        assert length == clips or length < 2 * split.sizes[i, 0] + 1


@pytest.mark.long
def test_a_run_with_recorded_steps_goes_on_where_it_stopped_and_any_device_can_take_it_over(
    cache_path: Path, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"overrides": {**tiny, "dropout": 0.1}, "quiet": True}
    with monkeypatch.context() as patch:
        patch.setattr(loop, "recorded_on", lambda *_: True)
        patch.setattr(loop, "RecordedStep", lambda step, data, bucket: RecordedStep(step, data, record=at_once))
        whole = train(cache_path, tmp_path / "whole", **options)
        part = train(cache_path, tmp_path / "part", **options, stop_after=1)
        other = train(cache_path, tmp_path / "other", **options, stop_after=1)
        train(cache_path, part, **options, resume=True)
    assert (whole / "last.safetensors").read_bytes() == (part / "last.safetensors").read_bytes()
    train(cache_path, other, **options, resume=True)
    assert len((other / "metrics.jsonl").read_text().splitlines()) == 2


@needs_gpu
@pytest.mark.parametrize("name", ["rdmf", "moment-detr", "qd-detr", "cg-detr", "univtg"])
@pytest.mark.parametrize("amp", [None, torch.bfloat16])
def test_graphs_learn_what_launches_learn(
    name: str, amp: torch.dtype | None, build_cache: Callable[..., Path], tiny: dict[str, Any], tmp_path: Path
) -> None:
    with open_cache(build_cache(tmp_path / "cache.h5", train=12, test=0)) as cache:
        split = Split.load(cache, cache.select("train"), device=torch.device("cuda"))
    own = {} if name == "rdmf" else {f"{name.replace('-', '_')}.heads": 2, f"{name.replace('-', '_')}.feedforward": 32}
    settings = {**tiny, "model.name": name, **own}
    order = [which for seed in range(6) for which in split.batches(8, torch.Generator().manual_seed(seed))]
    plain = make_step(split, settings, amp=amp)
    recorded = RecordedStep(make_step(split, settings, amp=amp), split)
    for i, which in enumerate(order):
        torch.manual_seed(i)
        plain(*split.batch(which, split.shape(which, halved=True)), 1e-3)
        torch.manual_seed(i)
        recorded(which, 1e-3)
    assert recorded.recordings
    assert recorded.willing
    tolerance = 1e-3 if amp is None else 3e-2
    for ours, right in zip(recorded.step.parameters, plain.parameters, strict=True):
        torch.testing.assert_close(ours, right, rtol=tolerance, atol=tolerance)
