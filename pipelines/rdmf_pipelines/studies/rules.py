"""Rows measured without `rdmf train`: a rule without learning, scored query by query by a script of its own.

The script writes JSON: {"label": ..., "about": ..., "command": ..., "folds": {NAME: {"qid": [...], "metrics":
{METRIC: [...]}}}}, a share in [0, 1] for every query and metric (null where the query lacks the annotation), the folds
called as the caches' files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rdmf.files import read_json
from rdmf.store import InputError
from rdmf_pipelines.studies.comparison import Queries, Row
from rdmf_pipelines.studies.scoring import METRICS


@dataclass(frozen=True)
class Rule:
    """What such a file holds.

    Attributes:
        label: the row's name. about: how it works, in a sentence. command: what made the file.
        folds: {fold: {qid: (M,) shares by METRICS}}.
    """

    label: str
    about: str
    command: str
    folds: dict[str, dict[str, Any]]

    @staticmethod
    def read(path: Path) -> Rule:
        """Read the file.

        Raises:
            InputError: not there, not JSON, or not in that form.
        """
        saved = read_json(path)
        try:
            folds = {}
            for name, part in saved["folds"].items():
                columns = [part["metrics"].get(metric, [None] * len(part["qid"])) for metric in METRICS]
                values = np.array([[np.nan if v is None else float(v) for v in column] for column in columns])
                folds[name] = dict(zip(map(str, part["qid"]), values.T, strict=True))
            return Rule(str(saved["label"]), str(saved["about"]), str(saved["command"]), folds)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path}: not the scores of a rule ({error!r}); make it with --json of its script"
            ) from None

    def row(self, queries: Queries) -> Row | None:
        """The rule's scores on a study's queries; None where it has not answered all of them."""
        found = [self.folds.get(fold, {}).get(str(qid)) for fold, qid in queries.ids]
        known = [values for values in found if values is not None]
        if len(known) < len(found):
            return None
        return Row(self.label, (), np.stack(known).T[None])
