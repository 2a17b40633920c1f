"""What CG-DETR learns from beyond moments and ranks: where attention goes, moment and sentence tokens, apart dummies.

Source: Moon et al. 2023, "Correlation-Guided Query-Dependency Calibration for Video Temporal Grounding", and the
authors' code. Each loss is one batched expression. Where their code does otherwise than one would think, a parameter
says so; its default in `rdmf.baselines.settings` is what they published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rdmf.baselines.detr import Pairs, margin_loss, rank_loss
from rdmf.baselines.settings import CGDETRConfig

if TYPE_CHECKING:
    from rdmf.baselines.cg_detr import Answers


@dataclass(frozen=True)
class Foreign:
    """The videos under the sentence of the next sample in the batch.

    Attributes:
        rows, alone: (R,) and (B - R,) int64, samples whose next one is about another video, and the others.
        saliency, share: (B, L), see `cg_detr.Reading`; zero for those alone.
    """

    rows: Tensor
    alone: Tensor
    saliency: Tensor
    share: Tensor

    @property
    def which(self) -> Tensor:
        """(B,) bool, True for `rows`."""
        return torch.zeros(len(self.saliency), dtype=torch.bool, device=self.rows.device).index_fill(0, self.rows, True)


@dataclass(frozen=True)
class Summaries:
    """What the moment and the sentence encoder tell; it exists for the losses only.

    Attributes:
        inside, outside: (B, d) moment token after it has seen the clips inside the moments, and the others.
        clips: (B, L, d) each clip out of the one of the two passes that it took part in.
        sentence, dummy: (B, d) sentence token after it has seen the words, and the dummies.
        similarity: (B, L, D + M) inner products of the clips, as the pass over the inside leaves them, with the dummies
            and words.
    """

    inside: Tensor
    outside: Tensor
    clips: Tensor
    sentence: Tensor
    dummy: Tensor
    similarity: Tensor


def masked_average(values: Tensor, mask: Tensor, *, padded: bool) -> Tensor:
    """Sum of the valid among (B, L) values, over their number, or (`padded`) over that of all places, as published."""
    return (values * mask).sum() / (mask.numel() if padded else mask.sum().clamp_min(1))


def focus_loss(share: Tensor, relevant: Tensor, mask: Tensor, *, padded: bool) -> Tensor:
    """Attention should go to words from relevant clips and to dummies from all others: binary cross-entropy.

    Args:
        share: (B, L) attention that goes to words, in [0, 1]. relevant, mask: (B, L) bool.
        padded: the mean is over padding too, as published, where clips attend like any other.
    """
    loss = nn.functional.binary_cross_entropy(share, relevant.to(share.dtype), reduction="none")
    return loss.mean() if padded else masked_average(loss, mask, padded=False)


def saliency_losses(
    answers: Answers, pairs: Pairs, level: Tensor, relevant: Tensor, mask: Tensor, own: CGDETRConfig
) -> Tensor:
    """The sum of what CG-DETR learns of saliency, and of attention to words as if it were saliency too.

    Args:
        level, relevant: (B, L), see `rdmf.baselines.detr.levels` and `relevant_clips`. mask: (B, L) bool, valid clips.
    """
    none = torch.zeros_like(answers.saliency)
    every = torch.arange(len(none), device=none.device)
    foreign = answers.foreign or Foreign(every[:0], every, none, none)
    share, paired, alone = answers.reading.share, foreign.rows, foreign.alone
    if own.lone_unranked and len(alone) == 1 and len(paired):
        alone = alone[:0]

    def order(values: Tensor, other: Tensor) -> Tensor:
        """Margins; and ranks, those of samples with a foreign sentence among its clips as well."""
        loss = margin_loss(values, pairs, own.margin)
        both = torch.cat((values, other), 1), torch.cat((level, torch.zeros_like(level)), 1), mask.repeat(1, 2)
        for rows, parts in ((paired, both), (alone, (values, level, mask))):
            if len(rows):
                few = (part[rows] for part in parts)
                loss = loss + rank_loss(*few, temperature=own.rank_temperature, divisor=own.rank_divisor)
        return loss

    def silence(cost: Tensor) -> Tensor:
        """-log(1 - p) of a clip's belonging to a foreign sentence, summed over clips: long videos weigh more."""
        return (cost * mask)[paired].sum() / max(len(paired), 1)

    saliency = order(answers.saliency, foreign.saliency) + silence(nn.functional.softplus(foreign.saliency))
    focus = order(share, foreign.share) + focus_loss(share, relevant, mask, padded=own.padding_in_losses)
    focus = focus + silence(nn.functional.binary_cross_entropy(foreign.share, none, reduction="none"))
    return saliency + own.focus * focus


