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


#: Parts that all four call alike: the input projections, and the inside of a transformer's encoder layer.
PROJECTIONS = (
    (r"input_vid_proj\.(\d+)\.LayerNorm\.(weight|bias)", r"video.norms.\1.\2"),
    (r"input_vid_proj\.(\d+)\.net\.1\.(weight|bias)", r"video.linears.\1.\2"),
    (r"input_txt_proj\.(\d+)\.LayerNorm\.(weight|bias)", r"text.norms.\1.\2"),
    (r"input_txt_proj\.(\d+)\.net\.1\.(weight|bias)", r"text.linears.\1.\2"),
)


def encoder(theirs: str, ours: str) -> tuple[tuple[str, str | tuple[str, ...]], ...]:
    """Rules for a stack of encoder layers: `theirs` (a pattern without groups) and `ours` are what it is called."""
    layer = rf"{theirs}\.layers\.(\d+)"
    return (
        (
            rf"{layer}\.self_attn\.in_proj_(weight|bias)",
            tuple(rf"{ours}.\1.attention.{part}.\2" for part in ("query", "key", "value")),
        ),
        (rf"{layer}\.self_attn\.out_proj\.(weight|bias)", rf"{ours}.\1.attention.out.\2"),
        (rf"{layer}\.linear1\.(weight|bias)", rf"{ours}.\1.mlp.into.\2"),
        (rf"{layer}\.linear2\.(weight|bias)", rf"{ours}.\1.mlp.out.\2"),
        (rf"{layer}\.activation\.weight", rf"{ours}.\1.mlp.activation.weight"),
        (rf"{layer}\.(norm[12])\.(weight|bias)", rf"{ours}.\1.\2.\3"),
    )


TEXT_POSITION = {r"txt_position_embed\..*": "a position encoding of the tokens, off in every published configuration"}

UNIVTG = Names(
    rules=(
        *PROJECTIONS,
        *encoder(r"transformer\.encoder", "encoder"),
        (r"token_type_embeddings\.weight", "kind.weight"),
        (r"class_embed\.layers\.(\d)\.(weight|bias)", r"foreground.layers.\1.\2"),
        (r"span_embed\.layers\.(\d)\.(weight|bias)", r"reach.layers.\1.\2"),
        (r"weightedpool\.weight", "pool.weight"),
    ),
    unused=TEXT_POSITION,
)

HEADS: tuple[tuple[str, str | tuple[str, ...]], ...] = (
    (r"span_embed\.layers\.(\d)\.(weight|bias)", r"span.layers.\1.\2"),
    (r"class_embed\.(weight|bias)", r"label.\1"),
)

MOMENT_DETR = Names(
    rules=(
        *PROJECTIONS,
        *encoder(r"transformer\.encoder", "encoder"),
        *(
            (
                rf"transformer\.decoder\.layers\.(\d+)\.{theirs}\.in_proj_(weight|bias)",
                tuple(rf"decoder.\1.{ours}.{part}.\2" for part in ("query", "key", "value")),
            )
            for theirs, ours in (("self_attn", "among"), ("multihead_attn", "across"))
        ),
        (r"transformer\.decoder\.layers\.(\d+)\.self_attn\.out_proj\.(weight|bias)", r"decoder.\1.among.out.\2"),
        (r"transformer\.decoder\.layers\.(\d+)\.multihead_attn\.out_proj\.(weight|bias)", r"decoder.\1.across.out.\2"),
        (r"transformer\.decoder\.layers\.(\d+)\.linear1\.(weight|bias)", r"decoder.\1.mlp.into.\2"),
        (r"transformer\.decoder\.layers\.(\d+)\.linear2\.(weight|bias)", r"decoder.\1.mlp.out.\2"),
        (r"transformer\.decoder\.layers\.(\d+)\.(norm[123])\.(weight|bias)", r"decoder.\1.\2.\3"),
        (r"transformer\.decoder\.norm\.(weight|bias)", r"norm.\1"),
        (r"query_embed\.weight", "queries.weight"),
        *HEADS,
        (r"saliency_proj\.(weight|bias)", r"saliency.\1"),
    ),
    unused=TEXT_POSITION,
)

