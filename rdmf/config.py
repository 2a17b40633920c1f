"""A configuration: its sections together, and where their values come from.

A configuration is a set of small frozen sections. Any field can be set from a YAML/JSON file or from the command line
as `section.field=value` (the section may be left out where the field's name is unique). Unknown names are refused with
the nearest known one.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

import yaml

from rdmf.baselines.settings import CGDETRConfig, MomentDETRConfig, QDDETRConfig, UniVTGConfig
from rdmf.sections import (
    DataConfig,
    DecoderConfig,
    DiffusionConfig,
    FusionConfig,
    LossConfig,
    ModelConfig,
    ScoreConfig,
    TrainConfig,
)
from rdmf.setting import check, convert, nearest
from rdmf.store import InputError

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
            changes.setdefault(section, {})[key] = convert(f"{section}.{key}", value, _types()[section][key])
        parts = {s: dataclasses.replace(getattr(self, s), **c) for s, c in changes.items()}
        return dataclasses.replace(self, **parts)


@functools.cache
def _types() -> dict[str, dict[str, Any]]:
    """{section: {field: type}}, evaluated once: a study makes hundreds of configurations."""
    return {section: get_type_hints(kind) for section, kind in get_type_hints(Config).items()}


@functools.cache
def settings() -> Mapping[str, dataclasses.Field[Any]]:
    """Every known setting by its full name, in order."""
    hints = get_type_hints(Config)
    known = {f"{s.name}.{f.name}": f for s in dataclasses.fields(Config) for f in dataclasses.fields(hints[s.name])}
    return MappingProxyType(known)


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
