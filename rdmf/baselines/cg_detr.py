"""CG-DETR (Moon et al. 2023, arXiv 2311.08835): clips that the sentence does not tell of attend to dummies instead.

QD-DETR's shape with three changes. The text enters the video through attention whose keys are learnt dummies and words;
what goes to dummies is lost, so a clip takes from the words as much as it has to do with them. A saliency token is
made of learnt prompts according to what the video's relevant clips are like. Moment and sentence tokens, made for the
losses only, teach the attention which words belong to which clips.

The authors' code is github.com/wjun0830/CGDETR; what is odd in it stands under a setting named for it in
`rdmf.baselines.settings.CGDETRConfig`, as published by default: `mask_layout`, `rank_divisor`, `saliency_token`,
`chosen_prompts` (lighthouse's copy takes 2), `dummy_negatives`, `saturating`, `lone_unranked`, `padding_in_losses`. Two
of their modules are in no path and have no place here: `txt_proj_linear` and `txt_position_embed` (words have no
position). The text-to-video layers' MLP reads the normed sum and is added to the sum itself: see `AdaptiveLayer`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rdmf.baselines.anchors import AnchorDecoder
from rdmf.baselines.cg_detr_losses import (
    Foreign,
    Summaries,
    alignment_loss,
    apartness_loss,
    distillation_loss,
    saliency_losses,
)
from rdmf.baselines.detr import DETRGrounder, Moments, draw_pairs, levels, relevant_clips
from rdmf.baselines.layers import (
    MLP,
    DropPath,
    EncoderLayer,
    FeedForward,
    InputProjection,
    attention_weights,
    inverse_sigmoid,
    prepare,
    sine_position,
    text_to_video_mask,
)
from rdmf.baselines.settings import CGDETRConfig
from rdmf.config import Config
from rdmf.model.batch import Batch
from rdmf.model.dropout import Dropout
from rdmf.model.layers import masked_mean
from rdmf.train.losses import Targets


@dataclass(frozen=True)
class Pair:
    """Videos and sentences as the fusion takes them; D dummies stand before the M words.

    Attributes:
        clips (B, L, d), clip_place (B, L, d), clip_mask (B, L): the videos.
        tokens (B, D + M, d), token_place (B, D + M, d), token_mask (B, D + M): dummies and words.
    """

    clips: Tensor
    clip_place: Tensor
    clip_mask: Tensor
    tokens: Tensor
    token_place: Tensor
    token_mask: Tensor

    def mismatched(self, rows: Tensor) -> Pair:
        """The videos `rows` (R,), each with the sentence of the next sample in the batch; places stay."""
        return Pair(
            self.clips[rows],
            self.clip_place[rows],
            self.clip_mask[rows],
            self.tokens.roll(-1, 0)[rows],
            self.token_place[rows],
            self.token_mask.roll(-1, 0)[rows],
        )


@dataclass(frozen=True)
class Reading:
    """How the sentences read the videos.

    Attributes:
        memory: (B, L, d) clips for the decoder.
        saliency: (B, L), unbounded.
        attention: (B, L, D + M) of each clip to dummies and words, mean over heads and layers.
        share: (B, L) in [0, 1], the part of it that goes to words.
    """

    memory: Tensor
    saliency: Tensor
    attention: Tensor
    share: Tensor


@dataclass(frozen=True)
class Answers:
    """What the network says.

    Attributes:
        saliency: (B, L), unbounded. layers: moments after each decoder layer.
        pair, reading: what was read, and how, for the losses. foreign: None where nobody asked.
    """

    saliency: Tensor
    layers: list[Moments]
    pair: Pair
    reading: Reading
    foreign: Foreign | None


class AdaptiveLayer(nn.Module):
    """Clips attend to dummies and words, and take from the words only; then the MLP of the text-to-video layers.

    There are no projections of queries, keys and values. As published (and as in `layers.TextToVideoLayer`) the MLP
    reads the normed sum and is added to the sum before the norm.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float, *, dummies: int) -> None:
        super().__init__()
        self.heads, self.dummies, self.dropout = heads, dummies, Dropout(dropout)
        self.out = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.mlp = FeedForward(width, inner, dropout, "prelu")
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop = DropPath(dropout)

    def forward(self, query: Tensor, place: Tensor, pair: Pair, allowed: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """query and its place (B, N, d); allowed broadcastable to (B, heads, N, D + M), None to attend to nothing.

        Returns:
            the new query (B, N, d), and the attention (B, N, D + M), mean over heads.
        """
        if allowed is None:
            weights, mixed = None, torch.zeros_like(query)
        else:
            each = attention_weights(query + place, pair.tokens + pair.token_place, self.heads, allowed)
            words = pair.tokens[:, self.dummies :].unflatten(-1, (self.heads, -1)).transpose(1, 2)
            mixed = (self.dropout(each)[..., self.dummies :] @ words).transpose(1, 2).flatten(2)
            weights = each.mean(1)
        x = query + self.drop(self.out(mixed))
        return self.norm2(x + self.drop(self.mlp(self.norm1(x)))), weights


class Network(nn.Module):
    """The published network.

    Args:
        video_dim: width of the clip features with their two endpoint features. text_dim: of the token features.
    """

    def __init__(self, config: Config, video_dim: int, text_dim: int) -> None:
        super().__init__()
        model, own = config.model, config.cg_detr
        width, heads, inner, dropout = model.hidden, own.heads, own.feedforward, model.dropout
        self.own = own

        def encoder(layers: int) -> nn.ModuleList:
            return nn.ModuleList(
                EncoderLayer(width, heads, inner, dropout, activation="prelu", drop_path=dropout) for _ in range(layers)
            )

        def token(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, width))

        self.video = InputProjection(video_dim, width, model.input_dropout, own.projections)
        self.text = InputProjection(text_dim, width, model.input_dropout, own.projections)
        self.kind = nn.Embedding(2, width)  # 0: token, 1: clip
        nn.init.normal_(self.kind.weight, std=0.02)
        self.dummies, self.dummy_places = token(own.dummies), token(own.dummies)
        self.dummy_encoder = encoder(own.dummy_layers)
        self.adaptive = nn.ModuleList(
            AdaptiveLayer(width, heads, inner, dropout, dummies=own.dummies) for _ in range(own.text_layers)
        )
        self.prompts, self.prompt_place = token(own.prompts), token(1)
        self.encoder = encoder(own.encoder_layers)
        self.decoder = AnchorDecoder(
            width, heads, inner, dropout, layers=own.decoder_layers, queries=own.queries, drop_path=dropout
        )
        self.span, self.label = MLP(width, width, width, 2), nn.Linear(width, 2)
        self.clip_saliency, self.token_saliency = nn.Linear(width, width), nn.Linear(width, width)
        self.moment_token, self.moment_place = token(), token()
        self.moment_encoder = encoder(own.moment_layers)
        self.sentence_token, self.sentence_place = token(), token()
        self.sentence_encoder = encoder(own.sentence_layers)

    def forward(
        self,
        video: Tensor,
        video_mask: Tensor,
        text: Tensor,
        text_mask: Tensor,
        *,
        source: tuple[Tensor, ...] | None = None,
    ) -> Answers:
        """video (B, L, d_v + 2), text (B, M, d_t), their masks bool, True where valid.

        Args:
            source: what `places` says; where given, each video is also read with the next sample's sentence, if that is
                about another video.
        """
        pair = self.pair(video, video_mask, text, text_mask)
        reading = self.read(pair)
        states, anchors = self.decoder(reading.memory, pair.clip_mask, pair.clip_place)
        layers = [
            Moments((self.span(state) + inverse_sigmoid(anchor)).float().sigmoid(), self.label(state).float())
            for state, anchor in zip(states, anchors)
        ]
        foreign = None if source is None else self.foreign(pair, *source)
        return Answers(reading.saliency, layers, pair, reading, foreign)

    def foreign(self, pair: Pair, rows: Tensor, alone: Tensor) -> Foreign:
        """See Foreign; only the samples that count are read, as published (under `mask_layout` it matters)."""
        saliency = share = torch.zeros(pair.clip_mask.shape, device=pair.clip_mask.device)
        if len(rows):
            reading = self.read(pair.mismatched(rows))
            saliency, share = saliency.index_copy(0, rows, reading.saliency), share.index_copy(0, rows, reading.share)
        return Foreign(rows, alone, saliency, share)

    def pair(self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor) -> Pair:
        """Features into the model; the dummies learn the words they stand beside."""
        clips = self.video(video) + self.kind.weight[1]
        words = self.text(text) + self.kind.weight[0]
        size, count = len(clips), len(self.dummies)
        place = torch.cat((self.dummy_places.expand(size, -1, -1), torch.zeros_like(words)), 1)
        mask = nn.functional.pad(text_mask, (count, 0), value=True)
        beside = torch.cat((self.dummies.expand(size, -1, -1), words), 1)
        dummies = _through(self.dummy_encoder, beside, mask, place)[:, :count]
        tokens = torch.cat((dummies, words), 1)
        return Pair(clips, sine_position(video_mask, clips.shape[-1]), video_mask, tokens, place, mask)

    def read(self, pair: Pair) -> Reading:
        """The sentence into the video, the saliency token before it, then the encoder over both."""
        allowed = text_to_video_mask(pair.clip_mask, pair.token_mask, self.own.heads, self.own.mask_layout)
        clips, weights = pair.clips, []
        for layer in self.adaptive:
            clips, weight = layer(clips, pair.clip_place, pair, allowed)
            weights.append(weight)
        attention = torch.stack(weights).float().mean(0)
        share = attention[..., self.own.dummies :].sum(-1)
        token = self.saliency_token(pair, share)
        memory = _after(self.encoder, token, self.prompt_place, clips, pair.clip_mask, pair.clip_place)
        whole, clips = memory[:, :1], memory[:, 1:]
        clips = clips + whole
        saliency = (self.clip_saliency(clips) * self.token_saliency(whole)).sum(-1) / math.sqrt(clips.shape[-1])
        return Reading(clips, saliency.float(), attention, share.clamp(0, 1))

    def saliency_token(self, pair: Pair, share: Tensor) -> Tensor:
        """Mean clip plus the prompts that the relevant clips are most like, (B, 1, d); for share (B, L) see Reading.

        As published it passes the text-to-video layers without a key to attend to (the place where its keys are cut
        from the sequence is the video's length, and it stands there alone), so that of their attention only the bias
        of the output is left.
        """
        # Neither the mean clip nor a clip's relevance is taught through the token.
        mean = masked_mean(pair.clips, pair.clip_mask)[:, None].detach()
        relevance = (share * pair.clip_mask).detach()
        relevance = relevance / relevance.sum(1, keepdim=True).clamp_min(torch.finfo(relevance.dtype).tiny)
        unit = nn.functional.normalize
        like = (unit(pair.clips - mean, dim=2) @ unit(self.prompts, dim=1).T).softmax(-1)  # (B, L, P)
        best = (like * relevance[..., None]).sum(1).topk(self.own.chosen_prompts, dim=1)
        token = mean + (best.values[..., None] * self.prompts[best.indices]).sum(1, keepdim=True)
        allowed = pair.token_mask[:, None, None] if self.own.saliency_token == "words" else None
        for layer in self.adaptive:
            token, _ = layer(token, self.prompt_place, pair, allowed)
        return token

    def summaries(self, pair: Pair, relevant: Tensor) -> Summaries:
        """Moment and sentence tokens; relevant (B, L) bool, clips inside the moments."""
        size, count = len(pair.clips), self.own.dummies
        moments = _after(
            self.moment_encoder,
            self.moment_token,
            self.moment_place,
            pair.clips.repeat(2, 1, 1),
            pair.clip_mask.repeat(2, 1) & torch.cat((relevant, ~relevant)),
            pair.clip_place.repeat(2, 1, 1),
        )
        (inside, among), (outside, others) = ((x[:, 0], x[:, 1:]) for x in (moments[:size], moments[size:]))
        dummies, words = (
            _after(
                self.sentence_encoder,
                self.sentence_token,
                self.sentence_place,
                pair.tokens[:, part],
                pair.token_mask[:, part],
                pair.token_place[:, part],
            )
            for part in (slice(count), slice(count, None))
        )
        told = torch.cat((dummies[:, 1:], words[:, 1:]), 1)
        return Summaries(
            inside=inside,
            outside=outside,
            clips=torch.where(relevant[..., None], among, others),
            sentence=words[:, 0],
            dummy=dummies[:, 0],
            similarity=among @ told.transpose(1, 2),
        )


