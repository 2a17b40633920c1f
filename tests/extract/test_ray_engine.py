"""Extraction on a Ray cluster of several nodes on this machine: the same cache as one process, whatever dies."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakes
import pytest
from fakes import FakeTextEncoder, FakeVideoEncoder

from rdmf.store import InputError, QueryRecord, open_cache
from rdmf_extract.encoders.spec import EncoderSpec
from rdmf_extract.engines.on_ray import RayEngine
from rdmf_extract.pipeline import ExtractSummary, extract

pytestmark = pytest.mark.long
MARK = f"RDMF_TEST_{uuid.uuid4().hex}"  # in the environment of this test's workers and of no other process
MEMORY = 100 << 20


@pytest.fixture
def ray() -> Any:
    """The module; imported by these tests only, for it takes its time."""
    return pytest.importorskip("ray", reason="Ray is not installed (pip install 'rdmf[ray]')")


@pytest.fixture
def cluster(ray: Any) -> Iterator[Any]:
    """Three nodes of 1, 2 and 2 CPUs, and this process connected to them."""
    from ray.cluster_utils import Cluster

    one = {"object_store_memory": MEMORY, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **one})
    nodes = [cluster.add_node(num_cpus=2, object_store_memory=MEMORY) for _ in range(2)]
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    variables = {"PYTHONPATH": paths, MARK: "1"}
    ray.init(address=cluster.address, runtime_env={"env_vars": variables}, log_to_driver=False)
    try:
        yield cluster, nodes
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def asked(clips) -> tuple[dict[str, Path], list[QueryRecord]]:
    videos = {f"{name}-{i}": clips[name] for i in range(4) for name in ("constant", "second", "variable", "short")}
    videos["text"] = clips["text"]
    return videos, [QueryRecord(i, vid, f"a thing {i}", "train") for i, vid in enumerate(videos)]


def on_ray(asked, out: Path, *, build: Callable[..., Any] = fakes.build_slow) -> tuple[ExtractSummary, list[str]]:
    """The summary, and what was told."""
    notes: list[str] = []
    video, text = EncoderSpec.of(build, "fake"), EncoderSpec.of(fakes.build_fake_text, "fake-text")
    with RayEngine(video, text) as engine:
        summary = extract(
            *asked,
            out=out,
            video_encoder=engine.video,
            text_encoder=engine.text,
            engine=engine,
            progress=lambda state: notes.append(state.note),
        )
    return summary, [note for note in notes if note]


def assert_same(asked, out: Path) -> None:
    alone = out.with_name("alone.h5")
    extract(*asked, out=alone, video_encoder=FakeVideoEncoder(), text_encoder=FakeTextEncoder())
    with open_cache(alone) as one, open_cache(out) as other:
        assert one.fingerprint == other.fingerprint
        assert one.vids == other.vids
        assert one.video_table().digests == other.video_table().digests
        assert one.text_table() == other.text_table()
        assert one.failures == other.failures
    assert sorted(path.name for path in out.parent.iterdir()) == ["alone.h5", out.name]


def workers(title: str) -> list[int]:
    """Processes of this test's cluster that are doing something so called."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and MARK.encode() in (folder / "environ").read_bytes():
                found += [int(folder.name)] if title.encode() in (folder / "cmdline").read_bytes() else []
        except OSError:
            continue
    return found


def meanwhile(act: Callable[[], None], when: Callable[[], bool]) -> threading.Thread:
    """Act once, in a thread, as soon as the moment has come."""

    def wait() -> None:
        while not when():
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_the_same_cache_as_one_process(cluster, asked, tmp_path):
    summary, _ = on_ray(asked, tmp_path / "f.h5", build=fakes.build_fake)
    assert (summary.done, len(summary.failures)) == (16, 1)
    assert_same(asked, tmp_path / "f.h5")


@pytest.mark.parametrize("title", ["ray::_extract_video", "ray::EncoderService"])
def test_a_killed_worker_costs_nothing(cluster, asked, tmp_path, title):
    killer = meanwhile(
        lambda: os.kill(workers(title)[0], signal.SIGKILL),
        lambda: bool(workers("ray::_extract_video")) and bool(workers(title)),
    )
    summary, notes = on_ray(asked, tmp_path / "f.h5")
    assert not killer.is_alive()
    assert (summary.done, len(summary.failures)) == (16, 1)
    assert any("died" in note for note in notes), notes
    assert_same(asked, tmp_path / "f.h5")


def test_a_killed_node_costs_nothing(cluster, asked, tmp_path):
    whole, nodes = cluster
    killer = meanwhile(
        lambda: whole.remove_node(nodes[0], allow_graceful=False), lambda: len(workers("ray::_extract_video")) >= 2
    )
    summary, notes = on_ray(asked, tmp_path / "f.h5")
    assert not killer.is_alive()
    assert (summary.done, len(summary.failures)) == (16, 1)
    assert any("died" in note for note in notes), notes
    assert_same(asked, tmp_path / "f.h5")


def test_an_encoder_that_cannot_be_built_is_one_clear_line(cluster):
    with pytest.raises(InputError, match=r"^no cpu here$"):
        RayEngine(EncoderSpec.of(fakes.build_refused, "fake"), EncoderSpec.of(fakes.build_fake_text, "fake-text"))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("auto", r"^no Ray cluster at 'auto' .*start one with `ray start --head`"),
        ("127.0.0.1:1", r"^no Ray cluster answers at '127\.0\.0\.1:1' \(.*refused\)"),
        ("127.0.0.1:99999", r"^no Ray cluster answers at '127\.0\.0\.1:99999'"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_clear_line(ray, address, message):
    video, text = EncoderSpec.of(fakes.build_fake, "fake"), EncoderSpec.of(fakes.build_fake_text, "fake-text")
    with pytest.raises(InputError, match=message):
        RayEngine(video, text, address=address)
