"""The sections of a configuration: every setting of RDMF and the trainer, with its default, its meaning and its check.

Those of the published models are in `rdmf.baselines.settings`; `rdmf.config` joins the sections and finds their values.
"""

from __future__ import annotations

from dataclasses import dataclass

from rdmf.setting import setting as _setting


@dataclass(frozen=True)
class DataConfig:
    """Which queries are learnt from, and which decide when to stop."""

    train_split: str = _setting("train", "split to learn from")
    holdout: float = _setting(
        0.1,
        "share of the training *videos* set aside to choose the best epoch and to stop early; "
        "0 keeps all and takes the last epoch",
        low=0,
        high=0.9,
    )
    val_split: str = _setting("", "use this split instead of a hold-out (then its scores are no longer unseen)")
    max_tokens: int = _setting(0, "keep the first so many tokens of a query; 0 keeps all", low=0)
    pool: int = _setting(
        1, "average so many consecutive clips into one before the model: long videos at a coarser grain", low=1
    )
    warp: float = _setting(
        0.0, "augmentation: speed up and slow down stretches of a video at random, log-standard deviation", low=0
    )
    blank: float = _setting(
        0.0, "augmentation: share of the clips whose features become the mean of the video's", low=0, high=0.9
    )
    noise: float = _setting(0.0, "augmentation: Gaussian noise on the video features, standard deviation", low=0)
    normalize: bool = _setting(
        False, "L2-normalise every feature row before RDMF (published models: their own section)"
    )
    allow_missing: bool = _setting(False, "train although some annotated videos have no features in the cache")


@dataclass(frozen=True)
class ModelConfig:
    """Which model, and the sizes that all models and all parts share."""

    name: str = _setting(
        "rdmf",
        "the model to train; the others are published models, with settings in sections of their own",
        choices=("rdmf", "moment-detr", "qd-detr", "cg-detr", "univtg"),
    )
    hidden: int = _setting(256, "width d of the model", low=8)
    dropout: float = _setting(0.1, "dropout in projections, MLPs and the decoder", low=0, high=0.95)
    input_dropout: float = _setting(0.3, "dropout on the raw video and text features", low=0, high=0.95)
    centred: bool = _setting(False, "also project what sets each clip's features apart from the mean of its video")
    cuts: float = _setting(
        0.0,
        "hold the flow along time back where neighbouring clips differ: the distance (1 - cosine) at which 1/e gets "
        "through, at the start; 0: everything flows alike everywhere",
        low=0,
    )
    shots: bool = _setting(True, "with model.cuts: each clip knows how far the cuts around it are")
    position: bool = _setting(True, "add a sinusoidal encoding of relative time to the video features")
    context: int = _setting(0, "radius in clips of a depthwise convolution in each block's MLP; 0: none", low=0)


@dataclass(frozen=True)
class DiffusionConfig:
    """Temporal diffusion of the video features before the fusion (paper 3.2, Eq. 1-3)."""

    steps: int = _setting(10, "K, number of Euler steps; 0 switches temporal diffusion off", low=0)
    step_size: float = _setting(1.0, "eta, Euler step", low=0)
    coefficient: float = _setting(0.1, "initial D; eta * D never exceeds `limit`", low=0)
    per_channel: bool = _setting(False, "learn one D per channel rather than one for all")
    limit: float = _setting(
        0.25,
        "bound on eta * D that the parametrisation cannot leave: 0.5 keeps the maximum principle, "
        "0.25 also forbids alternation",
        low=0.01,
        high=0.5,
    )


