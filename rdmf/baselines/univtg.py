"""UniVTG (Lin et al., ICCV 2023): no moment queries; every clip answers for itself.

Each clip says whether it lies in a wanted moment, how far it is from that moment's two ends, and how like the sentence
it is. The authors' code is github.com/showlab/UniVTG; what is odd in it stands under a setting named for it in
`rdmf.baselines.settings.UniVTGConfig`, on as published: `heads_see_padding`, `log_of_nearly_zero`, `clip_times`,
`similarity_across_batch`. Clip similarity is measured before the transformer, which is the published design.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rdmf.baselines.layers import EncoderLayer, InputProjection, prepare, sine_position
from rdmf.baselines.settings import UniVTGConfig
from rdmf.config import Config
from rdmf.model.base import Grounder
from rdmf.model.batch import Batch
from rdmf.model.spans import overlap, to_centre
from rdmf.train.losses import Targets


@dataclass(frozen=True)
class Answers:
    """What the network says of every clip.

    Attributes:
        foreground: (B, L) logits of lying inside a wanted moment.
        reach: (B, L, 2) in (0, 1), how far the moment reaches before and after the clip's time, shares of the duration.
        similarity: (B, L) cosine of clip and sentence; far below -1 in padding.
        clips: (B, L, d) and sentence: (B, d), what the cosine is taken of.
    """

    foreground: Tensor
    reach: Tensor
    similarity: Tensor
    clips: Tensor
    sentence: Tensor


class WeightedPool(nn.Module):
    """Tokens to one vector, weighted by a softmax over a learnt score."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width, 1)))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, M, d) and (B, M) bool to (B, d)."""
        score = (tokens @ self.weight).masked_fill(~mask[..., None], -1e30)
        return (tokens * score.softmax(1)).sum(1)


class ConvolutionHead(nn.Module):
    """Three convolutions over neighbouring clips.

    Args:
        width: d. outputs: numbers per clip.
        sees_padding: as published, padding is not zeroed before a convolution, so that the last three clips of a video
            depend on how long the others of its batch are; else every video is answered as if alone.
    """

    def __init__(self, width: int, outputs: int, *, sees_padding: bool) -> None:
        super().__init__()
        self.sees_padding = sees_padding
        self.layers = nn.ModuleList(nn.Conv1d(width, out, 3, padding=1) for out in (width, width, outputs))

    def forward(self, clips: Tensor, mask: Tensor) -> Tensor:
        """(B, L, d) and (B, L) bool to (B, L, outputs)."""
        x = clips.transpose(1, 2)
        for i, layer in enumerate(self.layers):
            x = x if i == 0 else x.relu()
            x = layer(x if self.sees_padding else x * mask[:, None])
        return x.transpose(1, 2)


class Network(nn.Module):
    """The published network.

    Args:
        video_dim: width of the clip features with their two endpoint features. text_dim: of the token features.
    """

    def __init__(self, config: Config, video_dim: int, text_dim: int) -> None:
        super().__init__()
        model, own = config.model, config.univtg
        width = model.hidden
        self.log_of_nearly_zero = own.log_of_nearly_zero
        self.video = InputProjection(video_dim, width, model.input_dropout, own.projections)
        self.text = InputProjection(text_dim, width, model.input_dropout, own.projections)
        self.kind = nn.Embedding(2, width)  # 0: token, 1: clip
        nn.init.normal_(self.kind.weight, std=0.02)
        self.encoder = nn.ModuleList(
            EncoderLayer(width, own.heads, own.feedforward, model.dropout, activation="gelu", drop_path=own.drop_path)
            for _ in range(own.encoder_layers)
        )
        self.foreground = ConvolutionHead(width, 1, sees_padding=own.heads_see_padding)
        self.reach = ConvolutionHead(width, 2, sees_padding=own.heads_see_padding)
        self.pool = WeightedPool(width)

    def forward(self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor) -> Answers:
        """video (B, L, d_v + 2), text (B, M, d_t), their masks bool, True where valid."""
        clips = self.video(video) + self.kind.weight[1]
        tokens = self.text(text) + self.kind.weight[0]
        mask = torch.cat((video_mask, text_mask), 1)
        # Tokens get no position: the authors' embedding for it exists but is switched off.
        where = torch.cat((sine_position(video_mask, clips.shape[-1]), torch.zeros_like(tokens)), 1)
        both = torch.cat((clips, tokens), 1)
        for layer in self.encoder:
            both = layer(both, mask, where)
        fused = both[:, : clips.shape[1]]
        sentence = self.pool(tokens, text_mask)
        similarity = nn.functional.cosine_similarity(clips.float(), sentence.float()[:, None], dim=-1)
        return Answers(
            foreground=self.foreground(fused, video_mask)[..., 0].float(),
            reach=self.reach(fused, video_mask).float().sigmoid(),
            similarity=similarity + self._padding(video_mask),
            clips=clips.float(),
            sentence=sentence.float(),
        )

    def _padding(self, mask: Tensor) -> Tensor:
        """(B, L): 0 where valid, very low elsewhere: as published the logarithm of 1e-45, which float32 rounds."""
        if self.log_of_nearly_zero:
            return (mask.float() + 1e-45).log()
        return torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, torch.finfo(torch.float32).min)


