"""What a cache holds, by a short name; loads no torch."""

from __future__ import annotations

import hashlib
import json

from rdmf.store import Cache

#: Groups of a cache's tables whose checksums are all that training and scoring depend on.
HELD = ("video", "text", "query")


def content_of(cache: Cache) -> str:
    """A short name for all that a cache holds, queries and splits included (its fingerprint names how it was made).

    Of what is trained and scored on, not of the file: equal for a cache made again, whose date is another.
    """
    tables = {name: sha256 for name, sha256 in cache.structure.digests.items() if name.split("/")[0] in HELD}
    told = json.dumps([cache.fingerprint, sorted(tables.items())])
    return hashlib.sha256(told.encode()).hexdigest()[:16]
