"""One encoder a device, each in its own process, all fed with the same queue of batches."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rdmf.store import InputError
from rdmf_extract.batches import BatchEncoder
from rdmf_extract.encoders.base import RandomWeightsWarning
from rdmf_extract.encoders.spec import EncoderFacts, EncoderSpec, disagreement
from rdmf_extract.engines.encoder_process import EncoderLostError, EncoderProcess
from rdmf_extract.engines.feeder import Feeder


class EncoderProcesses:
    """The same video encoder on several devices, for `LocalEngine`; a context manager that ends the processes.

    Args:
        devices: PyTorch's names; one may stand there twice.

    Attributes:
        name, dim, sampling, provenance, source: as `VideoEncoder`'s.
        device: the devices, separated by commas.

    Raises:
        InputError: the encoder cannot be built on one of them, or is another one there.
    """

    def __init__(self, spec: EncoderSpec, devices: Sequence[str], *, timeout_seconds: float = 600.0) -> None:
        self.devices, self.device = list(devices), ",".join(devices)
        cores = _threads(os.environ.get("OMP_NUM_THREADS", ""))
        on_cpu = sum(device == "cpu" for device in devices)
        self._processes = [
            EncoderProcess(spec, device, threads=max(1, cores // max(1, on_cpu)), timeout_seconds=timeout_seconds)
            for device in devices
        ]
        try:
            for process in self._processes:
                process.start()
            facts = self._agreed_facts()
        except BaseException:
            self.close()
            raise
        self.name, self.dim, self.sampling = facts.name, facts.dim, facts.sampling
        self.provenance: dict[str, Any] = facts.provenance
        self.source = facts.source

    def __enter__(self) -> EncoderProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.close()

    @contextmanager
    def batches(self) -> Iterator[BatchEncoder]:
        """Something to give batches to, for the time of the context."""
        for process in self._processes:
            process.revive()  # one may have been ended in the middle of a batch that nobody wanted any more
        feeder = Feeder(self._processes)
        try:
            yield feeder
        finally:
            feeder.stop()

    def _agreed_facts(self) -> EncoderFacts:
        found: list[EncoderFacts] = []
        for process in self._processes:
            try:
                facts, warned = process.facts()
            except EncoderLostError as error:
                raise InputError(f"the encoder's process on {process.device} {error} while it was built") from error
            if not found:
                for message in warned:
                    warnings.warn(message, RandomWeightsWarning, stacklevel=4)
            elif facts.provenance != found[0].provenance:
                raise InputError(
                    f"the encoder on {process.device} is another one than on {self.devices[0]}: "
                    + disagreement(facts, found[0])
                )
            found.append(facts)
        return found[0]


def _threads(setting: str) -> int:
    """The first number of OMP_NUM_THREADS, which may be a list for nested regions; 1 where it says nothing."""
    first = setting.split(",")[0].strip()
    return max(1, int(first)) if first.isdigit() else 1
