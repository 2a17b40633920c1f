"""Which decoder is meant by `--decoder`, how a cache's settings tell it, and how to ask for the same again.

PyAV and Decord scale pictures a little differently, so features differ in their last digits, and what a cache was made
with is part of its fingerprint. It follows from the settings alone: the same command gives the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rdmf_extract.decode.events import POLICIES
from rdmf_extract.sampling import Sampling

DECORD_FIRST = "decord-first"
#: The settings of a cache that tell which decoder gave its frames.
FIELDS = ("decoder", "sparse", "decord", "pyav")


def resolved(policy: str, sampling: Sampling) -> str:
    """What "auto" means for a sampling: "pyav" where rows look at little of a video, else "decord-first"."""
    if policy != "auto":
        return policy
    return "pyav" if sampling.sparse else DECORD_FIRST


def policy_of(video: Mapping[str, Any]) -> str:
    """The policy that gives the frames that a cache with these video settings holds."""
    decoder = str(video.get("decoder", "auto"))
    return DECORD_FIRST if decoder == "auto" and "sparse" not in video else decoder


def remedy(made: Mapping[str, Any], differing: list[str]) -> str:
    """What to do about a cache that is there and was made with other settings, as the end of a sentence.

    Args:
        made: its video settings.
        differing: a line for each setting that differs, see `rdmf.store.differing_fields`.
    """
    only_decoder = all(line.split(":")[0] in {f"video.{field}" for field in FIELDS} for line in differing)
    named = any(line.startswith(("video.decoder:", "video.sparse:")) for line in differing)
    if only_decoder and named and policy_of(made) in POLICIES:
        return f"go on with --decoder {policy_of(made)}, or name another file with --out"
    return "use those settings, or name another file with --out"
