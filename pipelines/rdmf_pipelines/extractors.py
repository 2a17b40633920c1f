"""From the command line's options to encoders that run somewhere: here, on several devices, or on a cluster."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rdmf.store.errors import InputError
from rdmf_pipelines.extraction import loud_warnings

if TYPE_CHECKING:
    from rdmf_extract.encoders.spec import EncoderSpec
    from rdmf_extract.engines.base import Engine
    from rdmf_extract.shards import Shard

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Request:
    """What the user asked for: two encoders, and where they are to run."""

    video: EncoderSpec
    text: EncoderSpec
    device: str = "auto"
    engine: str = "local"
    address: str | None = None
    decoder: str = "auto"
    timeout: float = 600.0


@contextmanager
def extractors(request: Request) -> Iterator[tuple[Any, Any, Engine | None]]:
    """(video encoder, text encoder, engine) as `rdmf_extract.pipeline.extract` takes them; freed at the end.

    Raises:
        InputError: an unknown engine or device, or an encoder that cannot be built.
    """
    if request.engine not in ENGINES:
        raise InputError(f"engine '{request.engine}' is unknown; use {' or '.join(ENGINES)}")
    if request.address is not None and request.engine != "ray":
        raise InputError("--address is for --engine ray")
    if request.engine == "ray":
        if request.device != "auto":
            raise InputError(
                "--device is for one machine; with --engine ray each encoder gets a GPU where there is one"
            )
        from rdmf_extract.engines.on_ray import RayEngine

        with loud_warnings():
            cluster = RayEngine(
                request.video,
                request.text,
                address=request.address,
                decoder=request.decoder,
                timeout_seconds=request.timeout,
            )
        with cluster:
            print(cluster.describe(), flush=True)
            yield cluster.video, cluster.text, cluster
        return
    devices = devices_of(request.device)
    if len(devices) == 1:
        with loud_warnings():
            video = _built(request.video, devices[0])
        yield video, _built(request.text, devices[0]), None
        return
    from rdmf_extract.engines.processes import EncoderProcesses

    with loud_warnings():
        processes = EncoderProcesses(request.video, devices)
    with processes:
        print(f"encoders: one on each of {', '.join(devices)}", flush=True)
        yield processes, _built(request.text, devices[0]), None


def _built(spec: EncoderSpec, device: str) -> Any:
    encoder, warned = spec.build(device)
    for message in warned:
        warnings.warn(message, UserWarning, stacklevel=2)
    return encoder


def devices_of(text: str) -> list[str]:
    """ "cuda:0,cuda:1" as a list; "all" is every GPU; "auto" in one of several processes of a machine is a GPU each.

    Raises:
        InputError: an empty name, or "all" where there is no GPU.
    """
    from rdmf_extract.launch import local_rank

    devices = [name.strip() for name in text.split(",")]
    if not all(devices):
        raise InputError(f"--device {text}: a name is missing; separate devices by commas, e.g. cuda:0,cuda:1")
    if devices == ["all"]:
        count = _gpus()
        if not count:
            raise InputError("--device all: PyTorch sees no CUDA GPU here; use auto or cpu")
        return [f"cuda:{i}" for i in range(count)]
    if {"all", "auto"} & set(devices) and len(devices) > 1:
        raise InputError(f"--device {text}: 'auto' and 'all' stand alone")
    rank = local_rank(os.environ)
    if devices == ["auto"] and rank is not None:
        count = _gpus()
        if count > 1:  # one GPU alone is what Slurm has bound this task to
            return [f"cuda:{rank % count}"]
    return devices


def _gpus() -> int:
    from rdmf_extract.encoders.compute import gpu_count  # imports torch: not for every command

    return gpu_count()


def share_of(shard: str | None) -> Shard | None:
    """The share that --shard names or, without it, the environment; None for everything.

    Raises:
        InputError: not i/n, or an environment that contradicts itself.
    """
    from rdmf_extract.launch import detect_shard
    from rdmf_extract.shards import Shard

    if shard is None:
        return detect_shard(os.environ)
    return None if shard.strip().lower() == "none" else Shard.parse(shard)