@dataclass(frozen=True)
class FusionConfig:
    """The fusion of video and text (paper 3.3, Eq. 5-8)."""

    kind: str = _setting(
        "blocks",
        "literal: the paper's single Gray-Scott run with pooled text; "
        "blocks: residual runs whose kinetics the query sets; "
        "cross-attention: no reaction-diffusion (the ablation)",
        choices=("literal", "blocks", "cross-attention"),
    )
    blocks: int = _setting(2, "number of residual blocks (kinds blocks and cross-attention)", low=1)
    steps: int = _setting(5, "N, Euler steps of the reaction-diffusion system", low=1)
    step_size: float = _setting(1.0, "eta, Euler step of the reaction-diffusion system", low=1e-3, high=2.0)
    integrator: str = _setting(
        "split",
        "euler: the paper's forward Euler; split: diffuse, then react with implicit consumption (bounded at any step)",
        choices=("split", "euler"),
    )
    video: str = _setting("activator", "the role of the video field", choices=("activator", "substrate"))
    d_video: float = _setting(0.2, "initial D of the video field; eta * D stays below 0.25", low=0)
    d_text: float = _setting(0.1, "initial D of the text field; eta * D stays below 0.25", low=0)
    feed: float = _setting(0.04, "initial feed rate F", low=1e-4, high=0.25)
    kill: float = _setting(0.06, "initial kill rate k", low=1e-4, high=0.25)
    order: str = _setting(
        "none",
        "constraint on the coefficients, by construction: none; paper: D_video > D_text; "
        "turing: the inhibitor (substrate) diffuses faster",
        choices=("none", "paper", "turing"),
    )
    kinetics: str = _setting(
        "free",
        "constraint on F and k, by construction: free: each bounded by itself; stable: a non-trivial state exists and "
        "attracts, for the system and for the steps taken here; turing: stable, and waves of 3 to 4 clips grow (D too)",
        choices=("free", "stable", "turing"),
    )
    text_field: str = _setting(
        "attention",
        "how the text field starts (kind blocks): pooled (constant in time) or "
        "attention (each clip attends to the tokens)",
        choices=("pooled", "attention"),
    )
    scales: int = _setting(
        4,
        "kind blocks: number of time scales of the fields; channel group g diffuses on a grid coarser by 2^g",
        low=1,
        high=8,
    )
    heads: int = _setting(4, "attention heads where attention is used", low=1)
    residual: bool = _setting(True, "add the video features before the fusion to the fused ones")


@dataclass(frozen=True)
class DecoderConfig:
    """The DETR head (paper 3.5)."""

    queries: int = _setting(100, "number of moment queries", low=1)
    layers: int = _setting(2, "decoder layers", low=1)
    heads: int = _setting(4, "attention heads", low=1)
    segments: int = _setting(
        10, "how many of the pattern's most probable segments start moment queries; 0: no such distribution", low=0
    )
    borders: bool = _setting(
        True,
        "let the pattern say where within its first and last clip a segment starts and ends; false: at their borders",
    )
    turns: bool = _setting(True, "with model.cuts: a segment may rather start and end at cuts, and not run across them")
    votes: float = _setting(
        0.5, "share of the clips' votes against the segments in what the pattern says; 0: no votes", low=0, high=1
    )
    runs: int = _setting(
        6, "how many maximum-sum runs of the saliency pattern start moment queries, per level; 0: none", low=0
    )
    levels: tuple[float, ...] = _setting(
        (0.0, -1.0, 1.0, -2.0, 2.0), "levels subtracted from the saliency logit before the runs are read"
    )
    refine: bool = _setting(True, "move the spans in each decoder layer; false: only score them where they start")
    gradient: float = _setting(
        0.1, "share of the moment losses' gradient that reaches the fusion; 1: all of it, 0: none", low=0, high=1
    )
    aux_loss: bool = _setting(True, "apply the moment losses after every decoder layer")


