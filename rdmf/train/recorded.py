"""A training step recorded once for each shape as a CUDA graph, and replayed: one launch instead of two thousand.

At these sizes a GPU is done with an operation before the next one can be launched from Python, so a step that is
launched operation by operation takes what launching takes. Everything that a step does, from gathering the batch to the
running average, is one graph here; what changes from step to step (which queries, the learning rate, the average's
share) lies in small tensors that are overwritten before each replay. Losses are summed on the device, and asked for
once an epoch.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from rdmf.train.data import Shape, Split
from rdmf.train.step import Step

#: A shape is recorded when it comes for the third time: the first steps set up what must not be set up in a graph, and
#: what comes so seldom is not worth it.
SIGHTS = 2
#: Graphs kept at most; further shapes are launched operation by operation.
MOST = 64

#: Runs the work it is given once it is called; `recorder` gives one that replays a graph.
Replay = Callable[[], None]
Key = tuple[int, ...]


class RecordedStep:
    """Steps of a model on a split, recorded where their shape comes often.

    Args:
        step: what is done with a batch; its optimizer's learning rate becomes a tensor.
        data: the split, on the model's device.
        bucket: as `train.bucket`; 0: halves, quarters, ... of the longest, so that there are few graphs.
        record: turns work into a replay; default: `recorder` on a GPU.
    """

    def __init__(
        self, step: Step, data: Split, *, bucket: int = 0, record: Callable[[Replay], Replay] | None = None
    ) -> None:
        self.step, self.data, self.bucket = step, data, bucket
        self.device = step.device
        self.rate, self.share = (torch.zeros((), device=self.device) for _ in range(2))
        self.stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self.record = record or recorder(self.stream)
        self.names: list[str] = []
        self.sums = torch.zeros(0, device=self.device)
        self.sights: Counter[Key] = Counter()
        self.recordings: dict[Key, tuple[list[Tensor], Replay]] = {}
        self.willing = True
        for group in step.optimizer.param_groups:
            group["lr"] = self.rate
            if self.device.type == "cuda":
                group["capturable"] = True

    def __call__(self, which: Tensor, rate: float) -> None:
        """Learn from the queries `which` (B,) int64, on the host, at a learning rate."""
        shape = self.data.shape(which, self.bucket, halved=not self.bucket)
        given = (which, *self.step.model.arranged(self.data.source[which]))
        key = (*shape, *(len(part) for part in given))
        self.rate.fill_(rate)
        if self.step.average:
            self.share.fill_(self.step.average.next_share())
        if key not in self.recordings and self._worth(key):
            self._try(key, shape, given)
        if key in self.recordings:
            slots, replay = self.recordings[key]
            for slot, part in zip(slots, given, strict=True):
                slot.copy_(part, non_blocking=True)
            replay()
            return
        self.sights[key] += 1
        with self._beside():
            self._work([part.to(self.device, non_blocking=True) for part in given], shape)

    def means(self, steps: int) -> dict[str, float]:
        """The losses of the last `steps` steps, averaged; the device is waited for."""
        found = dict(zip(self.names, (self.sums / max(steps, 1)).tolist()))
        self.sums.zero_()
        return found

    def _worth(self, key: Key) -> bool:
        return self.willing and self.sights[key] >= SIGHTS and len(self.recordings) < MOST

    def _try(self, key: Key, shape: Shape, given: Sequence[Tensor]) -> None:
        slots = [part.to(self.device, copy=True) for part in given]
        try:
            self.recordings[key] = slots, self.record(lambda: self._work(slots, shape))
        except RuntimeError as error:
            self.willing = False
            why = str(error).strip().splitlines()[0]
            warnings.warn(
                f"the training step cannot be recorded as a CUDA graph and goes on slower without ({why}); "
                "--set train.graphs=off spares the attempt",
                RuntimeWarning,
                stacklevel=3,
            )

    def _work(self, given: Sequence[Tensor], shape: Shape) -> None:
        which, *arranged = given
        batch, targets = self.data.batch(which, shape)
        batch = dataclasses.replace(batch, source=tuple(arranged))
        parts = self.step(batch, targets, self.rate, len(which), share=self.share)
        if not self.names:
            self.names = list(parts)
            self.sums = torch.zeros(len(parts), device=self.device)
        self.sums += torch.stack([parts[name].float() for name in self.names])

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """On the stream on which graphs are recorded, in turn with what comes before and after on the usual one:
        nothing that the first steps leave behind then belongs to another."""
        if self.stream is None:
            yield
            return
        usual = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(usual)
        with torch.cuda.stream(self.stream):
            yield
        usual.wait_stream(self.stream)


def recorder(stream: torch.cuda.Stream | None) -> Callable[[Replay], Replay]:
    """What turns work into the replay of a CUDA graph; graphs share their memory, for they never run side by side."""
    pool: list[Any] = []

    def record(work: Replay) -> Replay:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool[0] if pool else None, stream=stream):
            work()
        pool[:] = [graph.pool()]
        replay: Replay = graph.replay
        return replay

    return record
