"""The encoders of a Ray cluster: one actor a GPU (or several on CPUs where there is none), replaced when they die."""

from __future__ import annotations

import time
from typing import Any

from rdmf.store import InputError
from rdmf_extract.encoders.spec import EncoderFacts, EncoderSpec, disagreement
from rdmf_extract.engines.ray_tasks import EncoderService

CALLS_AT_ONCE = 64  # more wait their turn in the actor
# An encoder is built (weights read, perhaps downloaded) and, in a cluster that grows on demand, waits for its node.
START_SECONDS = 1800.0
MOST_DEATHS = 20  # in a row, while being built; then something is wrong that starting again does not mend


class RayEncoders:
    """Keeps as many encoders alive as the cluster had GPUs at the start.

    Attributes:
        alive: handles of those that are ready.
        wanted: how many there should be.
        cpus: CPUs that they take.
        facts: what the video encoder is, its node's decoders, and what was warned of.

    Raises:
        InputError: the first one cannot be built.
    """

    def __init__(self, ray: Any, video: EncoderSpec, text: EncoderSpec) -> None:
        self._ray = ray
        total = ray.cluster_resources()
        gpus, cpus = int(total.get("GPU", 0)), int(total.get("CPU", 1))
        # On CPUs the encoder is the slow part: half the cores for it, as on one machine.
        self.wanted = gpus or max(1, cpus // 2)
        self.cpus = self.wanted if cpus > self.wanted else 0
        actor = ray.remote(EncoderService).options(
            num_cpus=1 if self.cpus else 0,
            num_gpus=1 if gpus else 0,
            max_concurrency=CALLS_AT_ONCE,
            max_restarts=0,  # a call that waits for a restart which no node has room for would wait for ever
        )
        self._new = lambda: actor.remote(video, text, "cuda" if gpus else "cpu")
        self._watched: dict[Any, Any] = {}  # a call that ends with the actor -> the actor
        self._starting: dict[Any, tuple[Any, float]] = {}  # the call that builds -> the actor, since when
        self._deaths = 0
        self._first: tuple[EncoderFacts, dict[str, str], list[str]] | None = None
        try:
            for _ in range(self.wanted):
                self._start()
            self._wait_for_one()
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> list[Any]:
        return list(self._watched.values())

    @property
    def facts(self) -> tuple[EncoderFacts, dict[str, str], list[str]]:
        assert self._first is not None
        return self._first

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of any encoder that is alive; of another one if it dies meanwhile.

        Raises:
            InputError: as the method does, or no encoder can be started.
        """
        while True:
            self._wait_for_one()
            try:
                return self._ray.get(getattr(self.alive[0], method).remote(*arguments))
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except self._ray.exceptions.RayActorError:
                self.look()

    def look(self) -> list[str]:
        """Take in those that have become ready, replace the dead; returns what people should read.

        Raises:
            InputError: one cannot be built, is another encoder than the first, or none starts.
        """
        notes = []
        for ended in self._ended(self._watched):
            del self._watched[ended]
            notes.append("the worker or node of an encoder died; another is started")
            self._start()
        for built in self._ended(self._starting):
            actor, _ = self._starting.pop(built)
            try:
                self._take_in(actor, self._ray.get(built))
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except self._ray.exceptions.RayError as error:
                self._deaths += 1
                if self._deaths >= MOST_DEATHS:
                    raise InputError(f"encoders on the Ray cluster die while they are built: {error}") from error
                self._start()
        if not self._watched and time.monotonic() - min(since for _, since in self._starting.values()) > START_SECONDS:
            raise InputError("no node of the Ray cluster could start an encoder; `ray status` tells what is free")
        return notes

    def close(self) -> None:
        """End them all."""
        for actor in [*self.alive, *(actor for actor, _ in self._starting.values())]:
            self._ray.kill(actor)
        self._watched, self._starting = {}, {}

    def _start(self) -> None:
        actor = self._new()
        self._starting[actor.facts.remote()] = (actor, time.monotonic())

    def _take_in(self, actor: Any, facts: tuple[EncoderFacts, dict[str, str], list[str]]) -> None:
        self._first = self._first or facts
        if facts[0].provenance != self._first[0].provenance:
            raise InputError(
                f"the nodes of the Ray cluster have different encoders: {disagreement(facts[0], self._first[0])}"
            )
        if facts[1] != self._first[1]:
            raise InputError("the nodes of the Ray cluster have different decoders; install the same versions on all")
        self._deaths = 0
        self._watched[actor.stay.remote()] = actor

    def _wait_for_one(self) -> None:
        self.look()
        while not self._watched:
            self._ray.wait(list(self._starting), timeout=1.0)
            self.look()

    def _ended(self, calls: dict[Any, Any]) -> list[Any]:
        if not calls:
            return []
        ended, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0)
        return list(ended)