@dataclass(frozen=True)
class ClipTargets:
    """What each clip should answer.

    Attributes:
        mask: (B, L) bool, clips that have an answer: valid, of a query with windows.
        foreground: (B, L) bool. windows: (B, L, 2) the window of each foreground clip; zeros elsewhere.
        saliency: (B, L) not negative, for comparison within a query only.
        positive: (B,) int64, a salient clip of each query. usable: (B,) bool, queries that have one.
    """

    mask: Tensor
    foreground: Tensor
    windows: Tensor
    saliency: Tensor
    positive: Tensor
    usable: Tensor


def clip_targets(times: Tensor, batch: Batch, targets: Targets) -> ClipTargets:
    """Windows to answers of clips; the salient clip is drawn with torch's generator.

    A clip answers for the window in which its time lies (the last such one, as the authors' assignment has it). Where
    that leaves a query without any, its windows being shorter than a clip, the clip that holds the first window's
    start answers for it. Saliency is the annotators' where they rated clips, else 1 in the foreground.

    Args:
        times: (B, L) of each clip, shares of the duration.
    """
    windowed = targets.window_mask.any(1) if targets.windows.shape[1] else torch.zeros_like(batch.video_mask[:, 0])
    mask = batch.video_mask & windowed[:, None]
    if targets.windows.shape[1]:
        start, end = targets.windows[:, None].unbind(-1)  # (B, 1, W)
        inside = (times[..., None] >= start) & (times[..., None] <= end)  # (B, L, W)
        inside &= mask[..., None] & targets.window_mask[:, None]
        first = (batch.edges[:, 1:] <= targets.windows[:, :1, 0]).sum(1).minimum(batch.lengths - 1)
        lost = ~inside.flatten(1).any(1) & windowed
        inside[..., 0] |= lost[:, None] & (torch.arange(inside.shape[1], device=first.device) == first[:, None])
        rank = torch.arange(1, inside.shape[2] + 1, device=inside.device)
        chosen = (inside * rank).amax(-1)  # the last window's number, 0 for none
        foreground = chosen > 0
        picked = (chosen - 1).clamp_min(0)[..., None].expand(-1, -1, 2)
        windows = targets.windows.gather(1, picked) * foreground[..., None]
    else:
        foreground, windows = torch.zeros_like(mask), times.new_zeros(*times.shape, 2)
    known = torch.where(targets.saliency_mask, targets.saliency, 0)
    rated = targets.rated if targets.rated is not None else torch.zeros_like(windowed)
    saliency = torch.where(rated[:, None], known, foreground.to(known.dtype)) * batch.video_mask
    salient = saliency > 0
    draw = torch.rand(saliency.shape, device=saliency.device).masked_fill(~salient, -1)
    return ClipTargets(mask, foreground, windows, saliency, draw.argmax(1), salient.any(1))


def losses(answers: Answers, times: Tensor, mask: Tensor, wanted: ClipTargets, own: UniVTGConfig) -> dict[str, Tensor]:
    """The five losses, unweighted, named as their weights in the settings.

    Args:
        times: (B, L) of each clip. mask: (B, L) bool, valid clips.
    """
    inside = wanted.foreground & wanted.mask
    count = inside.sum().clamp_min(1)
    spans = torch.stack((times - answers.reach[..., 0], times + answers.reach[..., 1]), -1)
    boundary = nn.functional.smooth_l1_loss(spans, wanted.windows, reduction="none").sum(-1)
    giou = 1 - overlap(spans, wanted.windows)[1]
    weight = torch.where(inside, 1.0, own.background) * wanted.mask
    foreground = nn.functional.binary_cross_entropy_with_logits(answers.foreground, inside.float(), reduction="none")
    across, within = _similarity_losses(answers, mask, wanted, own)
    return {
        "boundary": (boundary * inside).sum() / count,
        "giou": (giou * inside).sum() / count,
        "foreground": (foreground * weight).sum() / wanted.mask.sum().clamp_min(1),
        "across": across,
        "within": within,
    }


