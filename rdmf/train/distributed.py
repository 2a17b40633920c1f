"""Several processes that train as one: `torchrun --nproc-per-node N -m rdmf_pipelines.cli train ...`.

Each process holds the whole cache and the whole model, and works on its own rows of every batch. What the model says of
them is then gathered, so that every process has the loss of the whole batch before it, and only the gradients with
respect to its own rows go on into its network; summed over the processes they are the gradients of one process with the
same batch, whatever the loss divides by. Weights, metrics and choices are therefore those of one process, to rounding,
and a run may go on with another number of processes. What a *network* compares across the batch (QD-DETR's and
CG-DETR's foreign sentences, and their `head-major` masks) it compares within a process's rows.
"""

from __future__ import annotations

import atexit
import copy
import dataclasses
import functools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rdmf.model.segments import Segments
from rdmf.run import pick_device
from rdmf.store import InputError
from rdmf.train.launch import launched

#: How long one process waits for another before both give up: longer than any evaluation or write takes.
PATIENCE = timedelta(hours=2)
#: How long the others leave the first one to say what went wrong.
FAREWELL_SECONDS = 2

Whole = TypeVar("Whole")


@functools.cache
def join() -> Ranks:
    """This process among those that `torchrun` started; once a process, waiting for the others."""
    if not launched():
        return Ranks()
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    # Words go between the hosts: an NCCL call to say that one fails would wait on the device for one that never comes.
    return Ranks(dist.get_rank(), dist.get_world_size(), dist.new_group(backend="gloo", timeout=PATIENCE))


