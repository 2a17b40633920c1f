"""Settings of the published models. Defaults are what their authors published, their code's oddities included.

Sizes that every model has (`model.hidden`, `model.dropout`, `model.input_dropout`) and the optimisation (`train.*`) are
shared with RDMF; the presets `moment-detr`, `qd-detr`, `cg-detr` and `univtg` set those to the authors' values.
"""

from __future__ import annotations

from dataclasses import dataclass

from rdmf.setting import setting
from rdmf.store import InputError


@dataclass(frozen=True)
class DETRConfig:
    """What the three DETR-like models share."""

    encoder_layers: int = setting(2, "self-attention layers of the encoder", low=1)
    decoder_layers: int = setting(2, "decoder layers", low=1)
    heads: int = setting(8, "attention heads", low=1)
    feedforward: int = setting(1024, "inner width of the transformer's MLPs", low=1)
    projections: int = setting(2, "layers of the input projections", low=1, high=3)
    queries: int = setting(10, "number of moment queries", low=1)
    normalize: bool = setting(True, "divide every feature row by its Euclidean norm")
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

    foreign: float = setting(
        1.0,
        "weight, within the saliency losses, of what a video is for the next sentence of the batch: nothing; 0: no "
        "such pairs, in the ranking neither (where sentences are true of many videos they mislead)",
        low=0,
    )


@dataclass(frozen=True)
class CGDETRConfig(TextToVideoConfig):
    """CG-DETR (Moon et al. 2023)."""

    encoder_layers: int = setting(3, "self-attention layers of the encoder", low=1)
    decoder_layers: int = setting(3, "decoder layers", low=1)
    dummies: int = setting(45, "dummy tokens, which take the attention of clips that the words do not tell of", low=1)
    dummy_layers: int = setting(2, "self-attention layers through which the dummies learn the words", low=1)
    sentence_layers: int = setting(1, "layers of the sentence token's encoder, for the losses only", low=1)
    moment_layers: int = setting(1, "layers of the moment token's encoder, for the losses only", low=1)
    prompts: int = setting(10, "learnt prompts that the saliency token is made of", low=1)
    chosen_prompts: int = setting(1, "how many of them a video takes; 1 as published, lighthouse's copy takes 2", low=1)
    saliency_token: str = setting(
        "alone",
        "what the saliency token attends to in the text-to-video layers: alone: nothing, as published, where its keys "
        "are cut from a sequence that has none; words: dummies and words, as the clips do",
        choices=("alone", "words"),
    )
    focus: float = setting(1.0, "weight, within the saliency losses, of those on the attention to words", low=0)
    alignment: float = setting(1.0, "weight of the alignment of moment and sentence tokens", low=0)
    distillation: float = setting(1.0, "weight of the distillation of clip-word similarity into the attention", low=0)
    apartness: float = setting(1.0, "weight of the loss that keeps dummies and prompts apart", low=0)
    dummy_negatives: str = setting(
        "first",
        "sentence tokens of dummies that a moment token is drawn to: first: of all but its own the first, as "
        "published, where the labels are several and their arg-max is taken; all: any but its own",
        choices=("first", "all"),
    )
    saturating: bool = setting(
        True,
        "as published, moment and clip are compared through a sigmoid in float32 before the logarithm: a clip that is "
        "wrong by more than 17 costs 100 and teaches nothing",
    )
    lone_unranked: bool = setting(
        True,
        "as published, where one sample of a batch, and only one, is followed by a sentence about its own video, it "
        "learns no ranks: an axis too many makes each of its clips a video",
    )
    padding_in_losses: bool = setting(
        True,
        "as published, padded clips and words count in the means of focus, alignment and distillation, which therefore "
        "depend on the batch",
    )

    def __post_init__(self) -> None:
        if self.chosen_prompts > self.prompts:
            raise InputError(
                f"cg_detr.chosen_prompts={self.chosen_prompts}: there are cg_detr.prompts={self.prompts}; choose "
                "fewer, or have more"
            )


@dataclass(frozen=True)
class UniVTGConfig:
    """UniVTG (Lin et al. 2023)."""

    encoder_layers: int = setting(4, "self-attention layers of the encoder", low=1)
    heads: int = setting(8, "attention heads", low=1)
    feedforward: int = setting(1024, "inner width of the transformer's MLPs", low=1)
    projections: int = setting(2, "layers of the input projections", low=1, high=3)
    normalize: bool = setting(True, "divide every feature row by its Euclidean norm")
    drop_path: float = setting(0.1, "probability of leaving out a residual branch for a whole sample", low=0, high=0.95)
    boundary: float = setting(10.0, "weight of the smooth L1 loss of the moment's ends", low=0)
    giou: float = setting(1.0, "weight of the generalised IoU loss", low=0)
    foreground: float = setting(10.0, "weight of the loss of being inside a moment", low=0)
    within: float = setting(0.05, "weight of the contrast with less salient clips of the same video", low=0)
    across: float = setting(0.01, "weight of the contrast with the batch's other videos and sentences", low=0)
    background: float = setting(0.1, "weight of clips outside all moments in the foreground loss", low=0, high=1)
    temperature: float = setting(0.07, "temperature of the two contrasts", low=1e-3)
    highlight: str = setting(
        "sum",
        "the saliency that is given: sum: similarity plus foreground probability, as published; similarity: that alone",
        choices=("sum", "similarity"),
    )
    clip_times: str = setting(
        "ends",
        "instant a clip answers for and measures its moment from: ends: (i + 1) / L as published, where half a clip in "
        "seconds (1, for clips of 2 s) is added to a number of clips; centres: as meant",
        choices=("ends", "centres"),
    )
    heads_see_padding: bool = setting(
        True, "as published, padding is not zeroed before a convolution: a video's last three clips depend on its batch"
    )
    log_of_nearly_zero: bool = setting(
        True, "as published, similarity in padding is lowered by log(1e-45) = -103.28 rather than by the largest number"
    )
    similarity_across_batch: bool = setting(
        True,
        "as published, the contrast within a video also sets its salient clip against the clips of the same number in "
        "the batch's other videos",
    )
