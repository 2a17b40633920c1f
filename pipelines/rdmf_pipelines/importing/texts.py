"""Token features of the imported queries: from files of one query each, or computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rdmf.store.errors import InputError
from rdmf.store.records import QueryRecord, TextRecord
from rdmf_pipelines.importing.feature_files import FeatureFolder
from rdmf_pipelines.importing.streams import check_float16, normalized

# Features of one sentence that was encoded twice, in other batches or precisions, differ by less.
SAME_TOLERANCE = 0.02


def texts_from_files(
    folder: Path, queries: Sequence[QueryRecord], *, normalize: str
) -> tuple[list[TextRecord], int, int]:
    """One record per distinct sentence, from `qidQID.npz` (or `QID.npz`) files with `last_hidden_state`.

    A sentence that several queries share keeps the features of the first.

    Returns:
        records, their dim, and the number of queries whose own file differs from what is kept for their sentence.

    Raises:
        InputError: a query has no file, or a file is unusable.
    """
    files = FeatureFolder(folder, key="last_hidden_state")
    names = [_file_name(files, query.qid) for query in queries]
    lacking = [query for query, name in zip(queries, names) if name is None]
    if lacking:
        raise InputError(
            f"{folder}: no text features for {len(lacking)} of {len(queries)} queries, e.g. qid{lacking[0].qid}.npz "
            f"(the folder holds e.g. {files.example()}); without --text-features they are computed"
        )
    kept: dict[str, TextRecord] = {}
    differing = 0
    for query, name in zip(queries, names):
        assert name is not None  # else refused above
        features = normalized(files.load(name, mask_key="attention_mask"), normalize)
        check_float16(features, str(files.find(name)))
        first = kept.setdefault(query.text, TextRecord(query.text, features))
        differing += first.features.shape != features.shape or not np.allclose(
            first.features, features, rtol=0.0, atol=SAME_TOLERANCE
        )
    assert files.dim is not None  # at least one file was loaded
    return list(kept.values()), files.dim, differing


def _file_name(files: FeatureFolder, qid: int | str) -> str | None:
    return next((name for name in (f"qid{qid}", str(qid)) if files.find(name) is not None), None)
