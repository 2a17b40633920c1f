"""Checkpoints that the authors of the published models trained, turned into run directories of ours.

Their files are PyTorch pickles of {"model": state_dict, "opt": argparse.Namespace, ...}. They are read with PyTorch's
restricted unpickler, which makes tensors, plain containers and that one inert class, and runs nothing else. Sizes are
taken from the shapes of the weights; what shapes do not tell (attention heads, loss weights, optimisation) from the
options, or where a file has none from the model's preset.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rdmf.baselines.names import NAMES, load_authors
from rdmf.config import BASELINES, Config, load_config, presets
from rdmf.model import Grounder, build_model
from rdmf.run import load_run, run_header
from rdmf.store import Cache, InputError, open_cache
from rdmf.train.checkpoint import save_weights, write_json

#: Where a size shows: (one of the authors' parameters, its axis), or a pattern whose group numbers what is counted.
Sizes = Mapping[str, tuple[str, int] | str]

_ALL: Sizes = {
    "model.hidden": ("input_vid_proj.0.net.1.weight", 0),
    "projections": r"input_vid_proj\.(\d+)\.net\.1\.weight",
    "encoder_layers": r"transformer\.encoder\.layers\.(\d+)\.linear1\.weight",
    "feedforward": ("transformer.encoder.layers.0.linear1.weight", 0),
}
_DETR: Sizes = {
    **_ALL,
    "decoder_layers": r"transformer\.decoder\.layers\.(\d+)\.linear1\.weight",
    "queries": ("query_embed.weight", 0),
}
_TEXT_TO_VIDEO: Sizes = {**_DETR, "text_layers": r"transformer\.t2v_encoder\.layers\.(\d+)\.linear1\.weight"}

#: model -> setting (of its own section, where no other is named) -> where its size shows.
SIZES: dict[str, Sizes] = {
    "moment-detr": _DETR,
    "qd-detr": _TEXT_TO_VIDEO,
    "cg-detr": {
        **_TEXT_TO_VIDEO,
        "dummies": ("dummy_rep_token", 0),
        "prompts": ("global_rep_token", 0),
        "dummy_layers": r"txtproj_encoder\.layers\.(\d+)\.linear1\.weight",
        "sentence_layers": r"scls_encoder\.layers\.(\d+)\.linear1\.weight",
        "moment_layers": r"transformer\.mcls_encoder\.layers\.(\d+)\.linear1\.weight",
    },
    "univtg": _ALL,
}

_SHARED_OPTIONS = {
    "dropout": "model.dropout",
    "input_dropout": "model.input_dropout",
    "lr": "train.lr",
    "wd": "train.weight_decay",
    "bsz": "train.batch",
    "n_epoch": "train.epochs",
    "grad_clip": "train.clip_norm",
    "nms_thd": "score.nms",
    "nheads": "heads",
    "eos_coef": "background",
}
_DETR_OPTIONS = {
    **_SHARED_OPTIONS,
    "max_q_l": "data.max_tokens",
    "span_loss_coef": "span",
    "giou_loss_coef": "giou",
    "label_loss_coef": "label",
    "lw_saliency": "saliency",
    "saliency_margin": "margin",
    "aux_loss": "aux_loss",
    "set_cost_span": "cost_span",
    "set_cost_giou": "cost_giou",
    "set_cost_class": "cost_label",
}

#: model -> the authors' option -> our setting.
OPTIONS: dict[str, dict[str, str]] = {
    "moment-detr": _DETR_OPTIONS,
    "qd-detr": _DETR_OPTIONS,
    "cg-detr": {
        **_DETR_OPTIONS,
        "num_prompts": "chosen_prompts",
        "lw_wattn": "focus",
        "lw_ms_align": "alignment",
        "lw_distill": "distillation",
    },
    "univtg": {
        **_SHARED_OPTIONS,
        "droppath": "drop_path",
        "b_loss_coef": "boundary",
        "g_loss_coef": "giou",
        "f_loss_coef": "foreground",
        "s_loss_intra_coef": "within",
        "s_loss_inter_coef": "across",
    },
}

#: Options of theirs that change the network or its input, and the value that every published configuration has.
FIXED: dict[str, Any] = {
    "ctx_mode": "video_tef",
    "position_embedding": "sine",
    "span_loss_type": "l1",
    "pre_norm": False,
    "use_txt_pos": False,
    "contrastive_align_loss": False,
}


@dataclass(frozen=True)
class Checkpoint:
    """What an authors' file holds.

    Attributes:
        path: the file. state: its weights by the authors' names. options: their command line, empty where not kept.
        epochs: how many they trained, 0 where unknown.
    """

    path: Path
    state: dict[str, Tensor]
    options: dict[str, Any]
    epochs: int

    @property
    def widths(self) -> tuple[int, int]:
        """Widths of the video features, without the two endpoint features that the model adds, and of the text's."""
        found = [self.state.get(f"input_{part}_proj.0.net.1.weight") for part in ("vid", "txt")]
        if any(tensor is None or tensor.ndim != 2 for tensor in found):
            raise InputError(f"{self.path}: no input projections in it, so it is none of {', '.join(sorted(NAMES))}")
        video, text = (int(tensor.shape[1]) for tensor in found if tensor is not None)
        return video - 2, text


