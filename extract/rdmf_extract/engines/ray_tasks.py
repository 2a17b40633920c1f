"""What runs on the nodes of a Ray cluster: encoders, and the decoding of one video at a time.

This module knows nothing of Ray, so it can be read, and tested, without.
"""

from __future__ import annotations

import atexit
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf_extract.batches import EncodedVideo, halved
from rdmf_extract.decode.policy import decoder_versions
from rdmf_extract.decode.worker import DecoderProcess
from rdmf_extract.defaults import default_batch
from rdmf_extract.encoders.base import Features, Frames
from rdmf_extract.encoders.spec import EncoderFacts, EncoderSpec
from rdmf_extract.pool import Again, Decoded, Row, Undecodable, rows_of
from rdmf_extract.sampling import Sampling

BLOCKS_AHEAD = 2  # blocks of one video that are being encoded while it is decoded further


class EncoderService:
    """One video encoder (and, once asked, the text encoder), called by many decoders at once.

    Whatever waits when the encoder is free is encoded together, up to a full batch, so that short videos and slow
    decoders keep a GPU busy.
    """

    def __init__(self, video: EncoderSpec, text: EncoderSpec, device: str) -> None:
        self._video_spec, self._text_spec, self._device = video, text, device
        self._encoder: Any = None
        self._text: Any = None
        self._waiting: queue.SimpleQueue[tuple[Frames, Future[Features]]] = queue.SimpleQueue()
        self._text_lock = threading.Lock()

    def facts(self) -> tuple[EncoderFacts, dict[str, str], list[str]]:
        """Build the video encoder; what it is, this node's decoders, and what was warned of. Called once, first."""
        self._encoder, warned = self._video_spec.build(self._device)
        threading.Thread(target=self._serve, name="encoder", daemon=True).start()
        return EncoderFacts.of(self._encoder), decoder_versions(), warned

    def stay(self) -> None:
        """Never returns: whoever waits for it learns when this process is gone."""
        threading.Event().wait()

    def text_facts(self) -> tuple[dict[str, Any], list[str]]:
        """name, dim, max_tokens, provenance and source of the text encoder, and what was warned of."""
        with self._text_lock:
            encoder, warned = self._text_encoder()
            return {n: getattr(encoder, n) for n in ("name", "dim", "max_tokens", "provenance", "source")}, warned

    def encode(self, frames: Frames) -> Features:
        """(B, T, H, W, 3) uint8 to (B, dim) float32. Called from several threads."""
        done: Future[Features] = Future()
        self._waiting.put((frames, done))
        return done.result()

    def encode_texts(self, texts: Sequence[str]) -> list[Features]:
        """As `TextEncoder.encode`."""
        with self._text_lock:
            features: list[Features] = self._text_encoder()[0].encode(texts)
            return features

    def _text_encoder(self) -> tuple[Any, list[str]]:
        if self._text is None:
            self._text = self._text_spec.build(self._device)
        built: tuple[Any, list[str]] = self._text
        return built

    def _serve(self) -> None:
        most = default_batch(self._encoder)
        while True:
            together = [self._waiting.get()]
            while sum(len(frames) for frames, _ in together) < most and not self._waiting.empty():
                together.append(self._waiting.get())
            try:
                frames = together[0][0] if len(together) == 1 else np.concatenate([f for f, _ in together])
                features = self._encoder.encode(frames)
            except BaseException as error:
                for _, done in together:
                    done.set_exception(error)
                continue
            at = 0
            for frames, done in together:
                done.set_result(features[at : at + len(frames)])
                at += len(frames)


@dataclass(frozen=True)
class DecodeSettings:
    """How videos are decoded, the same on every node.

    Attributes:
        block_rows: rows that are sent to an encoder together.
        versions: of the decoders that every node must have.
    """

    sampling: Sampling
    decoder: str
    timeout_seconds: float
    min_recovered: float
    block_rows: int
    versions: dict[str, str]


@dataclass(frozen=True)
class VideoResult:
    """What became of one video, and why PyAV took over, or ""."""

    outcome: EncodedVideo | Undecodable
    takeover: str = ""


_process: DecoderProcess | None = None  # of this worker, kept from one video to the next
_process_of: DecodeSettings | None = None


def extract_video(
    vid: str,
    path: Path,
    settings: DecodeSettings,
    *,
    send: Callable[[Frames], Any],
    get: Callable[[Any], Features],
) -> VideoResult:
    """Decode one video here, its rows encoded elsewhere meanwhile.

    Args:
        send: gives a block of rows, (B, T, H, W, 3) uint8, away to be encoded; returns a ticket.
        get: turns a ticket into (B, dim) float32.
    """
    here = decoder_versions()
    if here != settings.versions:
        reason = f"a node of the cluster has other decoders ({here}) than the first ({settings.versions})"
        return VideoResult(Undecodable(vid, reason, passing=True))
    sampling = settings.sampling
    block = np.empty((settings.block_rows, sampling.frames_per_window, sampling.crop, sampling.crop, 3), np.uint8)
    held, takeover = 0, ""
    tickets: list[Any] = []
    features: list[NDArray[np.floating[Any]]] = []
    for item in rows_of(_decoder_process(settings), vid, path, sampling, settings.decoder):
        if isinstance(item, Row):
            block[held] = item.frames
            held += 1
            if held == len(block):
                if len(tickets) == BLOCKS_AHEAD:
                    features.append(halved(get(tickets.pop(0))))
                tickets.append(send(block.copy()))
                held = 0
        elif isinstance(item, Again):
            held, tickets, features = 0, [], []
            takeover = item.reason if item.takeover else takeover
        elif isinstance(item, Decoded):
            if held:
                tickets.append(send(block[:held].copy()))
            features += [halved(get(ticket)) for ticket in tickets]
            return VideoResult(EncodedVideo(vid, np.concatenate(features), item.end), takeover)
        else:
            return VideoResult(item, takeover)
    raise AssertionError("a video's items end with Decoded or Undecodable")


def _decoder_process(settings: DecodeSettings) -> DecoderProcess:
    global _process, _process_of
    if _process is None or _process_of != settings:
        _close()
        _process = DecoderProcess(
            settings.sampling, timeout_seconds=settings.timeout_seconds, min_recovered=settings.min_recovered
        )
        _process_of = settings
        atexit.register(_close)
    return _process


def _close() -> None:
    global _process
    if _process is not None:
        _process.close()
        _process = None