def places(source: Tensor) -> tuple[Tensor, Tensor]:
    """Samples whose next one, the first after the last, is about another video, and the others: (R,), (B - R,) int64.

    Args:
        source: (B,) the video each sample is about, on the host.
    """
    videos = source.numpy()
    before_another = videos != np.roll(videos, -1)
    return torch.from_numpy(np.flatnonzero(before_another)), torch.from_numpy(np.flatnonzero(~before_another))


def _through(layers: nn.ModuleList, x: Tensor, mask: Tensor, place: Tensor) -> Tensor:
    """(B, N, d) through encoder layers."""
    for layer in layers:
        x = layer(x, mask, place)
    return x


def _after(layers: nn.ModuleList, token: Tensor, token_place: Tensor, x: Tensor, mask: Tensor, place: Tensor) -> Tensor:
    """Encoder layers over x (B, N, d) behind one more token, (d,) or (B, 1, d), that all see; (B, 1 + N, d)."""
    first, first_place = (t.expand(len(x), 1, -1) for t in (token, token_place))
    x, place = torch.cat((first, x), 1), torch.cat((first_place, place), 1)
    return _through(layers, x, nn.functional.pad(mask, (1, 0), value=True), place)


class CGDETR(DETRGrounder):
    """CG-DETR in the harness."""

    loss_of_output = False  # its token losses run two encoders of their own

    def __init__(self, config: Config, video_dim: int, text_dim: int) -> None:
        super().__init__(config, video_dim, text_dim)
        self.network = Network(config, video_dim + 2, text_dim)

    @property
    def own(self) -> CGDETRConfig:
        """Section `cg_detr`."""
        return self.config.cg_detr

    def forward(self, batch: Batch) -> Answers:
        """Foreign sentences are read in training only; two samples are about one video where the cache has them so.

        (The authors also take two cuts of one YouTube video, told by QVHighlights' names, for one.)

        Raises InputError where the features' widths are not those the model was built for.
        """
        self.check_widths(batch)
        features, found = prepare(batch, normalize=self.own.normalize), None
        if self.training:
            source = batch.source if batch.source is not None else torch.arange(len(batch.video_mask))
            found = source if isinstance(source, tuple) else self.arranged(source)
            found = tuple(rows.to(batch.video_mask.device, non_blocking=True) for rows in found)
        answers: Answers = self.network(*features, source=found)
        return answers

    def arranged(self, source: Tensor) -> tuple[Tensor, ...]:
        """See `places`."""
        return places(source)

    def saliency_loss(self, output: Answers, batch: Batch, targets: Targets) -> Tensor:
        """See `saliency_losses`; pairs are drawn with torch's generator."""
        level = levels(targets, self.own.window_level)
        return saliency_losses(output, draw_pairs(targets), level, relevant_clips(targets), batch.video_mask, self.own)

    def loss(self, output: Answers, batch: Batch, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """Those of every DETR, and the three that work on tokens."""
        total, parts = super().loss(output, batch, targets)
        for name, value in self.token_losses(output, relevant_clips(targets)).items():
            total, parts[name] = total + getattr(self.own, name) * value, value.detach()
        return total, parts

    def token_losses(self, output: Answers, relevant: Tensor) -> dict[str, Tensor]:
        """Alignment, distillation and apartness, unweighted; relevant (B, L) bool, clips inside the moments."""
        own, pair, padded = self.own, output.pair, self.own.padding_in_losses
        told = self.network.summaries(pair, relevant)
        return {
            "alignment": alignment_loss(
                told, relevant, pair.clip_mask, negatives=own.dummy_negatives, saturating=own.saturating, padded=padded
            ),
            "distillation": distillation_loss(
                output.reading.attention, told.similarity, relevant, pair.token_mask, padded=padded
            ),
            "apartness": apartness_loss(pair.tokens[:, : own.dummies]) + apartness_loss(self.network.prompts),
        }
