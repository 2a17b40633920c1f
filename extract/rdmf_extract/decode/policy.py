"""Which decoder reads a file: PyAV where rows look at few frames; else Decord, and PyAV where it cannot be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from rdmf_extract.decode.choice import DECORD_FIRST, resolved
from rdmf_extract.decode.decord_reader import load_decord, objection, read_decord
from rdmf_extract.decode.events import POLICIES, DecodeError, Event, Finished, Frame, Restart
from rdmf_extract.decode.probe import Probe, probe
from rdmf_extract.decode.pyav_reader import read_pyav
from rdmf_extract.sampling import Sampling

SPARSE = "sparse: PyAV decodes only what rows look at"
MIN_RECOVERED = 0.5  # below this share, a damaged file's features would say more about the damage than about the video


def read(
    path: Path,
    sampling: Sampling,
    *,
    policy: str = "auto",
    min_recovered: float = MIN_RECOVERED,
    tick: Callable[[], None] = lambda: None,
    on_probe: Callable[[Probe], None] = lambda _: None,
) -> Iterator[Event]:
    """Yield `Frame`s in order, a `Restart` where PyAV takes over from Decord, and one `Finished` at the end.

    Runs in the calling process; `rdmf_extract.decode.worker` runs it where it can be killed.

    Args:
        policy: "pyav"; "decord"; "decord-first", with PyAV where Decord fails or cannot be trusted; or "auto", which is
            "pyav" where `sampling.sparse`, else "decord-first".
        min_recovered: a file of which a smaller share can be decoded counts as failed.
        tick: called after each packet read and each frame decoded, as a sign of life.
        on_probe: called once with what the file promises.

    Raises:
        DecodeError: the file gives no usable video.
    """
    if policy not in POLICIES:
        raise ValueError(f"decoder policy '{policy}' is not one of {', '.join(POLICIES)}")
    facts = probe(path, tick)
    on_probe(facts)
    takeover = SPARSE if policy == "auto" and sampling.sparse else ""
    policy = resolved(policy, sampling)
    if policy == "decord":
        yield from read_decord(facts, sampling, tick)
        return
    if policy == DECORD_FIRST:
        takeover = objection(facts, sampling)
        if not takeover:
            try:
                yield from read_decord(facts, sampling, tick)
                return
            except DecodeError as error:
                takeover = str(error)
                yield Restart(takeover)
    for event in read_pyav(facts, sampling, tick):
        if isinstance(event, Finished):
            _require(event, min_recovered)
            event = replace(event, takeover=takeover)
        yield event


def decoder_versions() -> dict[str, str]:
    """Versions of the decoders installed, for provenance; "" for Decord where there is none. Loads Decord."""
    try:
        decord_version = str(load_decord().__version__)
    except DecodeError:
        decord_version = ""
    return {"decord": decord_version, "pyav": pyav_version()}


def pyav_version() -> str:
    """PyAV's version, without loading it where its installer has noted it: that takes 10 MB."""
    try:
        return metadata.version("av")
    except metadata.PackageNotFoundError:
        import av

        return str(av.__version__)


def _require(finished: Finished, min_recovered: float) -> None:
    if finished.recovered < min_recovered:
        raise DecodeError(
            f"only {finished.recovered:.0%} of the video could be decoded ({finished.frames} frames, "
            f"{finished.duration:.1f} s); the limit is {min_recovered:.0%}"
        )


__all__ = ["MIN_RECOVERED", "Frame", "decoder_versions", "pyav_version", "read"]
