"""Hashing, reproducible noise, and downloads that never wait long."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from rdmf_extract.encoders import download
from rdmf_extract.encoders.weights import fill_random, tensors_sha256


def test_hash_ignores_order_and_notices_everything_else() -> None:
    a, b = torch.arange(6.0), torch.ones(2, dtype=torch.float16)
    base = tensors_sha256({"a": a, "b": b})
    assert tensors_sha256({"b": b.clone(), "a": a.clone()}) == base
    strided = torch.stack([a, a], dim=1)[:, 0]
    assert tensors_sha256({"a": strided, "b": b}) == base
    changed = [
        {"a": a + 1e-6, "b": b},
        {"a": a.reshape(2, 3), "b": b},
        {"a": a.double(), "b": b},
        {"c": a, "b": b},
        {"a": a},
    ]
    assert len({base, *map(tensors_sha256, changed)}) == 6


def test_scalars_hash() -> None:
    assert tensors_sha256({"n": torch.tensor(3)}) != tensors_sha256({"n": torch.tensor(4)})


EXPECTED_FILL = [
    [0.16403627, -0.06170625, -0.59003299, -0.32414457],
    [0.70082402, 0.61288035, -1.12266421, 0.71928620],
]


def test_random_fill_is_fixed_for_ever() -> None:
    """The numbers themselves: a cache of random features made today must be reproducible tomorrow."""
    layer = nn.Linear(4, 2)
    fill_random(layer)
    expected = torch.tensor(EXPECTED_FILL)
    assert torch.allclose(layer.weight, expected, atol=1e-7)
    assert torch.equal(layer.bias, torch.zeros(2))
    fill_random(layer, seed=1)
    assert not torch.allclose(layer.weight, expected)


def test_a_download_is_whole_and_checked(tmp_path: Path) -> None:
    content = b"weights" * 100_000
    (tmp_path / "there.bin").write_bytes(content)
    url = (tmp_path / "there.bin").as_uri()
    prefix = hashlib.sha256(content).hexdigest()[:8]
    target = download.download(url, tmp_path / "cache" / "here.bin", sha256_prefix=prefix)
    assert target.read_bytes() == content
    with pytest.raises(download.UnreachableError, match="wrong hash"):
        download.download(url, tmp_path / "cache" / "bad.bin", sha256_prefix="00000000")
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["here.bin"]


def test_a_host_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the name look-up itself hangs, which no socket time-out bounds."""
    release = threading.Event()
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: release.wait(60))
    monkeypatch.setattr(download, "CONNECT_SECONDS", -0.9)  # a tenth of a second with the grace added
    with pytest.raises(download.UnreachableError, match="no answer"):
        download.open_url("https://host.invalid/file")
    release.set()


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_mode_makes_no_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setenv(variable, "1")
    with pytest.raises(download.UnreachableError, match="offline mode"):
        download.download((tmp_path / "file").as_uri(), tmp_path / "copy")
