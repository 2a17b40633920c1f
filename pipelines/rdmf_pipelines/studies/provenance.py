"""On what machine, and by which code, a number was measured."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path
from typing import Any


def machine(device: str = "auto") -> dict[str, Any]:
    """Processor, GPU (where torch would use one) and versions, for the notes of a run."""
    import torch

    from rdmf.run import pick_device

    where = pick_device(device)
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(where) if where.type == "cuda" else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def machine_text(told: dict[str, Any]) -> str:
    """The same in one line."""
    gpu = f"{told['gpu']}, " if told.get("gpu") else ""
    return (
        f"{gpu}{told.get('processor') or 'unknown processor'} ({told.get('cores')} cores), "
        f"torch {told.get('torch')}, Python {told.get('python')}"
    )


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def code() -> str:
    """A short name for the source of `rdmf` that is running: model, trainer and evaluation."""
    import rdmf

    digest = hashlib.sha256()
    root = Path(str(rdmf.__file__)).parent
    for path in sorted(root.rglob("*")):
        # Presets are left out: a run's settings are known from its configuration.
        if path.suffix in (".py", ".c"):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:10]