class Ranks:
    """The processes of a training, seen from one of them. With one process everything is the identity.

    Args:
        rank, size: this process's number, from 0, and how many there are.
        control: the group over which hosts talk.
    """

    def __init__(self, rank: int = 0, size: int = 1, control: Any = None) -> None:
        self.rank, self.size, self.control = rank, size, control
        self._stream: list[Tensor] = []

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device of this process for the setting `train.device`: GPU number LOCAL_RANK where there are several.

        Raises:
            InputError: no such device, or one GPU named for all.
        """
        if self.size > 1 and name.startswith("cuda:"):
            raise InputError(f"train.device={name} would put {self.size} processes on one GPU; use auto, cuda or cpu")
        if self.size > 1 and name in ("auto", "cuda") and (name == "cuda" or torch.cuda.is_available()):
            device = pick_device(f"cuda:{os.environ.get('LOCAL_RANK', self.rank)}")
            torch.cuda.set_device(device)
            return device
        return pick_device(name)

    # Words between hosts.

    def tell(self, value: Whole) -> Whole:
        """The first process's value, in every process."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0, group=self.control)
        return held[0]

    def collect(self, value: Whole) -> list[Whole]:
        """Every process's value, in order."""
        if self.size == 1:
            return [value]
        held: list[Any] = [None] * self.size
        dist.all_gather_object(held, value, group=self.control)
        return held

    @contextmanager
    def together(self) -> Iterator[None]:
        """A part that bad input may end: if it does in any process, it does in all, and the first one says so.

        The part must not hold a collective call behind a place where one process alone may fail.

        Raises:
            InputError, OSError: in the first process, what went wrong there or elsewhere.
            SystemExit: 2, in the others.
        """
        if self.size == 1:
            yield
            return
        caught: Exception | None = None
        try:
            yield
        except (InputError, OSError) as error:
            caught = error
        told = self.collect(None if caught is None else str(caught))
        if all(message is None for message in told):
            return
        if not self.first:
            # Were this process gone first, the launcher would end the one that is about to speak.
            time.sleep(FAREWELL_SECONDS)
            raise SystemExit(2)
        if caught is not None:
            raise caught
        rank = next(r for r, message in enumerate(told) if message is not None)
        raise InputError(f"process {rank}: {told[rank]}")

    def refuse_differences(self, about: Any, what: str) -> None:
        """Refuse to go on where `about` is not the same in every process.

        Raises:
            InputError: it differs.
        """
        told = self.collect(about)
        odd = [rank for rank, other in enumerate(told) if other != told[0]]
        if odd:
            raise InputError(f"processes 0 and {odd[0]} do not have the same {what}")

    # Rows of a batch.

    def rows(self, which: Tensor) -> Tensor:
        """This process's share of a batch's queries (B,): ceil(B / size), in order.

        Where they run out, the batch begins again, so that all have as many to do; such rows count for nothing.
        """
        if self.size == 1:
            return which
        count = -(-len(which) // self.size)
        return which[torch.arange(self.rank * count, (self.rank + 1) * count) % len(which)]

    def whole(self, part: Whole, count: int) -> Whole:
        """The same for the whole batch of `count` rows: outputs, that is dataclasses and lists, of tensors (b, ...).

        Gradients come back to this process's rows. Everything travels in one float32 message.
        """
        if self.size == 1:
            return part
        leaves = _leaves(part)
        widths = [leaf[0].numel() for leaf in leaves]
        packed = torch.cat([leaf.reshape(-1, n).float() for leaf, n in zip(leaves, widths) if n], 1)
        every: Tensor = _Gather.apply(packed, self.rank, self.size)
        pieces = every[:count].split(widths, 1)
        filled = iter(
            [piece.reshape(count, *leaf.shape[1:]).to(leaf.dtype) for piece, leaf in zip(pieces, leaves, strict=True)]
        )
        whole: Whole = _refilled(part, filled)
        return whole

    def summed(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def learning(self, parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
        """Those that have a gradient in any process: asked once, for what learns in the first step learns in all."""
        having = [i for i, p in enumerate(parameters) if p.grad is not None]
        return [parameters[i] for i in sorted(set().union(*self.collect(having)))]

    def sum_gradients(self, learning: Sequence[nn.Parameter], *, mean: bool = False) -> None:
        """Gradients of these parameters summed (or averaged) over the processes, in one message."""
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in learning])
        dist.all_reduce(flat)
        if mean:
            flat /= self.size
        for p, piece in zip(learning, flat.split([p.numel() for p in learning]), strict=True):
            p.grad = piece.view_as(p)

    # Random numbers.

    def seed(self, seed: int, device: torch.device) -> None:
        """Start two streams: torch's own, the same in all processes, and the one for `own_stream`."""
        torch.manual_seed(seed)
        if self.size > 1:
            shared = _states(device)
            torch.manual_seed(seed + (self.rank + 1) * 0x9E3779B97F4A7C15 % 2**63)
            self._stream = _states(device)
            _set_states(shared, device)

    @contextmanager
    def own_stream(self, device: torch.device) -> Iterator[None]:
        """Random numbers of this process's own, for its own rows; outside all processes draw the same."""
        if self.size == 1:
            yield
            return
        shared = _states(device)
        _set_states(self._stream, device)
        try:
            yield
        finally:
            self._stream = _states(device)
            _set_states(shared, device)


class _Gather(torch.autograd.Function):
    """Rows (b, k) of every process below each other, (size * b, k); the gradient of the own rows comes back."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, rank: int, size: int) -> Tensor:
        ctx.rows = slice(rank * len(own), (rank + 1) * len(own))
        parts = [torch.empty_like(own) for _ in range(size)]
        dist.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0][ctx.rows], None, None


def _held(part: Any) -> dict[str, Any]:
    """What an output is made of, by name: fields, attributes, the items of a list, what segments were made from."""
    if isinstance(part, (list, tuple)):
        return {str(i): value for i, value in enumerate(part)}
    if isinstance(part, Segments):
        return {"units": part.units, "mask": part.mask, "edges": part.edges, "borders": part.borders}
    return vars(part)


def _leaves(part: Any) -> list[Tensor]:
    """The tensors that an output holds, in order."""
    if isinstance(part, Tensor):
        return [part]
    return [] if part is None else [leaf for value in _held(part).values() for leaf in _leaves(value)]


def _refilled(part: Any, leaves: Iterator[Tensor]) -> Any:
    """The same structure with other tensors."""
    if isinstance(part, Tensor):
        return next(leaves)
    if part is None:
        return None
    filled = {name: _refilled(value, leaves) for name, value in _held(part).items()}
    if isinstance(part, (list, tuple)):
        return type(part)(filled.values())
    if isinstance(part, Segments):  # its sums are double: made again, not sent
        return Segments(**filled)
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return dataclasses.replace(part, **filled)
    other = copy.copy(part)
    vars(other).update(filled)
    return other


def _states(device: torch.device) -> list[Tensor]:
    """Where torch's random streams stand."""
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def _set_states(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
