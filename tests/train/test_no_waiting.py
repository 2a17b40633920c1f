"""A training step asks the device for nothing: no number, and no shape that depends on one.

Without a GPU at hand the questions themselves are counted: every operation that would have to wait for a device raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rdmf.config import Config
from rdmf.model import build_model
from rdmf.store import open_cache
from rdmf.train import matcher
from rdmf.train.assignment import assign
from rdmf.train.data import Split
from rdmf.train.loop import parameter_groups
from rdmf.train.optimizer import AdamW
from rdmf.train.schedule import Average
from rdmf.train.step import Step

CPU = torch.device("cpu")
MODELS = ("rdmf", "moment-detr", "qd-detr", "cg-detr", "univtg")


class Questions(TorchDispatchMode):
    """Raises where an operation's result, or its shape, would have to come from the device first."""

    ASKING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal", "bincount")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        chosen_by_mask = name.startswith(("index", "_index")) and any(
            isinstance(i, torch.Tensor) and i.dtype == torch.bool
            for part in args
            if isinstance(part, (list, tuple))
            for i in part
        )
        if (
            any(name.startswith(asking) for asking in self.ASKING)
            or chosen_by_mask
            or str(func) == ("aten.repeat_interleave.Tensor")
        ):
            raise AssertionError(f"the device is asked: {func}")
        return func(*args, **(kwargs or {}))


@contextmanager
def unasked(monkeypatch: pytest.MonkeyPatch, host: torch.Tensor | None) -> Iterator[None]:
    """No question to the device; `host` lies on the host whatever the device."""

    def numpy(self: torch.Tensor, *args: Any, **options: Any) -> Any:
        if host is None or self.data_ptr() != host.data_ptr():
            raise AssertionError("the device is asked for an array")
        return whole(self, *args, **options)

    def never(self: torch.Tensor, *_: Any) -> Any:
        raise AssertionError("the device is asked for numbers")

    whole = torch.Tensor.numpy
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "numpy", numpy)
        for name in ("tolist", "cpu"):
            patch.setattr(torch.Tensor, name, never)
        # scipy is for the CPU; a device takes the other way.
        patch.setattr(matcher, "match_on_host", assign)
        with Questions():
            yield


def make_step(name: str, split: Split, tiny: dict[str, Any], **more: Any) -> Step:
    own = {} if name == "rdmf" else {f"{name.replace('-', '_')}.heads": 2, f"{name.replace('-', '_')}.feedforward": 32}
    settings = {**tiny, "model.name": name, "dropout": 0.1, "input_dropout": 0.1, "warp": 0.2, "noise": 0.1}
    config = Config().updated({**settings, **own, **more})
    torch.manual_seed(0)
    model = build_model(config, split.rows.shape[1], split.tokens.shape[1]).train()
    optimizer = AdamW(parameter_groups(model, config), lr=1e-3, fused=True)
    return Step(model, optimizer, Average(model, 0.9), config)


class AskingBackwards(torch.autograd.Function):
    """The identity, whose gradient is looked at."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] if bool(gradients[0].any()) else None


@pytest.mark.parametrize(
    ("name", "rated", "more"),
    [*((name, rated, {}) for name in MODELS for rated in (False, True)), ("rdmf", False, {"model.cuts": 0.5})],
)
def test_a_step_asks_for_nothing(
    name: str,
    rated: bool,
    more: dict[str, Any],
    build_cache: Callable[..., Path],
    tiny: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open_cache(build_cache(tmp_path / "cache.h5", train=6, test=0, annotators=3 if rated else 0)) as cache:
        split = Split.load(cache, cache.select("train"), device=CPU)
    windows = torch.tensor([[0.1, 0.3], [0.5, 0.6]])
    split.windows, split.window_mask = windows.expand(len(split), 2, 2), torch.ones(len(split), 2, dtype=torch.bool)
    split.sizes[:, 2] = 2
    step = make_step(name, split, tiny, **more)
    batches = [split.batch(which) for which in split.batches(4)]
    before = [p.detach().clone() for p in step.parameters]
    step(*batches[0], 1e-3)
    batch, targets = batches[1]
    with unasked(monkeypatch, batch.source):
        parts = step(batch, targets, 1e-3)
    assert all(torch.isfinite(value) for value in parts.values())
    assert any(not old.equal(new) for old, new in zip(before, step.parameters, strict=True))


def test_forming_a_batch_asks_for_nothing(cache_path: Path) -> None:
    with open_cache(cache_path) as cache:
        split = Split.load(cache, cache.select("train"), device=CPU)
    order = list(split.batches(8, torch.Generator().manual_seed(0)))
    with Questions():  # `which` and the sizes lie on the host, so their arrays may be read
        batch, _ = split.batch(order[0])
    assert batch.video.shape[0] == 8


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: bool(x.sum()),
        lambda x: float(x.sum()),
        lambda x: int(x.argmax()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x.masked_select(x > 0),
        lambda x: x.repeat_interleave(x.long().abs()),
        lambda x: x.index_put_((x > 0,), torch.zeros(())),
        lambda x: AskingBackwards.apply(x.requires_grad_()).sum().backward(),
    ],
)
def test_the_guard_hears_every_question(ask: Callable[[torch.Tensor], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.tensor([1.0, -2.0, 3.0])
    with pytest.raises(AssertionError, match="the device is asked"), unasked(monkeypatch, None):
        ask(x)