@dataclass(frozen=True)
class LossConfig:
    """Weights of Eq. 17 and the costs of the matcher."""

    saliency: float = _setting(4.0, "weight of the saliency BCE (Eq. 14)", low=0)
    contrast: float = _setting(0.0, "weight of the saliency ranking loss (clips inside above clips outside)", low=0)
    segment: float = _setting(
        0.3, "weight of the negative log-likelihood of the moment among all segments of the pattern", low=0
    )
    expected: float = _setting(2.0, "weight of 1 - expected IoU of the pattern's segments with the moment", low=0)
    vote: float = _setting(3.0, "weight of the error of the clips' votes for moments", low=0)
    border: float = _setting(
        1.0, "weight of the L1 error of a moment's start and end within their clips, in widths of the clip", low=0
    )
    span: float = _setting(10.0, "weight of the smooth L1 span loss (Eq. 15)", low=0)
    giou: float = _setting(1.0, "weight of the generalised IoU loss", low=0)
    label: float = _setting(4.0, "weight of the classification loss (Eq. 15)", low=0)
    iou: float = _setting(4.0, "weight of the IoU regression (Eq. 16)", low=0)
    background: float = _setting(0.1, "weight of the no-moment class in the classification loss", low=0, high=1)
    smooth: float = _setting(0.05, "beta of the smooth L1 loss, in units of the video's duration", low=1e-4)
    iou_queries: str = _setting("all", "which moment queries learn to predict their IoU", choices=("all", "matched"))
    cost_span: float = _setting(10.0, "matcher: weight of L1", low=0)
    cost_giou: float = _setting(1.0, "matcher: weight of generalised IoU", low=0)
    cost_label: float = _setting(4.0, "matcher: weight of the class probability", low=0)


@dataclass(frozen=True)
class ScoreConfig:
    """The final score of a moment (Eq. 13) and what is kept."""

    balance: float = _setting(0.5, "weight of the class probability against the predicted IoU", low=0, high=1)
    pattern: float = _setting(
        0.5, "weight of the expected IoU under the pattern's segments against the two others together", low=0, high=1
    )
    combine: str = _setting(
        "geometric", "sum: weighted sum; geometric: weighted geometric mean", choices=("sum", "geometric")
    )
    nms: float = _setting(
        0.7, "drop moments that overlap a better one by more than this IoU; 1 keeps all", low=0, high=1
    )
    pool: int = _setting(
        0,
        "candidates, best first, among which moments are chosen; 0: four times as many as are kept, at least 32; "
        "more where neighbouring candidates are much alike, as UniVTG's are",
        low=0,
    )
    top_k: int = _setting(10, "moments kept per query", low=1)


@dataclass(frozen=True)
class TrainConfig:
    """The optimisation."""

    epochs: int = _setting(50, "passes over the training queries", low=1)
    batch: int = _setting(16, "queries in a batch", low=1)
    lr: float = _setting(3e-4, "peak learning rate of AdamW", low=0)
    weight_decay: float = _setting(1e-2, "decoupled weight decay", low=0)
    decay: str = _setting("matrices", "what weight decay pulls at: matrices only, or all", choices=("matrices", "all"))
    clip_norm: float = _setting(1.0, "gradient norm limit; 0: none", low=0)
    warmup: float = _setting(0.05, "share of the steps spent warming up", low=0, high=1)
    schedule: str = _setting("cosine", "learning rate after the warm-up", choices=("cosine", "constant", "step"))
    drop_every: int = _setting(
        0, "schedule step: epochs from one drop to a tenth to the next; 0: one drop, after four fifths", low=0
    )
    ema: float = _setting(
        0.99, "decay of the running average of the weights that is evaluated and saved; 0: none", low=0, high=0.99999
    )
    patience: int = _setting(15, "stop after so many epochs without a better hold-out score; 0: never", low=0)
    monitor: str = _setting(
        "mean", "hold-out score to maximise", choices=("mean", "R1@0.5", "R1@0.7", "mIoU", "mAP", "saliency mAP")
    )
    amp: str = _setting(
        "auto",
        "auto: bfloat16 on a GPU that has it; on: on the CPU too, which pays where it has avx512_bf16 or AMX; "
        "off: float32",
        choices=("auto", "on", "off"),
    )
    compile: bool = _setting(False, "compile forward pass and loss; on a GPU as CUDA graphs")
    graphs: str = _setting(
        "auto",
        "auto: on a GPU the whole step is recorded once for each shape as a CUDA graph and replayed; "
        "off: launched operation by operation",
        choices=("auto", "off"),
    )
    bucket: int = _setting(
        0,
        "pad the clips of a batch to a multiple of this, so that few shapes occur; 0: no more than needed, "
        "with train.compile 16",
        low=0,
    )
    device: str = _setting("auto", "auto, cpu, cuda or cuda:N; several processes take a GPU each")
    resident_gib: float = _setting(0.0, "GPU memory the cache may take, in GiB; 0: half of what is free", low=0)
