"""An encoder described so that another process, or another machine, can build the same one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rdmf.store import Provenance, differing_fields
from rdmf_extract.encoders.base import VideoEncoder
from rdmf_extract.encoders.precision import FIELD
from rdmf_extract.sampling import Sampling


@dataclass(frozen=True)
class EncoderSpec:
    """A function that builds an encoder, and what to call it with but for the device.

    Attributes:
        function: called as `function(name, **arguments, device=...)`. To be built in another process it must be found
            by its name in its module, as everything pickled must.
        arguments: values that can be pickled.
    """

    function: Callable[..., Any]
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, function: Callable[..., Any], name: str, **arguments: Any) -> EncoderSpec:
        """The description of `function(name, **arguments, device=...)`."""
        return cls(function, name, arguments)

    def build(self, device: str) -> tuple[Any, list[str]]:
        """The encoder on this device, and what was warned of while it was built (random weights, say).

        Raises:
            InputError: as the function does.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            built = self.function(self.name, **self.arguments, device=device)
        return built, [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]


@dataclass(frozen=True)
class EncoderFacts:
    """What is known of a video encoder that runs elsewhere; see `VideoEncoder` for the attributes."""

    name: str
    dim: int
    sampling: Sampling
    provenance: dict[str, Any]
    source: str

    @classmethod
    def of(cls, encoder: VideoEncoder) -> EncoderFacts:
        """Of an encoder that runs here."""
        return cls(encoder.name, encoder.dim, encoder.sampling, encoder.provenance, encoder.source)


def disagreement(one: EncoderFacts, other: EncoderFacts) -> str:
    """How two encoders differ that were to be the same, and how to mend it, as the end of a sentence."""
    fields = differing_fields(Provenance(one.provenance, {}), Provenance(other.provenance, {}))
    if fields and all(line.startswith(f"video.{FIELD}:") for line in fields):
        return f"{fields[0]}; name one for all of them with --precision"
    return f"{'; '.join(fields)}; install the same versions and weights everywhere"
