"""The feature cache: the only thing that passes from the extractor to the trainer.

Needs numpy and h5py only. `PartWriter` and `write_cache` write, `merge` joins parts, `subset` takes some of one,
`open_cache` reads, `difference` compares two, `verify` finds damage. The format is described in `features/README.md`.
"""

from __future__ import annotations

from rdmf.store.cache import Cache, open_cache
from rdmf.store.describe import describe
from rdmf.store.difference import Difference, ItemDifference, Items, difference
from rdmf.store.errors import InputError
from rdmf.store.fingerprint import differing_fields, fingerprint
from rdmf.store.merge import merge
from rdmf.store.queries import QueryTable
from rdmf.store.records import Failure, Provenance, QueryRecord, TextRecord, VideoRecord
from rdmf.store.strings import Strings
from rdmf.store.subset import subset
from rdmf.store.verify import Problem, verify
from rdmf.store.writer import PartWriter, write_cache

__all__ = [
    "Cache",
    "Difference",
    "Failure",
    "InputError",
    "ItemDifference",
    "Items",
    "PartWriter",
    "Problem",
    "Provenance",
    "QueryRecord",
    "QueryTable",
    "Strings",
    "TextRecord",
    "VideoRecord",
    "describe",
    "difference",
    "differing_fields",
    "fingerprint",
    "merge",
    "open_cache",
    "subset",
    "verify",
    "write_cache",
]
