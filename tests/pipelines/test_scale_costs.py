"""docs/scale.md says what benchmarks/scale_costs.py computes, and that computes what its formulae say."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from benchmark_scripts import load_script

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def costs() -> ModuleType:
    return load_script("scale_costs")


def test_the_page_has_the_tables_that_the_script_prints(costs: ModuleType) -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    tables = costs.report(costs.arguments().parse_args([])).split("\n\n")
    assert len(tables) == 5
    for table in tables:
        assert table in page


def test_the_sums(costs: ModuleType) -> None:
    line = "--videos 1000 --seconds 3600 --dims 768 --strides 2 --nodes 1 10 --cores 10 --gpus 2 --rows-per-second 5"
    options = costs.arguments().parse_args(line.split())
    # 1800 rows an hour of 768 halves and two doubles.
    assert f"| {1800 * (768 * 2 + 16) / 1e6:.1f} MB |" in costs.storage(options)
    assert f"| {1800 * (768 * 2 + 16) * 1000 / 1e9:.1f} GB |" in costs.storage(options)
    # 1000 hours of 30 frames a second at 989 a core on ten cores; 1.8 million rows at 5 a second on two GPUs.
    told = costs.extraction(options)
    assert f"| {1000 * 30 / 989 / 10:.1f} | {1000 * 30 / 989 / 100:.1f} |" in told
    assert f"| {1.8e6 / 5 / 2 / 3600:.1f} | {1.8e6 / 5 / 20 / 3600:.1f} |" in told
    assert costs.size(999) == "999 bytes"
    assert costs.size(2.5e12) == "2.5 TB"


def test_the_bytes_of_an_index_are_those_of_one(costs: ModuleType, tmp_path: Path) -> None:
    scale = load_script("store_scale")
    size = [
        scale.make_index(tmp_path / f"{n}.h5", first=0, videos=n, queries=10 * n, parts=1).stat().st_size
        for n in (1000, 3000)
    ]
    expected = 2000 * (costs.INDEX_BYTES_A_VIDEO + 10 * costs.INDEX_BYTES_A_QUERY)
    assert abs(size[1] - size[0] - expected) < 0.02 * expected
