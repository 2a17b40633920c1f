"""From `model.name` to the model, without importing the others."""

from __future__ import annotations

from importlib import import_module

from rdmf.config import Config
from rdmf.model.base import Grounder

#: Every model by the name `model.name` gives it; loaded when it is built.
MODELS = {
    "rdmf": "rdmf.model.rdmf:RDMF",
    "moment-detr": "rdmf.baselines.moment_detr:MomentDETR",
    "qd-detr": "rdmf.baselines.qd_detr:QDDETR",
    "cg-detr": "rdmf.baselines.cg_detr:CGDETR",
    "univtg": "rdmf.baselines.univtg:UniVTG",
}


def build_model(config: Config, video_dim: int, text_dim: int) -> Grounder:
    """The model that `config.model.name` names, with fresh weights.

    Args:
        video_dim, text_dim: widths of the features.
    """
    module, _, name = MODELS[config.model.name].partition(":")
    model = getattr(import_module(module), name)(config, video_dim, text_dim)
    assert isinstance(model, Grounder)
    return model
