"""What to do about a cache that is there and was made with other settings."""

from __future__ import annotations

from rdmf.store import Provenance
from rdmf_extract.decode.choice import FIELDS, policy_of
from rdmf_extract.decode.events import POLICIES
from rdmf_extract.encoders.precision import FIELD, PRECISIONS, precision_of

_OF_DECODERS = {f"video.{field}" for field in FIELDS}
_OF_PRECISION = {f"{stream}.{FIELD}" for stream in ("video", "text")}


def remedy(made: Provenance, differing: list[str]) -> str:
    """The end of a sentence: the options that ask for the cache's settings again, where options alone mend it.

    Args:
        made: of the cache.
        differing: a line for each setting that differs, see `rdmf.store.differing_fields`.
    """
    fields = {line.split(":")[0] for line in differing}
    options = []
    if fields & _OF_DECODERS:
        options.append(_decoder(made, fields))
    if fields & _OF_PRECISION:
        options.append(_precision(made))
    if options and None not in options and fields <= _OF_DECODERS | _OF_PRECISION:
        # Before there was a choice nothing was recorded, whatever device had made the features.
        silent = bool(fields & _OF_PRECISION) and FIELD not in made.video
        unless = " (not where a GPU made it before rdmf recorded the precision)" if silent else ""
        return f"go on with {' '.join(map(str, options))}{unless}, or name another file with --out"
    return "use those settings, or name another file with --out"


def _decoder(made: Provenance, fields: set[str]) -> str | None:
    """The option, or None where another version of a decoder is what differs."""
    policy = policy_of(made.video)
    named = fields & {"video.decoder", "video.sparse"}
    return f"--decoder {policy}" if named and policy in POLICIES else None


def _precision(made: Provenance) -> str | None:
    """The option, or None where no single one gives both streams of the cache."""
    words = {precision_of(made.video), precision_of(made.text)}
    return f"--precision {words.pop()}" if len(words) == 1 and words <= set(PRECISIONS) else None