def alignment_loss(
    told: Summaries, relevant: Tensor, mask: Tensor, *, negatives: str, saturating: bool, padded: bool
) -> Tensor:
    """The token of the clips inside: to its own sentence, away from its own dummies, and near to its own clips.

    Args:
        relevant, mask: (B, L) bool, clips inside the moments, and valid ones.
        negatives: which dummy tokens are to be the near ones; "first": of all but its own the first, as published (the
            position of a row's largest label, where several are 1); "all": any but its own.
        saturating: clips are compared through a sigmoid in float32, as published: one that is wrong by more than 17
            costs 100 and has no gradient; else through logits.
        padded: see `masked_average`.
    """
    unit = nn.functional.normalize
    inside, outside = unit(told.inside, dim=1), unit(told.outside, dim=1)
    sentence, dummy = unit(told.sentence, dim=1), unit(told.dummy, dim=1)
    own = torch.arange(len(inside), device=inside.device)
    to_sentences = torch.cat((inside @ sentence.T, outside @ sentence.T), 1)  # (B, 2 B)
    to_dummies = torch.cat((inside @ dummy.T, outside @ dummy.T), 1)
    loss = nn.functional.cross_entropy(to_sentences, own)
    if negatives == "first":
        loss = loss + nn.functional.cross_entropy(to_dummies, (own == 0).long())
    else:
        others = to_dummies.masked_fill(nn.functional.one_hot(own, to_dummies.shape[1]).bool(), float("-inf"))
        loss = loss + (to_dummies.logsumexp(1) - others.logsumexp(1)).mean()
    near, label = (told.clips @ told.inside[..., None])[..., 0], relevant.to(told.clips.dtype)
    if saturating:
        belongs = nn.functional.binary_cross_entropy(near.sigmoid(), label, reduction="none")
    else:
        belongs = nn.functional.binary_cross_entropy_with_logits(near, label, reduction="none")
    return loss + masked_average(belongs, mask, padded=padded)


def distillation_loss(
    attention: Tensor, similarity: Tensor, relevant: Tensor, text_mask: Tensor, *, padded: bool
) -> Tensor:
    """The attention of relevant clips to dummies and words should follow their similarity: KL divergence.

    Args:
        attention, similarity: (B, L, S) over dummies and words; similarity before the softmax, taken as it is.
        relevant: (B, L) bool. text_mask: (B, S) bool, valid dummies and words.
        padded: the similarity's softmax and the mean reach into the padding of the words, as published.
    """
    similarity = similarity.detach()
    if not padded:
        similarity = similarity.masked_fill(~text_mask[:, None], float("-inf"))
    loss = nn.functional.kl_div((attention + 1e-6).log(), similarity.softmax(-1), reduction="none").sum(-1)
    count = text_mask.shape[1] if padded else text_mask.sum(1, keepdim=True)
    return (loss / count * relevant).sum() / relevant.sum().clamp_min(1)


def apartness_loss(tokens: Tensor) -> Tensor:
    """Tokens of one set should point different ways: mean size of the cosines between them, (..., N, d) to ().

    A token counts itself among the N * N pairs, with 0; the gradient reaches the first of each pair only.
    """
    unit = tokens / tokens.norm(dim=-1, keepdim=True)
    cosine = unit @ unit.detach().transpose(-1, -2)
    return (cosine * (1 - torch.eye(tokens.shape[-2], device=tokens.device))).abs().mean()
