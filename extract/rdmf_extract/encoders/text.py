"""Token features of sentences from any Hugging Face text model, BERT first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rdmf.store.errors import InputError
from rdmf_extract.encoders.base import Features
from rdmf_extract.encoders.compute import choose_device, choose_precision, computing
from rdmf_extract.encoders.precision import recorded
from rdmf_extract.encoders.weights import tensors_sha256

_TOKENS_AT_ONCE = 8192  # padded tokens a batch; bounds memory however long the sentences are
_PROBES = ("The man opens a door, then waves.", "Él come 2 piñas!", "rdmf's un-happy_token")


class HFTextEncoder:
    """The last hidden state of a transformer for every token; see `TextEncoder` for the attributes."""

    def __init__(
        self,
        name: str,
        folder: str | Path,
        *,
        source: str,
        device: str,
        precision: str = "auto",
        max_tokens: int | None = None,
    ) -> None:
        """Load model and tokenizer from a local folder, or by name from the cache or (if need be) the network.

        Args:
            name: name for the provenance.
            folder: what Hugging Face calls `pretrained_model_name_or_path`.
            source: see `TextEncoder.source`.
            device: "auto", "cpu", "cuda", ...
            precision: one of `PRECISIONS`.
            max_tokens: a limit below the model's own.

        Raises:
            OSError, ValueError: from transformers, where it cannot load the model or the tokenizer.
            InputError: tensors missing from the weights, no tokenizer to run, or a precision that the device has not.
        """
        from transformers import AutoModel, AutoTokenizer

        self.name, self.source = name, source
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        local = Path(folder).is_dir()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=local)
        with _quiet_loading():
            whole, report = AutoModel.from_pretrained(folder, local_files_only=local, output_loading_info=True)
        model = _text_part(whole)
        _refuse_missing(name, model, whole, report["missing_keys"])
        self._model = model.float().eval().to(self.device)
        if self._tokenizer.pad_token is None:  # e.g. GPT-2; padding is masked and cut off, so any token will do
            self._tokenizer.pad_token = self._tokenizer.eos_token or self._tokenizer.unk_token
        config = model.config
        self.dim = int(config.hidden_size)
        self.max_tokens = min(_longest(config, self._tokenizer), max_tokens or 1 << 30)
        lowercase = getattr(self._tokenizer, "do_lower_case", None)
        self.provenance: dict[str, Any] = {
            "encoder": name,
            "architecture": str(config.model_type),
            "weights_sha256": tensors_sha256(model.state_dict()),
            "random_weights": False,
            "tokenizer_sha256": tokenizer_sha256(self._tokenizer),
            "max_tokens": self.max_tokens,
            "lowercase": lowercase if isinstance(lowercase, bool) else None,
            "special_tokens": True,
            "layer": "last hidden state",
            "dim": self.dim,
            **recorded(self.precision),
        }

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> list[Features]:
        """One (M_i, dim) float32 array a text, in order; equal texts are computed once."""
        distinct = list(dict.fromkeys(texts))
        tokens = self._tokenise(distinct)
        by_length = sorted(range(len(distinct)), key=lambda i: len(tokens[i]))
        features: dict[str, Features] = {}
        for batch in _batches(by_length, [len(t) for t in tokens]):
            for index, value in zip(batch, self._encode_batch([tokens[i] for i in batch]), strict=True):
                features[distinct[index]] = value
        return [features[text] for text in texts]

    def _tokenise(self, texts: list[str]) -> list[list[int]]:
        for text in texts:
            if not text.strip():
                raise InputError("an empty sentence cannot be encoded; give at least one word")
        if not texts:
            return []
        tokens: list[list[int]] = self._tokenizer(texts, add_special_tokens=True, verbose=False)["input_ids"]
        for text, ids in zip(texts, tokens, strict=True):
            if len(ids) > self.max_tokens:
                raise InputError(
                    f"the sentence '{text[:40].strip()}...' is {len(ids)} tokens long, over the {self.max_tokens} that"
                    f" text encoder '{self.name}' can read; shorten it"
                )
        return tokens

    def _encode_batch(self, tokens: list[list[int]]) -> list[Features]:
        padded = self._tokenizer.pad({"input_ids": tokens}, return_tensors="pt", verbose=False)
        ids, mask = padded["input_ids"].to(self.device), padded["attention_mask"].to(self.device)  # (B, M)
        with computing(self.precision, self.device):
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, M, dim)
        hidden, valid = hidden.float().cpu(), mask.bool().cpu()
        # A copy each, so that keeping one text does not keep its whole batch.
        return [hidden[row][valid[row]].numpy().copy() for row in range(len(tokens))]


def tokenizer_sha256(tokenizer: Any) -> str:
    """Hash of the vocabulary and of the ids that a few probing sentences get: what a tokenizer does, not its files."""
    probes = [tokenizer(probe, add_special_tokens=True)["input_ids"] for probe in _PROBES]
    content = json.dumps([sorted(tokenizer.get_vocab().items()), probes], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _text_part(model: Any) -> Any:
    """What reads the sentence: the encoder of an encoder-decoder, the text tower of a two-tower model, or all of it."""
    if getattr(model.config, "is_encoder_decoder", False):
        part = model.get_encoder()
    else:
        part = getattr(model, "text_model", model)
    if getattr(part, "pooler", None) is not None:
        part.pooler = None  # never used here, and random in checkpoints that were saved without one
    return part


def _refuse_missing(name: str, part: nn.Module, whole: nn.Module, missing: Sequence[str]) -> None:
    """A tensor that the file lacks would stay random: refuse it, where it is one that is used."""
    used = {id(parameter) for parameter in part.parameters()}
    lacking = sorted(set(missing) & {key for key, parameter in whole.named_parameters() if id(parameter) in used})
    if lacking:
        raise InputError(
            f"text encoder '{name}': its weights lack {len(lacking)} tensors, e.g. {lacking[0]}; get complete weights"
        )


def _longest(config: Any, tokenizer: Any) -> int:
    """Tokens the model has positions for, as far as config and tokenizer tell; 512 where neither does."""
    limits = [int(tokenizer.model_max_length)]
    positions = getattr(config, "max_position_embeddings", None)
    if positions:
        # RoBERTa and its kin number positions from the padding index up, and so lose that many.
        offset = (config.pad_token_id or 0) + 1 if config.model_type in _OFFSET_POSITIONS else 0
        limits.append(int(positions) - offset)
    known = [limit for limit in limits if 0 < limit < 1_000_000]  # transformers writes 1e30 for "unknown"
    return min(known) if known else 512


_OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "longformer", "mpnet"}


def _batches(order: list[int], lengths: list[int]) -> Iterator[list[int]]:
    """Runs of `order` (shortest first) whose padded size stays within `_TOKENS_AT_ONCE`."""
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * lengths[index] > _TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """No progress bar and no report while weights load; what matters in the report is checked by `_refuse_missing`."""
    from transformers.utils import logging

    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
