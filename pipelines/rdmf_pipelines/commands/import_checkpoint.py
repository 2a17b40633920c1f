"""`rdmf import-checkpoint`: weights that a published model's authors trained, as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' PyTorch file, e.g. model_best.ckpt.")],
    model: Annotated[str, typer.Option(help="Which model it is: moment-detr, qd-detr, cg-detr or univtg.")],
    features: Annotated[Path, typer.Option(help="A cache of the features it was trained on; see features import.")],
    out: Annotated[Path, typer.Option(help="The run directory to write, which must not exist.")],
) -> None:
    """Turn an authors' checkpoint into a run for `rdmf eval` and `rdmf predict`.

    The file is read without running anything in it. Sizes come from its weights, the rest from the options it keeps.
    The order of feature streams is not in it: the authors join slowfast then clip, lighthouse clip then slowfast.
    """
    from rdmf.baselines.authors import import_checkpoint as write_run
    from rdmf.baselines.authors import streams_scaled_together
    from rdmf.baselines.names import NAMES
    from rdmf.model.base import describe
    from rdmf.run import load_run
    from rdmf.store import InputError, open_cache
    from rdmf_pipelines.report import print_table

    if model not in NAMES:
        raise InputError(f"--model {model}: unknown; there are {', '.join(sorted(NAMES))}")
    run = load_run(write_run(checkpoint, model, features, out))
    with open_cache(features) as cache:
        together = streams_scaled_together(cache)
    rows = [
        ("model", f"{model}, hidden {run.config.model.hidden}, {describe(run.model)}"),
        ("features", f"{run.model.video_dim}-d video, {run.model.text_dim}-d text"),
    ]
    if together:
        note = "this cache joins streams as they were; the authors normalise each: import them with --normalize l2"
        rows.append(("note", note))
    rows += [("run", str(out)), ("next", f"rdmf eval {out}")]
    print_table("Imported checkpoint", rows)
