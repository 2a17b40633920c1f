"""Sentences: each distinct one encoded once, in batches of like length, whoever asks for it how often."""

from __future__ import annotations

import random

import numpy as np
from fakes import FakeTextEncoder, FakeVideoEncoder

from rdmf.store import QueryRecord, open_cache
from rdmf_extract.pipeline import extract
from rdmf_extract.texts import TEXTS_PER_BATCH


class Recording(FakeTextEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []

    def encode(self, texts):
        self.batches.append(list(texts))
        return super().encode(texts)


def sentences(count: int) -> list[str]:
    rng = random.Random(0)
    words = ("cat", "sees", "a", "wonderful", "of", "rain")
    return [" ".join([f"q{i}", *rng.choices(words, k=rng.randrange(1, 15))]) for i in range(count)]


def run(texts: list[str], clips, out) -> Recording:
    encoder = Recording()
    queries = [QueryRecord(i, "short", text, "train") for i, text in enumerate(texts)]
    extract({"short": clips["short"]}, queries, out=out, video_encoder=FakeVideoEncoder(), text_encoder=encoder)
    return encoder


def test_each_distinct_sentence_once_in_full_batches_of_like_length(clips, tmp_path):
    distinct = sentences(300)
    asked = distinct * 3
    random.Random(1).shuffle(asked)
    encoder = run(asked, clips, tmp_path / "f.h5")
    done = [text for batch in encoder.batches for text in batch]
    assert sorted(done) == sorted(distinct)
    assert [len(batch) for batch in encoder.batches] == [TEXTS_PER_BATCH] * 4 + [300 - 4 * TEXTS_PER_BATCH]
    lengths = [len(text) for text in done]
    assert lengths == sorted(lengths)
    # Padding up to the longest of a batch.
    assert 2 * padding(encoder.batches) < padding([distinct[i : i + 64] for i in range(0, 300, 64)])


def padding(batches: list[list[str]]) -> float:
    """Share of the places of padded batches that hold nothing, in characters."""
    places = sum(len(batch) * max(map(len, batch)) for batch in batches)
    return 1 - sum(len(text) for batch in batches for text in batch) / places


def test_every_query_gets_its_own_sentences_tokens(clips, tmp_path):
    asked = [*sentences(70), *sentences(5)]
    run(asked, clips, tmp_path / "f.h5")
    with open_cache(tmp_path / "f.h5") as cache:
        assert len(cache.texts) == 70
        where = {text: i for i, text in enumerate(cache.texts)}
        for text in asked:
            expected = FakeTextEncoder().encode([text])[0]
            np.testing.assert_array_equal(cache.text(where[text]), expected.astype(np.float16))


def test_batches_do_not_depend_on_the_order_of_the_queries(clips, tmp_path):
    asked = sentences(150)
    assert run(asked, clips, tmp_path / "a.h5").batches == run(asked[::-1], clips, tmp_path / "b.h5").batches
