"""From a model's output to moments in seconds and a saliency curve in clips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdmf.config import Config
from rdmf.model import Batch, Grounder
from rdmf.model.spans import suppress, to_edges
from rdmf.store import Cache

if TYPE_CHECKING:
    from rdmf.run import Run
    from rdmf.train.data import Split
    from rdmf.train.distributed import Ranks

Floats = NDArray[np.float64]


def choose_moments(spans: Tensor, scores: Tensor, config: Config, *, top_k: int | None = None) -> tuple[Tensor, Tensor]:
    """Suppressed, sorted moments out of a model's candidates.

    Args:
        spans: (B, Q, 2) (centre, width) as shares of the duration. scores: (B, Q) in [0, 1], or -1: none.
        top_k: how many, at most; default: the configuration's.

    Returns:
        spans (B, k, 2) as (start, end) shares of the duration in [0, 1], best first, and their scores (B, k); a score
        of -1 marks places left empty by the suppression.
    """
    score = config.score
    k = min(top_k or score.top_k, spans.shape[1])
    spans = to_edges(spans).clamp(0, 1)
    # Suppression looks only at the best few: what lies below could not be kept anyway unless nearly all is one moment.
    pool = max(score.pool or max(4 * k, 32), k)
    scores, order = scores.topk(min(pool, scores.shape[1]), dim=1)
    spans = spans.gather(1, order[..., None].expand(-1, -1, 2))
    if score.nms < 1:
        scores = torch.where(suppress(spans, scores, score.nms), scores, -1.0)
    scores, order = scores.topk(k, dim=1)
    return spans.gather(1, order[..., None].expand(-1, -1, 2)), scores


def clip_saliency(saliency: NDArray[np.floating[Any]], edges: Floats, duration: float, clip_length: float) -> Floats:
    """Saliency per clip of `clip_length` seconds (the official form) from saliency per feature row.

    Args:
        saliency: (L,) in [0, 1]. edges: (L + 1,) shares of the duration.

    Returns:
        (max(1, ceil(duration / clip_length)),): each clip takes the row that holds its centre.
    """
    clips = max(1, int(np.ceil(duration / clip_length - 1e-6)))
    centre = np.minimum((np.arange(clips) + 0.5) * clip_length / duration, 1.0)
    row = np.clip(np.searchsorted(edges, centre, side="right") - 1, 0, len(saliency) - 1)
    return np.asarray(saliency[row], dtype=np.float64)


@torch.inference_mode()
def predict_split_arrays(
    model: Grounder,
    split: Split,
    *,
    batch_size: int = 64,
    amp: torch.dtype | None = None,
    ranks: Ranks | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[NDArray[np.float32]]]:
    """One pass over a split: everything is put in its place on the model's device, and fetched once, at the end.

    Args:
        ranks: the processes that share the work, each taking every so many-th batch; all get the whole result.

    Returns:
        spans (Q, k, 2) seconds, scores (Q, k) with -1 for empty places, and a list of saliency arrays (L_q,) in [0, 1].
    """
    model.eval()
    device = next(model.parameters()).device  # the split may lie elsewhere, where the GPU has no room for it
    rank, size = (ranks.rank, ranks.size) if ranks else (0, 1)
    counts = split.sizes[:, 0]
    total, starts = int(counts.sum()), torch.from_numpy(np.cumsum(counts) - counts).to(device)
    found: Tensor | None = None  # (Q, k, 3) spans and scores
    curves = torch.zeros(total + 1, device=device)  # of all queries in a row, and a place for what padding says
    for number, which in enumerate(split.batches(batch_size)):
        if number % size != rank and found is not None:
            continue
        batch = split.batch(which)[0].to(device)
        with torch.autocast(device.type, amp or torch.bfloat16, enabled=amp is not None):
            output = model(batch)
        spans, scores = choose_moments(*model.candidates(output), model.config)
        if found is None:
            found = torch.zeros(len(split), spans.shape[1], 3, device=device)
        if number % size != rank:
            continue  # more processes than batches: this one only had to learn how many moments there are
        at = which.to(device, non_blocking=True)
        found[at] = torch.cat((spans, scores[..., None]), -1).float()
        place = starts[at][:, None] + torch.arange(batch.video_mask.shape[1], device=device)
        curves[torch.where(batch.video_mask, place, total)] = model.curve(output).float()
    if found is None:  # a split without queries
        found = torch.zeros(0, model.config.score.top_k, 3, device=device)
    packed = torch.cat((found.flatten(), curves[:-1]))
    packed = (ranks.summed(packed) if ranks else packed).cpu()
    said = packed[: found.numel()].view(found.shape).numpy()
    seconds = said[..., :2] * split.durations[:, None, None].astype(np.float32)
    curves_np = packed[found.numel() :].numpy()
    return seconds, said[..., 2].copy(), [curves_np[end - n : end] for n, end in zip(counts, np.cumsum(counts))]


def predict_split(run: Run, cache: Cache, split: str, device: str = "auto") -> list[dict[str, Any]]:
    """Prediction records of a split in the official form, in the cache's order.

    Raises:
        InputError: the cache's features are not those the run was trained on, or the split does not exist.
    """
    from rdmf.run import pick_device, refuse_mismatch
    from rdmf.train.data import Split

    refuse_mismatch(run, cache)
    where = pick_device(device)
    index = cache.select(split)
    index = index[cache.queries.video_index[index] >= 0]
    config = run.config.data
    data = Split.load(cache, index, device=where, max_tokens=config.max_tokens, pool=config.pool)
    spans, scores, saliency = predict_split_arrays(run.model.to(where), data)
    return records(cache, data, spans, scores, saliency)


def records(
    cache: Cache,
    data: Split,
    spans: NDArray[np.float32],
    scores: NDArray[np.float32],
    saliency: list[NDArray[np.float32]],
) -> list[dict[str, Any]]:
    """Arrays of a split as prediction records (official form)."""
    table = cache.queries
    edges, starts = data.edges.cpu().numpy(), data.edge_start.cpu().numpy()
    out = []
    for i, q in enumerate(data.index.tolist()):
        kept = scores[i] >= 0
        count = len(saliency[i])
        curve = clip_saliency(
            saliency[i],
            edges[starts[i] : starts[i] + count + 1],
            float(data.durations[i]),
            float(table.clip_lengths[q]),
        )
        out.append(
            {
                "qid": table.qids[q],
                "vid": table.vids[q],
                "query": cache.texts[int(table.text_index[q])],
                "pred_relevant_windows": [
                    [round(float(s), 4), round(float(e), 4), round(float(p), 6)]
                    for (s, e), p in zip(spans[i][kept], scores[i][kept])
                ],
                # As fine as single precision, near 0 as near 1: a model sure of itself must not lose its order.
                "pred_saliency_scores": [float(f"{v:.8g}") for v in curve],
            }
        )
    return out


@torch.inference_mode()
def predict_one(
    model: Grounder,
    features: Floats,
    edges: Floats,
    duration: float,
    tokens: Floats,
    *,
    top_k: int,
    device: torch.device,
) -> tuple[list[list[float]], NDArray[np.float32]]:
    """Moments of one video for one query.

    Args:
        features: (L, d_v). edges: (L + 1,) shares of the duration. tokens: (M, d_t).

    Returns:
        [[start_seconds, end_seconds, score], ...] best first, and saliency (L,) in [0, 1].
    """

    def put(values: Floats) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None].to(device)

    video, text = put(features), put(tokens)
    batch = Batch(
        video=video,
        video_mask=torch.ones(video.shape[:2], dtype=torch.bool, device=device),
        edges=put(edges),
        text=text,
        text_mask=torch.ones(text.shape[:2], dtype=torch.bool, device=device),
    )
    output = model.eval()(batch)
    spans, scores = choose_moments(*model.candidates(output), model.config, top_k=top_k)
    moments = [
        [float(s) * duration, float(e) * duration, float(p)]
        for (s, e), p in zip(spans[0].tolist(), scores[0].tolist())
        if p >= 0
    ]
    return moments, model.curve(output)[0].float().cpu().numpy()
