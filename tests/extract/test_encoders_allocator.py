"""Freed memory is kept for the next layer, unless somebody chose otherwise; counted in pages that the system clears."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

COUNT = """
import resource
import torch
from rdmf_extract.encoders.compute import choose_device

torch.set_num_threads(1)
choose_device("cpu")


def layers():
    for _ in range(20):
        a = torch.ones(2 << 20)
        b = a + a
        del a
        c = b * 2


layers()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
layers()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(**environment: str) -> int:
    clean = {name: value for name, value in os.environ.items() if "MALLOC" not in name and "GLIBC" not in name}
    done = subprocess.run(
        [sys.executable, "-c", COUNT], env=clean | environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator than glibc's")
def test_layers_after_the_first_clear_no_pages() -> None:
    assert pages() < 200
    assert pages(MALLOC_MMAP_THRESHOLD_="1000000") > 2000
