"""Videos over the nodes of a Ray cluster: decoders on CPUs anywhere, encoders on GPUs where there are any.

The driver, where `rdmf extract` runs, gives out videos, longest first, and writes parts; frames go from the node that
decodes to the node that encodes and never through it. A video whose worker or node dies is given out again; an encoder
that dies is replaced, on another node if need be, and until then the others do its work.
"""

from __future__ import annotations

import logging
import re
import socket
import time
import warnings
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rdmf.store import InputError
from rdmf_extract.decode.policy import MIN_RECOVERED, decoder_versions
from rdmf_extract.defaults import default_batch
from rdmf_extract.encoders.base import Features, RandomWeightsWarning
from rdmf_extract.encoders.spec import EncoderSpec
from rdmf_extract.engines.base import Note, Outcome, Work
from rdmf_extract.engines.ray_encoders import RayEncoders
from rdmf_extract.engines.ray_tasks import DecodeSettings, VideoResult, extract_video
from rdmf_extract.pool import Again, Undecodable

MOST_DEATHS = 3  # of workers under one video; then the video is suspected
POLL_SECONDS = 1.0
CONNECT_SECONDS = 10.0


class RayEngine:
    """See `Engine`; a context manager that frees the cluster.

    Args:
        video, text: the encoders, to be built on the nodes.
        address: of the cluster ("auto": the one this machine belongs to); None starts one of this machine alone.

    Attributes:
        video: what the video encoder is. text: the text encoder, which runs on the cluster as well.

    Raises:
        InputError: Ray is not installed or the cluster not there, or an encoder cannot be built.
    """

    def __init__(
        self,
        video: EncoderSpec,
        text: EncoderSpec,
        *,
        address: str | None = None,
        decoder: str = "auto",
        timeout_seconds: float = 600.0,
        min_recovered: float = MIN_RECOVERED,
    ) -> None:
        self._ray = _connected(address)
        self.rows = 0
        try:
            self._encoders = RayEncoders(self._ray, video, text)
            self.video, versions, warned = self._encoders.facts
            for message in warned:
                warnings.warn(message, RandomWeightsWarning, stacklevel=2)
            if versions != decoder_versions():
                raise InputError(
                    f"the cluster's nodes have other decoders ({versions}) than this machine ({decoder_versions()}); "
                    "install the same versions everywhere"
                )
            self.text = RayTextEncoder(self._encoders)
        except BaseException:
            self._ray.shutdown()
            raise
        self._settings = DecodeSettings(
            self.video.sampling,
            decoder=decoder,
            timeout_seconds=timeout_seconds,
            min_recovered=min_recovered,
            block_rows=max(1, default_batch(self.video) // 2),
            versions=versions,
        )

    def describe(self) -> str:
        """The cluster in one line."""
        total = self._ray.cluster_resources()
        nodes = sum(node["Alive"] for node in self._ray.nodes())
        return (
            f"ray: {nodes} nodes, {total.get('CPU', 0):.0f} CPUs, {total.get('GPU', 0):.0f} GPUs: "
            f"{self._encoders.wanted} encoders, {self._decoders()} decoders"
        )

    def run(self, work: Work) -> Generator[Outcome, None, None]:
        task = self._ray.remote(num_cpus=1, max_retries=0)(_extract_video)
        running: dict[Any, tuple[str, Path]] = {}
        again: list[tuple[str, Path]] = []
        deaths: dict[str, int] = {}
        try:
            while not work.stopped:
                yield from map(Note, self._encoders.look())
                encoders = self._encoders.alive
                for _ in range(self._decoders() - len(running) if encoders else 0):
                    job = again.pop() if again else work.next()
                    if job is None:
                        break
                    ticket = task.remote(job[0], job[1].absolute(), self._settings, encoders)
                    running[ticket] = job
                if running:
                    ended, _ = self._ray.wait(list(running), timeout=POLL_SECONDS)
                    for ticket in ended:
                        yield from self._outcome(ticket, running.pop(ticket), deaths, again)
                elif encoders:
                    return
                else:  # all encoders are dead; one is being started
                    time.sleep(POLL_SECONDS)
                yield None
        finally:
            for ticket in running:
                self._ray.cancel(ticket, force=True)

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._encoders.close()
        self._ray.shutdown()

    def _decoders(self) -> int:
        """How many videos are decoded at once: a CPU each, of those that the encoders leave."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)) - self._encoders.cpus)

    def _outcome(
        self, ticket: Any, job: tuple[str, Path], deaths: dict[str, int], again: list[tuple[str, Path]]
    ) -> Generator[Outcome, None, None]:
        vid = job[0]
        try:
            result: VideoResult = self._ray.get(ticket)
        except self._ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, NoEncoderError):
                raise
            again.append(job)  # none was left that this video's decoder knew of
        except self._ray.exceptions.RayError as error:  # its worker or node died, or was ended for want of memory
            deaths[vid] = deaths.get(vid, 0) + 1
            reason = f"its worker died ({type(error).__name__})"
            if deaths[vid] < MOST_DEATHS:
                again.append(job)
                yield Note(f"{vid}: {reason}; it is given to another")
            else:
                yield Undecodable(vid, f"{reason}, {MOST_DEATHS} times over", passing=True)
        else:
            if result.takeover:
                yield Again(vid, result.takeover, takeover=True)
            if not isinstance(result.outcome, Undecodable):
                self.rows += len(result.outcome.features)
            yield result.outcome


class RayTextEncoder:
    """See `TextEncoder`; the work is done by whichever of the cluster's encoders is there."""

    def __init__(self, encoders: RayEncoders) -> None:
        self._encoders = encoders
        facts, warned = encoders.call("text_facts")
        for message in warned:
            warnings.warn(message, RandomWeightsWarning, stacklevel=3)
        self.name: str = facts["name"]
        self.dim: int = facts["dim"]
        self.max_tokens: int = facts["max_tokens"]
        self.provenance: dict[str, Any] = facts["provenance"]
        self.source: str = facts["source"]

    def encode(self, texts: Sequence[str]) -> list[Features]:
        features: list[Features] = self._encoders.call("encode_texts", list(texts))
        return features


class NoEncoderError(Exception):
    """Every encoder that a decoder knew of is dead."""


def _extract_video(vid: str, path: Path, settings: DecodeSettings, encoders: list[Any]) -> VideoResult:
    """On a node: `extract_video`, with blocks going to the encoders by turns, past those that are dead."""
    import ray

    turn = zlib.crc32(vid.encode("utf-8", "surrogatepass"))
    alive = list(encoders)

    def send(frames: Any) -> tuple[Any, Any, Any]:
        nonlocal turn
        if not alive:
            raise NoEncoderError
        turn += 1
        encoder = alive[turn % len(alive)]
        return encoder.encode.remote(frames), frames, encoder

    def get(ticket: tuple[Any, Any, Any]) -> Features:
        while True:
            reference, frames, encoder = ticket
            try:
                features: Features = ray.get(reference)
                return features
            except ray.exceptions.RayActorError:
                if encoder in alive:
                    alive.remove(encoder)
                ticket = send(frames)

    return extract_video(vid, path, settings, send=send, get=get)


def _require_answer(address: str | None) -> None:
    """Ask a cluster's port for an answer: Ray itself goes on asking for many minutes.

    Raises:
        InputError: nobody answers at HOST:PORT.
    """
    found = re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address or "")
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"no Ray cluster answers at '{address}' ({error}); see `ray status` there, or leave --address out"
        ) from error


def _connected(address: str | None) -> Any:
    """The ray module, connected.

    Raises:
        InputError: it is not installed, or there is no such cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError(f"--engine ray needs Ray ({error}); run: pip install 'rdmf[ray]'") from error
    if not ray.is_initialized():
        _require_answer(address)
        try:
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"no Ray cluster at '{address}' ({first}); start one with `ray start --head`, or leave --address out"
            ) from error
    return ray