#: `rdmf.baselines.anchors.AnchorDecoder`, named `decoder`, and its anchors.
ANCHOR_DECODER: tuple[tuple[str, str | tuple[str, ...]], ...] = (
    *(
        (rf"transformer\.decoder\.layers\.(\d+)\.{theirs}\.(weight|bias)", rf"decoder.layers.\1.{ours}.\2")
        for theirs, ours in {
            "sa_qcontent_proj": "self_query",
            "sa_qpos_proj": "self_query_place",
            "sa_kcontent_proj": "self_key",
            "sa_kpos_proj": "self_key_place",
            "sa_v_proj": "self_value",
            r"self_attn\.out_proj": "self_out",
            "ca_qcontent_proj": "query",
            "ca_qpos_proj": "query_place",
            "ca_kcontent_proj": "key",
            "ca_kpos_proj": "key_place",
            "ca_v_proj": "value",
            "ca_qpos_sine_proj": "query_waves",
            r"cross_attn\.out_proj": "out",
            "linear1": "mlp.into",
            "linear2": "mlp.out",
            "activation": "mlp.activation",
            "norm1": "norm1",
            "norm2": "norm2",
            "norm3": "norm3",
        }.items()
    ),
    *(
        (rf"transformer\.decoder\.{theirs}\.layers\.(\d)\.(weight|bias)", rf"decoder.{ours}.layers.\1.\2")
        for theirs, ours in {
            "query_scale": "scale",
            "ref_point_head": "place",
            "ref_anchor_head": "width",
            "bbox_embed": "step",
        }.items()
    ),
    (r"transformer\.decoder\.norm\.(weight|bias)", r"decoder.norm.\1"),
    (r"query_embed\.weight", "decoder.anchors.weight"),
)

QD_DETR = Names(
    rules=(
        *PROJECTIONS,
        *encoder(r"transformer\.t2v_encoder", "text_to_video"),
        *encoder(r"transformer\.encoder", "encoder"),
        *ANCHOR_DECODER,
        *HEADS,
        (r"global_rep_token", "token"),
        (r"global_rep_pos", "token_place"),
        (r"saliency_proj1\.(weight|bias)", r"clip_saliency.\1"),
        (r"saliency_proj2\.(weight|bias)", r"token_saliency.\1"),
    ),
    unused=TEXT_POSITION,
)

CG_DETR = Names(
    rules=(
        *PROJECTIONS,
        *encoder("txtproj_encoder", "dummy_encoder"),
        *(
            (rf"transformer\.t2v_encoder\.layers\.(\d+)\.{theirs}\.(weight|bias)", rf"adaptive.\1.{ours}.\2")
            for theirs, ours in {
                r"self_attn\.out_proj": "out",
                "linear1": "mlp.into",
                "linear2": "mlp.out",
                "activation": "mlp.activation",
                "norm1": "norm1",
                "norm2": "norm2",
            }.items()
        ),
        *encoder(r"transformer\.encoder", "encoder"),
        *encoder(r"transformer\.mcls_encoder", "moment_encoder"),
        *encoder("scls_encoder", "sentence_encoder"),
        *ANCHOR_DECODER,
        *HEADS,
        (r"token_type_embeddings\.weight", "kind.weight"),
        ("global_rep_token", "prompts"),
        ("global_rep_pos", "prompt_place"),
        ("dummy_rep_token", "dummies"),
        ("dummy_rep_pos", "dummy_places"),
        ("moment_rep_token", "moment_token"),
        ("moment_rep_pos", "moment_place"),
        ("sent_rep_token", "sentence_token"),
        ("sent_rep_pos", "sentence_place"),
        (r"saliency_proj1\.(weight|bias)", r"clip_saliency.\1"),
        (r"saliency_proj2\.(weight|bias)", r"token_saliency.\1"),
    ),
    unused={**TEXT_POSITION, r"txt_proj_linear\..*": "a second projection of the words, in no path"},
)

#: model -> its names.
NAMES: dict[str, Names] = {"moment-detr": MOMENT_DETR, "qd-detr": QD_DETR, "cg-detr": CG_DETR, "univtg": UNIVTG}


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
        raise InputError(f"not a {model} model: '{missing[0]}' is missing, of {len(missing)} in all")
    extra = sorted(given.keys() - own.keys())
    if extra:
        raise InputError(f"not a {model} model of these settings: '{extra[0]}' is too many, of {len(extra)} in all")
    odd = [name for name in own if own[name].shape != given[name].shape]
    if odd:
        raise InputError(
            f"not a {model} model of these settings: '{odd[0]}' is {tuple(given[odd[0]].shape)} there and "
            f"{tuple(own[odd[0]].shape)} here, as are {len(odd)} in all"
        )
    network.load_state_dict(given)
