"""Settings of the published models. Defaults are what their authors published, their code's oddities included.

Sizes that every model has (`model.hidden`, `model.dropout`, `model.input_dropout`) and the optimisation (`train.*`) are
shared with RDMF; the presets `moment-detr`, `qd-detr`, `cg-detr` and `univtg` set those to the authors' values.
"""

from __future__ import annotations

from dataclasses import dataclass

from rdmf.setting import setting


@dataclass(frozen=True)
class DETRConfig:
    """What the three DETR-like models share."""

    encoder_layers: int = setting(2, "self-attention layers of the encoder", low=1)
    decoder_layers: int = setting(2, "decoder layers", low=1)
    heads: int = setting(8, "attention heads", low=1)
    feedforward: int = setting(1024, "inner width of the transformer's MLPs", low=1)
    projections: int = setting(2, "layers of the input projections", low=1, high=3)
    queries: int = setting(10, "number of moment queries", low=1)
    aux_loss: bool = setting(True, "apply the moment losses after every decoder layer")
    span: float = setting(10.0, "weight of the L1 span loss", low=0)
    giou: float = setting(1.0, "weight of the generalised IoU loss", low=0)
    label: float = setting(4.0, "weight of the classification loss", low=0)
    saliency: float = setting(1.0, "weight of the saliency losses", low=0)
    background: float = setting(0.1, "weight of the no-moment class in the classification loss", low=0, high=1)
    margin: float = setting(0.2, "margin between a salient and a less salient clip", low=0)
    cost_span: float = setting(10.0, "matcher: weight of L1", low=0)
    cost_giou: float = setting(1.0, "matcher: weight of generalised IoU", low=0)
    cost_label: float = setting(4.0, "matcher: weight of the class probability", low=0)


@dataclass(frozen=True)
class MomentDETRConfig(DETRConfig):
    """Moment-DETR (Lei, Berg, Bansal 2021)."""


@dataclass(frozen=True)
class TextToVideoConfig(DETRConfig):
    """What QD-DETR and CG-DETR share beyond that: layers from text to video, and a ranking loss over levels."""

    text_layers: int = setting(2, "cross-attention layers from the text to the video", low=1)
    mask_layout: str = setting(
        "head-major",
        "text-to-video attention mask: head-major: as published, laid out for another order than the attention's, so "
        "that a query's answer depends on its batch; batch-major: laid out as meant",
        choices=("head-major", "batch-major"),
    )
    rank_temperature: float = setting(0.5, "temperature of the ranking loss", low=1e-3)
    rank_divisor: int = setting(
        12, "the sum over 11 levels is divided by this; 12 as published, 11 is their mean", low=1
    )
    window_level: float = setting(
        1.0,
        "level, on the annotators' scale of 0 to 12, of a clip inside a window where nobody scored clips",
        low=0,
        high=12,
    )


@dataclass(frozen=True)
class QDDETRConfig(TextToVideoConfig):
    """QD-DETR (Moon et al. 2023)."""


@dataclass(frozen=True)
class CGDETRConfig(TextToVideoConfig):
    """CG-DETR (Moon et al. 2023)."""

    encoder_layers: int = setting(3, "self-attention layers of the encoder", low=1)
    decoder_layers: int = setting(3, "decoder layers", low=1)


@dataclass(frozen=True)
class UniVTGConfig:
    """UniVTG (Lin et al. 2023)."""

    encoder_layers: int = setting(4, "self-attention layers of the encoder", low=1)
    heads: int = setting(8, "attention heads", low=1)
    feedforward: int = setting(1024, "inner width of the transformer's MLPs", low=1)
    projections: int = setting(2, "layers of the input projections", low=1, high=3)
