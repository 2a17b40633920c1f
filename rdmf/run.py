"""A finished (or running) training run: its model, and where its features came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rdmf import __version__
from rdmf.config import Config
from rdmf.content import content_of
from rdmf.files import read_json
from rdmf.model import Grounder, build_model
from rdmf.predict import clip_saliency, predict_one
from rdmf.store import Cache, InputError, Provenance, differing_fields
from rdmf.train.checkpoint import load_weights
from rdmf.train.pool import group_starts, pool_edges, pool_rows, pool_times
from rdmf.train.targets import clip_edges

#: Format of a run directory; raised when an older rdmf could not read a newer run.
RUN_SCHEMA = 1


@dataclass
class Run:
    """A trained model with everything needed to use it.

    Attributes:
        path: the run directory. config: its settings. model: in evaluation mode.
        provenance, fingerprint: of the cache it was trained on; prediction on a new video must extract the same way.
        features: the path of that cache, as it was given. metrics: the summary of the training.
    """

    path: Path
    config: Config
    model: Grounder
    provenance: Provenance
    fingerprint: str
    features: Path
    metrics: dict[str, Any]

    def predict_features(
        self,
        features: NDArray[Any],
        times: NDArray[Any],
        duration: float,
        tokens: NDArray[Any],
        *,
        top_k: int = 10,
        clip_length: float | None = None,
        device: str = "auto",
    ) -> dict[str, Any]:
        """Moments and saliency of one video for one query, any length.

        Args:
            features: (L, d_v). times: (L, 2) seconds. duration: seconds. tokens: (M, d_t).
            top_k: moments at most. clip_length: seconds of a clip in `pred_saliency_scores`; default: the rows' own.

        Returns:
            `pred_relevant_windows` [[start, end, score], ...] in seconds, best first; `saliency` (L',) with `times`
            (L', 2), L' = L / `data.pool` rounded up; `pred_saliency_scores`, one per clip.
        """
        where = pick_device(device)
        tokens = tokens[: self.config.data.max_tokens or None]
        offsets, size = np.array([0, len(features)]), self.config.data.pool

        edges = clip_edges(np.asarray(times, dtype=np.float64), offsets, np.array([duration]))
        length = clip_length or float(np.median(np.diff(edges)) * duration)
        if size > 1:
            times = pool_times(np.asarray(times), group_starts(offsets, size)[0])
            edges = pool_edges(edges, offsets, size)
            features, _ = pool_rows(features, offsets, size)
        moments, saliency = predict_one(
            self.model.to(where), features, edges, duration, tokens, top_k=top_k, device=where
        )
        return {
            "pred_relevant_windows": moments,
            "saliency": saliency.tolist(),
            "times": np.asarray(times, dtype=np.float64).tolist(),
            "pred_saliency_scores": clip_saliency(saliency, edges, duration, length).tolist(),
        }


def pick_device(name: str) -> torch.device:
    """ "auto" is the GPU where there is one, else the CPU; anything else is PyTorch's own name for a device.

    Raises:
        InputError: no such device, or none that computes here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device '{name}' is unknown; use auto, cpu, cuda or cuda:N") from None
    try:
        torch.zeros(1, device=device).item()  # a number has to come back: "meta" takes any and gives none
    except (RuntimeError, AssertionError, ImportError) as error:  # what kinds of devices raise where they are not
        why = str(error).partition("\n")[0].partition(". ")[0]
        raise InputError(f"device '{name}' cannot be used here ({why}); use auto, cpu, cuda or cuda:N") from None
    return device


def run_header(config: Config, cache: Cache, features: str | Path, *, preset: str | None, seed: int) -> dict[str, Any]:
    """What `config.json` of a run directory says: settings, and the features that the model is for.

    Args:
        cache: the cache the run is made for, at `features`.
    """
    made = cache.provenance
    return {
        "schema": RUN_SCHEMA,
        "rdmf": __version__,
        "config": config.to_dict(),
        "preset": preset,
        "seed": seed,
        "features": str(features),
        "fingerprint": cache.fingerprint,
        "content": content_of(cache),
        "provenance": {"video": made.video, "text": made.text, "notes": made.notes},
        "video_dim": cache.d_video,
        "text_dim": cache.d_text,
    }


def load_run(path: str | Path, *, weights: str = "best") -> Run:
    """Read a run directory (or a checkpoint file inside it).

    Args:
        weights: "best" or "last".

    Raises:
        InputError: not a run, damaged, or of a newer format.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        path, weights = path.parent, path.stem
    if not path.is_dir():
        raise InputError(f"no run at {path}; `rdmf train` writes runs under runs/")
    if not (path / "config.json").is_file():
        raise InputError(f"{path} is not a run: it has no config.json")
    saved = read_json(path / "config.json")
    if not isinstance(saved, dict) or saved.get("schema") != RUN_SCHEMA:
        found = saved.get("schema") if isinstance(saved, dict) else None
        raise InputError(
            f"{path / 'config.json'}: run format {found}, this rdmf reads {RUN_SCHEMA}; use the rdmf that made it"
        )
    try:
        config = Config.of_run(saved["config"], where=str(path / "config.json"))
        provenance = Provenance(**saved["provenance"])
        model = build_model(config, int(saved["video_dim"]), int(saved["text_dim"]))
        fingerprint, features = str(saved["fingerprint"]), Path(saved["features"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path / 'config.json'}: damaged ({error})") from None
    state = load_weights(path / f"{weights}.safetensors")
    fit(model, state, path / f"{weights}.safetensors")
    summary = read_json(path / "summary.json") if (path / "summary.json").is_file() else {}
    return Run(path, config, model.eval(), provenance, fingerprint, features, summary)


def fit(model: Grounder, state: dict[str, torch.Tensor], where: Path) -> None:
    """Load weights strictly; what does not fit is named."""
    own = model.state_dict()
    odd = sorted(own.keys() ^ state.keys()) or sorted(k for k in own if own[k].shape != state[k].shape)
    if odd:
        raise InputError(f"{where}: does not fit its configuration; {len(odd)} tensors differ, the first is '{odd[0]}'")
    model.load_state_dict(state)


def refuse_mismatch(run: Run, cache: Cache) -> None:
    """A model must see the features it was trained on.

    Raises:
        InputError: other widths or another fingerprint; the differing settings are named.
    """
    if (cache.d_video, cache.d_text) != (run.model.video_dim, run.model.text_dim):
        raise InputError(
            f"{run.path} takes {run.model.video_dim}-d video and {run.model.text_dim}-d text features, "
            f"{cache.path} has {cache.d_video} and {cache.d_text}; evaluate on the cache it was trained on"
        )
    if cache.fingerprint != run.fingerprint:
        fields = differing_fields(run.provenance, cache.provenance)
        raise InputError(
            f"{cache.path} was extracted otherwise than the features that {run.path} was trained on: "
            f"{'; '.join(fields)}; extract it again with the settings of that training"
        )


def latest_run(root: str | Path = "runs") -> Path:
    """The run directory under `root` that was written to last.

    Raises:
        InputError: there is none.
    """
    found = [p.parent for p in Path(root).glob("**/best.safetensors")]
    if not found:
        raise InputError(f"no trained run under {root}/; train one first: rdmf train --features features/NAME.h5")
    return max(found, key=lambda p: (p / "best.safetensors").stat().st_mtime)
