"""From the names of the authors' parameters to ours, so that their published checkpoints can be read.

A model's rules name the parameters of its inner network (`Grounder.network`), not of the Grounder around it.

Adding a model's rules: write a `Names` below and list it in `NAMES`. Each rule is a regular expression that must match
the authors' whole name, and what it becomes (`\\1` for a group); the first that matches wins. Where we keep in several
tensors what the authors keep in one (queries, keys and values stacked along the first axis), give a tuple of names.
What the authors' network carries but never uses is listed with the reason; whatever is neither is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from rdmf.store import InputError


@dataclass(frozen=True)
class Names:
    """How one model's parameters are called.

    Attributes:
        rules: (pattern of the authors' name, our name or the names of its equal parts along the first axis).
        unused: pattern of an authors' name that has no place here -> why.
    """

    rules: tuple[tuple[str, str | tuple[str, ...]], ...]
    unused: Mapping[str, str] = field(default_factory=dict)

    def ours(self, name: str) -> tuple[str, ...] | None:
        """Our names for an authors' one: empty where it is not used, None where no rule knows it."""
        for pattern, becomes in self.rules:
            found = re.fullmatch(pattern, name)
            if found:
                return tuple(found.expand(part) for part in ([becomes] if isinstance(becomes, str) else becomes))
        return () if any(re.fullmatch(pattern, name) for pattern in self.unused) else None


#: model -> its names.
NAMES: dict[str, Names] = {}


def rename(model: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' tensors under our names; a `module.` in front of every name (left by parallel training) is dropped.

    Raises:
        InputError: a name that no rule of this model knows, or that does not divide as the rule says.
    """
    prefix = "module." if state and all(name.startswith("module.") for name in state) else ""
    out: dict[str, Tensor] = {}
    strange: list[str] = []
    for full, tensor in state.items():
        name = full.removeprefix(prefix)
        ours = NAMES[model].ours(name)
        if ours is None:
            strange.append(name)
            continue
        if ours and tensor.shape[0] % len(ours):
            raise InputError(f"not a {model} model: '{name}' of {tensor.shape[0]} rows is not {len(ours)} equal parts")
        for part, piece in zip(ours, tensor.chunk(len(ours)) if len(ours) > 1 else [tensor]):
            if part in out:
                raise InputError(f"not a {model} model: '{name}' would be a second '{part}'")
            out[part] = piece
    if strange:
        raise InputError(
            f"not a {model} model: {len(strange)} of its {len(state)} parameters have no place there, "
            f"the first is '{strange[0]}'"
        )
    return out


def load_authors(network: nn.Module, state: Mapping[str, Tensor], model: str) -> None:
    """Copy the authors' weights into our network, all of them or none.

    Args:
        network: the inner network of a baseline, built with the authors' sizes.
        state: the authors' state_dict. model: the baseline's name, as in `model.name`.

    Raises:
        InputError: a parameter of theirs without a place here, one of ours that they lack, or another shape.
    """
    given, own = rename(model, state), network.state_dict()
    missing = sorted(own.keys() - given.keys())
    if missing:
        raise InputError(f"not a {model} model: {len(missing)} parameters are missing, the first is '{missing[0]}'")
    extra = sorted(given.keys() - own.keys())
    if extra:
        raise InputError(
            f"not a {model} model of these settings: {len(extra)} parameters too many, the first is '{extra[0]}'"
        )
    odd = [name for name in own if own[name].shape != given[name].shape]
    if odd:
        raise InputError(
            f"not a {model} model of these settings: {len(odd)} parameters have another shape, the first is "
            f"'{odd[0]}': {tuple(given[odd[0]].shape)} there, {tuple(own[odd[0]].shape)} here"
        )
    network.load_state_dict(given)
