"""The reference outputs of the published models, and the weights they were made with."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Golden:
    """One published model: `info` (configuration, names, losses), `arrays` (outputs, targets), the shared `inputs`."""

    info: dict[str, Any]
    arrays: dict[str, Tensor]
    inputs: dict[str, Tensor]

    @property
    def options(self) -> dict[str, Any]:
        """The authors' command line options."""
        return dict(self.info["config"])

    def state(self) -> dict[str, Tensor]:
        """The authors' state_dict under the fixture's fill rule: each entry's values follow from its name alone."""
        norms = {f"{module}.weight" for module in self.info["norm_modules"]}
        return {name: fill(name, shape, norm=name in norms) for name, shape, _ in self.info["state_dict"]}

    def network_inputs(self, sample: int | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """video, its mask, text, its mask: of the whole batch, or of one sample without padding."""
        video, text = self.inputs["src_vid"], self.inputs["src_txt"]
        seen, read = self.inputs["src_vid_mask"].bool(), self.inputs["src_txt_mask"].bool()
        if sample is None:
            return video, seen, text, read
        i = slice(sample, sample + 1)
        clips, words = int(seen[sample].sum()), int(read[sample].sum())
        return video[i, :clips], seen[i, :clips], text[i, :words], read[i, :words]


def fill(name: str, shape: list[int], *, norm: bool) -> Tensor:
    """Small numbers drawn from the name's checksum; around 1 for the scale of a norm."""
    drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    return torch.from_numpy(drawn * np.float32(0.05) + np.float32(1.0 if norm else 0.0))


def load_golden(shared: Path, name: str) -> Golden:
    """`name` is a file's in ../shared/golden/models, e.g. "qd_detr"."""
    folder = shared / "golden" / "models"
    info = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return Golden(info, _tensors(folder / f"{name}.npz"), _tensors(folder / "inputs.npz"))


def _tensors(path: Path) -> dict[str, Tensor]:
    with np.load(path) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def error(ours: Tensor, theirs: Tensor) -> float:
    """The largest absolute difference; shapes must agree."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float((ours.double() - theirs.double()).abs().max())
