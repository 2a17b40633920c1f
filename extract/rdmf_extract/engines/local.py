"""Decoder processes of this machine, and one encoder in this process or several in processes of their own."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext

from rdmf_extract.batches import BatchEncoder, Inline, RowBatcher
from rdmf_extract.decode.policy import MIN_RECOVERED
from rdmf_extract.decode.process import Ahead
from rdmf_extract.decode.worker import DecoderProcess
from rdmf_extract.defaults import default_batch, default_workers, encoder_lanes
from rdmf_extract.encoders.base import VideoEncoder
from rdmf_extract.engines.base import Note, Outcome, Work
from rdmf_extract.engines.processes import EncoderProcesses
from rdmf_extract.pool import Decoded, DecodePool, Row


class LocalEngine:
    """See `Engine`.

    Args:
        encoder: one to be called here, or several in processes.
        decoder: see `rdmf_extract.decode.policy.read`.
        workers: decoder processes; default: all cores but those the encoder needs.
        timeout_seconds, min_recovered: see `DecoderProcess` and `read`.
        batch_rows: rows per call of the encoder.
        ahead: decoder processes that were started before.
    """

    def __init__(
        self,
        encoder: VideoEncoder | EncoderProcesses,
        *,
        decoder: str = "auto",
        workers: int | None = None,
        timeout_seconds: float = 600.0,
        batch_rows: int | None = None,
        min_recovered: float = MIN_RECOVERED,
        ahead: Ahead | None = None,
    ) -> None:
        self._encoder, self._decoder = encoder, decoder
        self._workers = workers or default_workers(encoder)
        self._timeout_seconds, self._min_recovered = timeout_seconds, min_recovered
        self._batch_rows = batch_rows or default_batch(encoder)
        self._ahead = ahead
        self.rows = 0
        if hasattr(encoder, "lanes"):
            encoder.lanes = encoder_lanes(encoder)

    def run(self, work: Work) -> Generator[Outcome, None, None]:
        sampling, encoders = self._encoder.sampling, 1
        encoder: AbstractContextManager[BatchEncoder]
        if isinstance(self._encoder, EncoderProcesses):
            encoder, encoders = self._encoder.batches(), len(self._encoder.devices)
        else:
            encoder = nullcontext(Inline(self._encoder))
        pool = DecodePool(
            work.next,
            sampling,
            policy=self._decoder,
            workers=min(self._workers, len(work)),
            rows_ahead=(encoders + 1) * self._batch_rows,
            make_process=self._process,
        )
        before = self.rows
        with encoder as batches, pool:
            batcher = RowBatcher(batches, sampling, self._batch_rows)
            for item in pool:
                if isinstance(item, Row):
                    yield from batcher.add(item)
                elif isinstance(item, Decoded):
                    yield from batcher.finish(item.vid, item.rows, item.end)
                else:
                    batcher.forget(item.vid)
                    yield item
                self.rows = before + batcher.rows
                yield from map(Note, batches.notes())
                yield None
                if work.stopped:
                    break
            yield from batcher.flush()
            self.rows = before + batcher.rows

    def _process(self) -> DecoderProcess:
        return DecoderProcess(
            self._encoder.sampling,
            timeout_seconds=self._timeout_seconds,
            min_recovered=self._min_recovered,
            ahead=self._ahead,
        )
