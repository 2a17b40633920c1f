"""The coefficients of a configuration or of a trained model, block by block and channel by channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdmf.analysis.coefficients import Coefficients
from rdmf.config import Config
from rdmf.model.base import Grounder
from rdmf.model.diffusion import TemporalDiffusion
from rdmf.model.fusion import LiteralFusion, ReactionBlock
from rdmf.model.layers import masked_mean
from rdmf.model.rdmf import RDMF
from rdmf.model.reaction import Kinetics, Rates
from rdmf.sections import FusionConfig
from rdmf.store import Cache, InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """One reaction-diffusion run of a model.

    Attributes:
        name: "block 1", ... coefficients: arrays (Q, d), Q = 1 where no query was asked or none matters.
        scale: (d,) the channel group of each channel; it reaches 2^scale clips.
    """

    name: str
    coefficients: Coefficients
    scale: Ints


@dataclass(frozen=True)
class System:
    """What a model runs along time.

    Attributes:
        config: its settings. blocks: its reaction-diffusion runs; none for cross-attention.
        rate: (1,) or (d,) eta * D of the temporal diffusion before them, K = `config.diffusion.steps` times.
        queried: whether the coefficients were taken for queries.
        driven: whether queries set them at all.
    """

    config: Config
    blocks: tuple[Block, ...]
    rate: Floats
    queried: bool
    driven: bool


def from_config(config: Config) -> System:
    """The coefficients that a configuration starts training with, alike in all blocks: one channel a time scale.

    Raises:
        InputError: the configuration is of a model without diffusion and reaction.
    """
    refuse_others(config, "these settings")
    fusion = config.fusion
    with torch.random.fork_rng(devices=[]):
        rates = Rates(fusion, 1, None)()
        rate = TemporalDiffusion(config.diffusion, 1).rate()
    scales = fusion.scales if fusion.kind == "blocks" else 1
    name = "every block" if fusion.kind == "blocks" and fusion.blocks > 1 else "block 1"
    block = Block(name, _coefficients(fusion, rates, scales), np.arange(scales))
    blocks = () if fusion.kind == "cross-attention" else (block,)
    return System(config, blocks, _array(rate), queried=False, driven=fusion.kind == "blocks")


@torch.no_grad()
def from_model(model: RDMF, pooled: Tensor | None = None) -> System:
    """The coefficients of a model's weights.

    Args:
        pooled: (Q, d) of `pooled_queries`, for a model whose queries set them; None: at the zero query, whose
            coefficients are those that every query's are shifted from.
    """
    fusion = model.config.fusion
    blocks: list[Block] = []
    driven = fusion.kind == "blocks"
    for block in model.fusion.blocks:
        if isinstance(block, (LiteralFusion, ReactionBlock)):
            rates: Rates = block.rates
            asked = pooled if pooled is not None else rates.raw.new_zeros(1, model.config.model.hidden)
            kinetics = rates(asked) if driven else rates()
            width = block.norm.normalized_shape[0] if isinstance(block, ReactionBlock) else 1
            scales = fusion.scales if driven else 1
            scale = np.arange(width) // -(-width // scales)
            blocks.append(Block(f"block {len(blocks) + 1}", _coefficients(fusion, kinetics, width), scale))
    return System(
        model.config,
        tuple(blocks),
        _array(model.diffusion.rate()),
        queried=driven and pooled is not None,
        driven=driven,
    )


def reaction_model(model: Grounder, where: str) -> RDMF:
    """The model as an RDMF.

    Raises:
        InputError: it is another model.
    """
    refuse_others(model.config, where)
    return cast(RDMF, model)


def refuse_others(config: Config, where: str) -> None:
    """Refuse a published model: it has no reaction and no diffusion to analyse."""
    if config.model.name != "rdmf":
        raise InputError(
            f"{where}: {config.model.name} has no reaction and no diffusion to analyse; give a run of model.name=rdmf"
        )


@torch.no_grad()
def pooled_queries(model: RDMF, cache: Cache, texts: Ints, *, batch: int = 256) -> Tensor:
    """What each sentence sets the kinetics with: the mean of its projected tokens, (T, d), on the model's device.

    Args:
        texts: (T,) of the cache's sentences.
    """
    device = next(model.parameters()).device
    data = model.config.data
    out = []
    for start in range(0, len(texts), batch):
        rows = [
            np.asarray(cache.text(int(i)), np.float32)[: data.max_tokens or None] for i in texts[start : start + batch]
        ]
        tokens = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(r) for r in rows], batch_first=True).to(device)
        counts = torch.tensor([len(r) for r in rows], device=device)
        mask = torch.arange(tokens.shape[1], device=device)[None] < counts[:, None]
        if data.normalize:
            tokens = torch.nn.functional.normalize(tokens, dim=-1)
        out.append(masked_mean(model.text(tokens), mask))
    return torch.cat(out)


def _coefficients(fusion: FusionConfig, rates: Kinetics, width: int) -> Coefficients:
    """Rates of shape (1,) or (Q, 1, d) as (Q, width) float64 arrays, diffusion per unit of time."""
    arrays = [_array(r).reshape(-1, r.shape[-1]) for r in (rates.feed, rates.kill, rates.activator, rates.substrate)]
    feed, kill, activator, substrate = (np.broadcast_to(v, (len(v), width)).copy() for v in arrays)
    eta = fusion.step_size
    return Coefficients(feed, kill, activator / eta, substrate / eta, eta, fusion.integrator)


def _array(values: Tensor) -> Floats:
    return values.detach().double().cpu().numpy()
