"""Every setting of the model and the trainer, with its default, its meaning and its check.

A configuration is a set of small frozen sections. Any field can be set from a YAML/JSON file or from the command line
as `section.field=value` (the section may be left out where the field's name is unique). Unknown names are refused with
the nearest known one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from rdmf.baselines.settings import CGDETRConfig, MomentDETRConfig, QDDETRConfig, UniVTGConfig
from rdmf.setting import check, convert, nearest
from rdmf.setting import setting as _setting
from rdmf.store import InputError


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
    d_video: float = _setting(0.2, "initial diffusion coefficient of the video field", low=0)
    d_text: float = _setting(0.1, "initial diffusion coefficient of the text field", low=0)
    feed: float = _setting(0.04, "initial feed rate F", low=1e-4, high=0.5)
    kill: float = _setting(0.06, "initial kill rate k", low=1e-4, high=0.5)
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
    amp: str = _setting("auto", "auto: bfloat16 on a GPU that has it; off: float32", choices=("auto", "off"))
    compile: bool = _setting(False, "compile forward pass and loss; on a GPU as CUDA graphs")
    bucket: int = _setting(
        0,
        "pad the clips of a batch to a multiple of this, so that few shapes occur; 0: no more than needed, "
        "with train.compile 16",
        low=0,
    )
    device: str = _setting("auto", "auto, cpu, cuda or cuda:N; several processes take a GPU each")
    resident_gib: float = _setting(0.0, "GPU memory the cache may take, in GiB; 0: half of what is free", low=0)


#: Section of each published model, by `model.name`.
BASELINES = {"moment-detr": "moment_detr", "qd-detr": "qd_detr", "cg-detr": "cg_detr", "univtg": "univtg"}


#: Parts of the model that are on by default and that older runs were trained without: how they are switched off.
LATE_PARTS = {"decoder.borders": False, "decoder.votes": 0.0, "model.centred": False}


@dataclass(frozen=True)
class Config:
    """All settings of one run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    moment_detr: MomentDETRConfig = field(default_factory=MomentDETRConfig)
    qd_detr: QDDETRConfig = field(default_factory=QDDETRConfig)
    cg_detr: CGDETRConfig = field(default_factory=CGDETRConfig)
    univtg: UniVTGConfig = field(default_factory=UniVTGConfig)

    def __post_init__(self) -> None:
        for section in dataclasses.fields(self):
            part = getattr(self, section.name)
            for f in dataclasses.fields(part):
                check(f"{section.name}.{f.name}", getattr(part, f.name), f)
        if self.model.name == "rdmf":
            self._check_own_sizes()
        else:
            chosen = BASELINES[self.model.name]
            heads = getattr(self, chosen).heads
            if self.model.hidden % heads:
                raise InputError(f"model.hidden={self.model.hidden} is not divisible by {chosen}.heads={heads}")

    def _check_own_sizes(self) -> None:
        """Sizes of RDMF's sections that must go together; they bind no other model."""
        for name, heads in (("fusion.heads", self.fusion.heads), ("decoder.heads", self.decoder.heads)):
            if self.model.hidden % heads:
                raise InputError(f"model.hidden={self.model.hidden} is not divisible by {name}={heads}")
        if self.model.hidden % self.fusion.scales:
            raise InputError(f"model.hidden={self.model.hidden} is not divisible by fusion.scales={self.fusion.scales}")
        faster = "video" if self.fusion.video == "activator" else "text"
        if self.fusion.kinetics == "turing" and self.fusion.order == "paper" and faster == "video":
            raise InputError(
                "fusion.kinetics=turing needs the substrate to diffuse faster, fusion.order=paper with "
                "fusion.video=activator makes it the slower; set fusion.order=none, or fusion.video=substrate"
            )
        seeds = self.decoder.segments + self.decoder.runs * len(self.decoder.levels)
        if seeds > self.decoder.queries:
            raise InputError(
                f"decoder.segments={self.decoder.segments} and decoder.runs={self.decoder.runs} for "
                f"{len(self.decoder.levels)} levels need {seeds} moment queries, decoder.queries="
                f"{self.decoder.queries} are there; lower decoder.segments or decoder.runs, or raise decoder.queries"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the same configuration back."""
        out: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return out

    @staticmethod
    def from_dict(values: Mapping[str, Any], *, where: str = "configuration") -> Config:
        """Nested {section: {field: value}}; whatever is left out keeps its default."""
        return Config().updated(_flatten(values, where=where), where=where)

    @staticmethod
    def of_run(values: Mapping[str, Any], *, where: str = "configuration") -> Config:
        """What a run has saved of its settings. One saved before there was a part of the model does without it."""
        flat = _flatten(values, where=where)
        return Config().updated({**{k: v for k, v in LATE_PARTS.items() if k not in flat}, **flat}, where=where)

    def updated(self, overrides: Mapping[str, Any], *, where: str = "--set") -> Config:
        """A copy with `section.field` (or an unambiguous `field`) replaced.

        Raises:
            InputError: an unknown name (the nearest known one is given), or a value of the wrong type or range.
        """
        changes: dict[str, dict[str, Any]] = {}
        for name, value in overrides.items():
            section, key = _resolve(name, where)
            hints = get_type_hints(type(getattr(self, section)))
            changes.setdefault(section, {})[key] = convert(f"{section}.{key}", value, hints[key])
        parts = {s: dataclasses.replace(getattr(self, s), **c) for s, c in changes.items()}
        return dataclasses.replace(self, **parts)


def settings() -> dict[str, dataclasses.Field[Any]]:
    """Every known setting by its full name, in order."""
    hints = get_type_hints(Config)
    return {f"{s.name}.{f.name}": f for s in dataclasses.fields(Config) for f in dataclasses.fields(hints[s.name])}


def presets() -> list[str]:
    """Names of the presets that come with rdmf."""
    return sorted(p.name[:-5] for p in resources.files("rdmf.presets").iterdir() if p.name.endswith(".yaml"))


def load_config(
    preset: str | None = None, file: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Defaults, then the preset, then the file (YAML or JSON), then the overrides."""
    config = Config()
    if preset is not None:
        if preset not in presets():
            raise InputError(
                f"unknown preset '{preset}'{nearest(preset, presets())}; there are: {', '.join(presets())}"
            )
        text = (resources.files("rdmf.presets") / f"{preset}.yaml").read_text(encoding="utf-8")
        config = config.updated(
            _flatten(yaml.safe_load(text) or {}, where=f"preset {preset}"), where=f"preset {preset}"
        )
    if file is not None:
        config = config.updated(_flatten(_read_file(file), where=str(file)), where=str(file))
    return config.updated(overrides or {})


def parse_overrides(assignments: Sequence[str]) -> dict[str, Any]:
    """["train.lr=1e-3", ...] as {name: value}, values read as YAML."""
    out: dict[str, Any] = {}
    for item in assignments:
        name, sign, value = item.partition("=")
        if not sign or not name.strip():
            raise InputError(f"--set {item}: write it as name=value, e.g. --set train.lr=1e-4")
        try:
            out[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--set {item}: cannot read the value '{value}'") from None
    return out


def _read_file(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError(f"configuration file not found: {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as YAML or JSON ({error})") from None
    if values is None:
        raise InputError(f"{path}: the configuration file is empty")
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected sections of settings, found {type(values).__name__}")
    return values


def _flatten(values: Any, *, where: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: expected sections of settings, found {type(values).__name__}")
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{key}": v for key, v in value.items()})
        else:
            flat[str(name)] = value
    return flat


def _resolve(name: str, where: str) -> tuple[str, str]:
    known = settings()
    if name in known:
        section, _, key = name.partition(".")
        return section, key
    matches = [k for k in known if k.split(".")[1] == name]
    # The published models have many of RDMF's names; a short one means the section that is not theirs.
    own = [k for k in matches if k.split(".")[0] not in BASELINES.values()]
    matches = own or matches
    if len(matches) == 1:
        section, _, key = matches[0].partition(".")
        return section, key
    if matches:
        raise InputError(f"{where}: '{name}' could be {' or '.join(matches)}; write the full name")
    raise InputError(f"{where}: unknown setting '{name}'{nearest(name, list(known))}; `rdmf train --list` shows all")
