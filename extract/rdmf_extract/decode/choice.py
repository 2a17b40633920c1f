"""Which decoder is meant by `--decoder`, and how a cache's settings tell it.

PyAV and Decord scale pictures a little differently, so features differ in their last digits, and what a cache was made
with is part of its fingerprint. It follows from the settings alone: the same command gives the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