def _similarity_losses(answers: Answers, mask: Tensor, wanted: ClipTargets, own: UniVTGConfig) -> tuple[Tensor, Tensor]:
    """Contrast of the salient clips with the sentences of other videos, and with less salient clips of their own."""
    usable, count = wanted.usable, wanted.usable.sum().clamp_min(1)
    rows = torch.arange(len(usable), device=usable.device)
    low = torch.finfo(torch.float32).min

    def mean(log_share: Tensor) -> Tensor:
        return -(log_share * usable).sum() / count

    clips = nn.functional.normalize(answers.clips[rows, wanted.positive], dim=-1, eps=1e-8)
    sentences = nn.functional.normalize(answers.sentence, dim=-1, eps=1e-8)
    between = (clips @ sentences.T / own.temperature).masked_fill(~usable, low).masked_fill(~usable[:, None], low)
    across = mean(between.log_softmax(1).diagonal()) + mean(between.log_softmax(0).diagonal())

    chosen = wanted.saliency[rows, wanted.positive]
    rivals = (wanted.saliency < chosen[:, None]).scatter(1, wanted.positive[:, None], True)
    similar = nn.functional.cosine_similarity(answers.clips, answers.sentence[:, None], dim=-1) / own.temperature
    similar = similar.masked_fill(~(rivals & mask & usable[:, None]), low)
    within = mean(similar.log_softmax(1)[rows, wanted.positive])
    if own.similarity_across_batch:
        # The clip against the clips of the same number in the batch's other videos, each with its own sentence.
        within = within + mean(similar.log_softmax(0)[rows, wanted.positive])
    return across, within


@dataclass(frozen=True)
class Output:
    """Attributes:
    answers: of the network. times, mask: (B, L) of the clips. saliency: (B, L), what is read out.
    """

    answers: Answers
    times: Tensor
    mask: Tensor
    saliency: Tensor


class UniVTG(Grounder):
    """UniVTG in the harness: one candidate a clip, scored by its foreground probability."""

    def __init__(self, config: Config, video_dim: int, text_dim: int) -> None:
        super().__init__(config, video_dim, text_dim)
        self.network = Network(config, video_dim + 2, text_dim)

    def forward(self, batch: Batch) -> Output:
        """Raises InputError where the features' widths are not those the model was built for."""
        self.check_widths(batch)
        own = self.config.univtg
        answers = self.network(*prepare(batch, normalize=own.normalize))
        times = batch.edges[:, 1:] if own.clip_times == "ends" else batch.centres
        saliency = answers.similarity
        if own.highlight == "sum":
            saliency = saliency + answers.foreground.sigmoid()
        return Output(answers, times, batch.video_mask, saliency)

    def loss(self, output: Output, batch: Batch, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted by the settings of the same names; parts without weight or annotation are zero."""
        own = self.config.univtg
        wanted = clip_targets(output.times, batch, targets)
        parts = losses(output.answers, output.times, output.mask, wanted, own)
        total = torch.stack([getattr(own, name) * value for name, value in parts.items()]).sum()
        return total, {name: value.detach() for name, value in parts.items()}

    def candidates(self, output: Output) -> tuple[Tensor, Tensor]:
        """One span a clip, cut to the video; the score of padding is -1: no candidate."""
        before, after = output.answers.reach.unbind(-1)
        spans = torch.stack((output.times - before, output.times + after), -1).clamp(0, 1)
        scores = output.answers.foreground.sigmoid().masked_fill(~output.mask, -1)
        # Every batch shall have as many as are kept, however short its videos.
        lack = max(0, self.config.score.top_k - scores.shape[1])
        return to_centre(nn.functional.pad(spans, (0, 0, 0, lack))), nn.functional.pad(scores, (0, lack), value=-1)

    def curve(self, output: Output) -> Tensor:
        """Saliency (B, L) in [0, 1], linear in the similarity, which has no logits."""
        top = 2 if self.config.univtg.highlight == "sum" else 1
        return ((output.saliency + 1) / (top + 1)).clamp(0, 1)