def read_checkpoint(path: Path) -> Checkpoint:
    """Read an authors' file without running anything in it.

    Raises:
        InputError: no such file, not a PyTorch file, one that holds more than data, or one without weights.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a directory; give the checkpoint file in it, e.g. {path / 'model_best.ckpt'}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever a foreign file makes it meet
        unsafe = re.search(r"GLOBAL ([\w.]+)", str(error))
        if unsafe:
            raise InputError(
                f"{path}: holds a {unsafe[1]}, and reading that could run any code; where it was trained, save "
                "{'model': model.state_dict()} alone"
            ) from None
        raise InputError(f"{path}: not a PyTorch checkpoint ({type(error).__name__})") from None
    state = held.get("model", held) if isinstance(held, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: no weights in it; expected a state_dict, or a dict that has one as 'model'")
    options = held.get("opt", {})
    options = vars(options) if isinstance(options, argparse.Namespace) else options
    epoch = held.get("epoch")
    # Parallel training leaves `module.` in front of every name.
    prefix = "module." if all(str(name).startswith("module.") for name in state) else ""
    return Checkpoint(
        path,
        {str(name).removeprefix(prefix): value for name, value in state.items()},
        dict(options) if isinstance(options, Mapping) else {},
        epoch + 1 if isinstance(epoch, int) else 0,
    )


def check_model(checkpoint: Checkpoint, model: str) -> None:
    """Refuse a checkpoint of another model, saying of which it is where that can be told.

    Raises:
        InputError: its parameters are not this model's.
    """
    odd = _first_odd_name(checkpoint.state, model)
    if odd is None:
        return
    fitting = [name for name in sorted(NAMES) if _first_odd_name(checkpoint.state, name) is None]
    hint = f"it is a {fitting[0]} model: --model {fitting[0]}" if fitting else f"it {odd}"
    raise InputError(f"{checkpoint.path}: not a {model} model; {hint}")


def _first_odd_name(state: Mapping[str, Tensor], model: str) -> str | None:
    """What keeps these parameters from being the model's."""
    strange = next((name for name in state if NAMES[model].ours(name) is None), None)
    if strange is not None:
        return f"has a parameter '{strange}'"
    for where in SIZES[model].values():
        if isinstance(where, tuple):
            name, axis = where
            if name not in state or state[name].ndim <= axis:
                return f"has no parameter '{name}'"
        elif not any(re.fullmatch(where, name) for name in state):
            return f"has no parameter like '{where}'".replace("\\", "").replace("(d+)", "0")
    return None


