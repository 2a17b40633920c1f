"""Records as the tables of a file: what `PartWriter` has gathered, ready to be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from rdmf.store.query_records import codes_of, query_tables
from rdmf.store.ragged import offsets_of
from rdmf.store.records import Array, Failure, QueryRecord
from rdmf.store.strings import Strings
from rdmf.store.tables import TextTable, VideoTable, digest_table, settled_failures

T = TypeVar("T")
#: The small tables of a file, by name. Each is made when its turn to be written comes and dropped afterwards, so that
#: memory holds one of them and not all.
Arrays = Mapping[str, Callable[[], Array]]
StringColumns = Mapping[str, Callable[[], Strings]]


def tables_of_records(
    videos: VideoTable, texts: TextTable, queries: Sequence[QueryRecord], failures: list[Failure]
) -> tuple[Arrays, StringColumns]:
    """All small tables of a file.

    Raises:
        InputError: a query's sentence has no token features, or a string is not valid Unicode.
    """
    decoder_codes, decoder_names = codes_of(videos.decoders)
    present = set(videos.vids)
    failed = [failure for failure in settled_failures(failures) if failure.vid not in present]
    query_arrays, query_strings = query_tables_of(queries, videos.vids, texts.texts)
    arrays = {
        "video/row_offsets": offsets_of(np.array(videos.counts, np.int64)),
        "video/duration": np.array(videos.durations, np.float64),
        "video/annotated_duration": np.array(videos.annotated_durations, np.float64),
        "video/recovered": np.array(videos.recovered, np.float64),
        "video/padded": np.array(videos.padded, bool),
        "video/decoder_code": decoder_codes,
        "video/sha256": digest_table(videos.digests),
        "text/token_offsets": offsets_of(np.array(texts.counts, np.int64)),
        "text/sha256": digest_table(texts.digests),
    }
    strings = {
        "video/vid": videos.vids,
        "video/decoder_name": decoder_names,
        "text/text": texts.texts,
        "failure/vid": [failure.vid for failure in failed],
        "failure/reason": [failure.reason for failure in failed],
    }
    return (
        {**{name: given(values) for name, values in arrays.items()}, **query_arrays},
        {**{name: given(Strings.of(column, name)) for name, column in strings.items()}, **query_strings},
    )


def query_tables_of(
    queries: Sequence[QueryRecord], vids: Sequence[str], texts: Sequence[str]
) -> tuple[Arrays, StringColumns]:
    """The tables of group `query`, of checked records.

    Args:
        vids: the file's videos.
        texts: its sentences.

    Raises:
        InputError: a sentence that is not among them, or a string that is not valid Unicode.
    """
    arrays, strings = query_tables(queries, vids, {text: i for i, text in enumerate(texts)})
    return (
        {name: given(values) for name, values in arrays.items()},
        {name: given(Strings.of(column, name)) for name, column in strings.items()},
    )


def given(value: T) -> Callable[[], T]:
    """A function that returns this, for what is at hand already."""
    return lambda: value