def settings_of(checkpoint: Checkpoint, model: str) -> Config:
    """The configuration of an authors' checkpoint: the model's preset, its options, and the sizes its weights show.

    Raises:
        InputError: an option that changes the network in a way that is not built here.
    """
    for option, value in FIXED.items():
        found = checkpoint.options.get(option, value)
        if found != value:
            raise InputError(f"{checkpoint.path}: trained with {option}={found}; here is only {option}={value}")
    raw = {bool(checkpoint.options.get(f"no_norm_{part}feat", False)) for part in "vt"}
    if len(raw) > 1:
        raise InputError(f"{checkpoint.path}: trained on features of which only one kind was normalised")
    section = BASELINES[model]

    def full(name: str) -> str:
        return name if "." in name else f"{section}.{name}"

    overrides: dict[str, Any] = {"model.name": model, full("normalize"): not raw.pop()}
    for option, name in OPTIONS[model].items():
        value = checkpoint.options.get(option)
        if isinstance(value, (bool, int, float)):
            overrides[full(name)] = value
    if overrides.get("score.nms", 0) < 0:
        overrides["score.nms"] = 1.0  # theirs: -1 for none
    if overrides.get("train.clip_norm", 0) < 0:
        overrides["train.clip_norm"] = 0.0
    for name, where in SIZES[model].items():
        if isinstance(where, tuple):
            overrides[full(name)] = int(checkpoint.state[where[0]].shape[where[1]])
        else:
            overrides[full(name)] = sum(re.fullmatch(where, key) is not None for key in checkpoint.state)
    try:
        return load_config(model if model in presets() else None, None, overrides)
    except InputError as error:
        raise InputError(f"{checkpoint.path}: {error}") from None


def build_authors(checkpoint: Checkpoint, config: Config) -> Grounder:
    """The model of this configuration with the authors' weights.

    Raises:
        InputError: weights that do not fit it.
    """
    model = build_model(config, *checkpoint.widths)
    network = model.network
    assert isinstance(network, torch.nn.Module)
    try:
        load_authors(network, checkpoint.state, config.model.name)
    except InputError as error:
        raise InputError(f"{checkpoint.path}: {error}") from None
    return model


def rows_are_unit(cache: Cache) -> bool:
    """Whether the cache's rows were made of unit length stream by stream, as the authors' loaders do."""
    made = cache.provenance
    return made.video.get("normalize") == "l2" and made.text.get("normalize") == "l2"


def streams_scaled_together(cache: Cache) -> bool:
    """Whether rows join several streams that only the model will normalise, all as one, unlike the authors' loaders."""
    made = cache.provenance.video
    return len(made.get("streams", ())) > 1 and made.get("normalize") != "l2"


def import_checkpoint(path: Path, model: str, features: Path, out: Path) -> Path:
    """Write a run directory with an authors' weights, for the features of a cache.

    Args:
        path: their file. model: which model it is, as in `model.name`. features: the cache that the run is for.
        out: the run directory, which must not exist; it is whole or absent.

    Returns:
        `out`, as `rdmf eval` and `rdmf predict` take it.

    Raises:
        InputError: a file, a model, widths or a place that cannot be used.
    """
    if out.exists():
        raise InputError(f"{out} exists; choose another --out")
    checkpoint = read_checkpoint(path)
    check_model(checkpoint, model)
    config = settings_of(checkpoint, model)
    with open_cache(features) as cache:
        if checkpoint.widths != (cache.d_video, cache.d_text):
            video, text = checkpoint.widths
            raise InputError(
                f"{path} takes {video}-d video and {text}-d text features, {features} has {cache.d_video} and "
                f"{cache.d_text}; it needs a cache of the features it was trained on (rdmf features import)"
            )
        if rows_are_unit(cache):
            config = config.updated({f"{BASELINES[model]}.normalize": False})
        grounder = build_authors(checkpoint, config)
        header = run_header(config, cache, features, preset=model, seed=_whole(checkpoint.options.get("seed")))
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        write_json(partial / "config.json", {**header, "imported": str(path)})
        for name in ("best", "last"):
            save_weights(partial / f"{name}.safetensors", grounder.state_dict(), {"epoch": str(checkpoint.epochs)})
        write_json(partial / "summary.json", _summary(checkpoint, header["seed"]))
        load_run(partial)  # what was written must read back before it is called done
        partial.rename(out)
    except OSError as error:
        raise InputError(f"cannot write the run directory {out}: {error.strerror}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _summary(checkpoint: Checkpoint, seed: int) -> dict[str, Any]:
    """`summary.json` of a run that was not trained here: nothing was held out and nothing was timed."""
    return {
        "imported": str(checkpoint.path),
        "epochs": checkpoint.epochs,
        "best_epoch": checkpoint.epochs,
        "holdout": {},
        "monitor": "the authors' own",
        "train_queries": 0,
        "holdout_queries": 0,
        "seconds": 0.0,
        "samples_per_second": 0.0,
        "seed": seed,
    }
